use std::fmt;

use serde::{Deserialize, Serialize};

/// Names the API that the fetcher asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The real one.
    Live,
    /// The simulator on this machine.
    Sim,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "live",
            Self::Sim => "simulated",
        })
    }
}
