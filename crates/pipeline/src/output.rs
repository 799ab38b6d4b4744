//! What commands print: results on standard output, progress and failures on standard error.

use std::io::{Write as _, stderr, stdout};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};
use serde::Serialize;

/// For people, for machines, or for nobody.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    reader: Reader,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    Person,
    Machine,
    Nobody,
}

impl Output {
    /// With `json`, standard output gets one JSON document and nothing else.
    #[must_use]
    pub const fn new(json: bool) -> Self {
        Self { reader: if json { Reader::Machine } else { Reader::Person } }
    }

    /// Prints nothing: for a command that is part of another.
    #[must_use]
    pub const fn silent() -> Self {
        Self { reader: Reader::Nobody }
    }

    /// The same without documents: for a part of a result that has one of its own.
    #[must_use]
    pub fn people_only(self) -> Self {
        if self.is_json() { Self::silent() } else { self }
    }

    /// Whether machines read it.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.reader == Reader::Machine
    }

    /// One line of the result, for people only.
    pub fn line(&self, text: impl std::fmt::Display) {
        if self.reader == Reader::Person {
            // A reader that went away, such as `head`, is no failure.
            let _ = writeln!(stdout().lock(), "{text}");
        }
    }

    /// What is going on, on standard error; for people only.
    pub fn note(&self, text: impl std::fmt::Display) {
        if self.reader == Reader::Person {
            let _ = writeln!(stderr().lock(), "{text}");
        }
    }

    /// The result, for machines only.
    pub fn document(&self, value: &impl Serialize) {
        if self.is_json() {
            let text = serde_json::to_string_pretty(value).unwrap_or_else(|error| error.to_string());
            let _ = writeln!(stdout().lock(), "{text}");
        }
    }

    /// The one report of a failure; machines get it as a document, too.
    pub fn failure(&self, text: &str) {
        let _ = writeln!(stderr().lock(), "pipeline: {text}");
        self.document(&serde_json::json!({ "error": text }));
    }
}

/// Rows under a header, the first column to the left and the numbers to the right.
pub fn table<const N: usize>(header: &[&str; N], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        if column.index > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    table.trim_fmt()
}
