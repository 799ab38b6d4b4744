//! What a migration did, step by step.

use command_line::Output;
use serde::Serialize;

/// What was done to one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    /// `postgres`, `cassandra`, `kafka` or `registry`.
    server: &'static str,
    /// Such as `topic users.raw`.
    object: String,
    pub(super) outcome: Outcome,
    /// More about the outcome; may be empty.
    detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Created,
    Changed,
    Unchanged,
    /// It is not as configured, and a migration must not change it.
    Differs,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Differs => "differs",
        }
    }
}

/// Steps as they are done: people see each at once, machines get all at the end.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    server: &'static str,
    pub(super) output: &'a Output,
    pub(super) steps: Vec<Step>,
}

impl<'a> Report<'a> {
    pub(super) const fn new(server: &'static str, output: &'a Output) -> Self {
        Self { server, output, steps: Vec::new() }
    }

    pub(super) fn add(&mut self, object: impl Into<String>, outcome: Outcome, detail: impl Into<String>) {
        let step = Step { server: self.server, object: object.into(), outcome, detail: detail.into() };
        let Step { server, object, detail, .. } = &step;
        let separator = if detail.is_empty() { "" } else { ": " };
        self.output.line(format_args!("{server:<10} {:<10} {object}{separator}{detail}", outcome.as_str()));
        self.steps.push(step);
    }
}
