//! What commands print: results on standard output, progress and failures on standard error.

use std::io::{Write as _, stderr, stdout};

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table};
use serde::Serialize;

/// For people, or for machines.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// With `json`, standard output gets one JSON document and nothing else.
    #[must_use]
    pub const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether machines read it.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// One line of the result, for people only.
    pub fn line(&self, text: impl std::fmt::Display) {
        if !self.json {
            // A reader that went away, such as `head`, is no failure.
            let _ = writeln!(stdout().lock(), "{text}");
        }
    }

    /// What is going on, on standard error; for people only.
    pub fn note(&self, text: impl std::fmt::Display) {
        if !self.json {
            let _ = writeln!(stderr().lock(), "{text}");
        }
    }

    /// The result, for machines only.
    pub fn document(&self, value: &impl Serialize) {
        if self.json {
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
