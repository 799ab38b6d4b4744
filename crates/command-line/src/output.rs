use std::io::{Write as _, stderr, stdout};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};
use serde::Serialize;

/// Prints for people, for machines, or for nobody.
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
    /// Makes an output for machines with `json`, else for people.
    #[must_use]
    pub const fn new(json: bool) -> Self {
        Self { reader: if json { Reader::Machine } else { Reader::Person } }
    }

    /// Makes an output that prints nothing: for a command that is part of another.
    #[must_use]
    pub const fn silent() -> Self {
        Self { reader: Reader::Nobody }
    }

    /// Returns whether machines read it.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.reader == Reader::Machine
    }

    /// Prints a line of the result on standard output, for people only.
    pub fn line(&self, text: impl std::fmt::Display) {
        if self.reader == Reader::Person {
            // A reader that went away, such as `head`, is no failure.
            let _ = writeln!(stdout().lock(), "{text}");
        }
    }

    /// Prints what is going on to standard error, for people only.
    pub fn note(&self, text: impl std::fmt::Display) {
        if self.reader == Reader::Person {
            let _ = writeln!(stderr().lock(), "{text}");
        }
    }

    /// Prints the result as indented JSON on standard output, for machines only.
    pub fn document(&self, value: &impl Serialize) {
        if self.is_json() {
            let text = serde_json::to_string_pretty(value).unwrap_or_else(|error| error.to_string());
            let _ = writeln!(stdout().lock(), "{text}");
        }
    }

    /// Prints why `program` failed to standard error, whoever reads. Machines get it as a document, too.
    pub fn failure(&self, program: &str, text: &str) {
        let _ = writeln!(stderr().lock(), "{program}: {text}");
        self.document(&serde_json::json!({ "error": text }));
    }
}

/// Returns the rows under a header, without borders: the first column on the left, all others on the right.
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
