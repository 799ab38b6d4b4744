//! What our programs for the command line share: how they print, how they log, and how they end.
//!
//! Results go to standard output, progress and failures to standard error. A person gets lines and tables. With
//! `--json` standard output has one JSON document and nothing else.
//!
//! ```
//! use command_line::{Output, table};
//!
//! let output = Output::new(false);
//! output.line(table(&["stage", "rows"], [vec!["users".to_owned(), "12".to_owned()]].into_iter()));
//! output.document(&serde_json::json!({ "users": 12 })); // Prints nothing: a person reads.
//! ```

mod output;
mod run;

pub use output::{Output, table};
pub use run::{log_to_stderr, run};
