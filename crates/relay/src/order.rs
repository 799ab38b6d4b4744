//! The order in which a snapshot reads a table, computed here and in PostgreSQL alike.
//!
//! The stream must know which part of the table a key belongs to (see [`crate::progress`]), so both sides need the
//! same order. Numbers, dates, booleans and UUIDs have their own; any other type is ordered by the bytes of its text
//! (`COLLATE "C"`).

use std::fmt::Write as _;

use crate::table::Table;
use crate::value::{ColumnType, Format};

/// The order of a table's keys.
#[derive(Debug, Clone)]
pub struct KeyOrder {
    columns: Vec<(String, ColumnType)>,
}

impl KeyOrder {
    /// By the table's key.
    #[must_use]
    pub fn new(table: &Table) -> Self {
        Self { columns: table.key_columns().map(|column| (column.name.clone(), column.ty)).collect() }
    }

    /// `ORDER BY` expressions.
    #[must_use]
    pub fn order_by(&self) -> String {
        self.expressions().join(", ")
    }

    /// A condition that only later keys fulfil. Values are given as their text.
    #[must_use]
    pub fn after(&self, key: &[String]) -> String {
        let values: Vec<String> = key.iter().map(|value| quote_literal(value)).collect();
        format!("({}) > ({})", self.expressions().join(", "), values.join(", "))
    }

    fn expressions(&self) -> Vec<String> {
        let expression = |(name, ty): &(String, ColumnType)| {
            let name = quote_identifier(name);
            if is_native(*ty) { name } else { format!("{name}::text COLLATE \"C\"") }
        };
        self.columns.iter().map(expression).collect()
    }

    /// Bytes that compare as the keys do. `None`: a value is not of its column's type.
    #[must_use]
    pub fn rank<T: AsRef<[u8]>>(&self, key: &[T]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for ((_, ty), value) in self.columns.iter().zip(key) {
            push_rank(*ty, value.as_ref(), &mut out)?;
        }
        (self.columns.len() == key.len()).then_some(out)
    }
}

const fn is_native(ty: ColumnType) -> bool {
    match ty {
        ColumnType::Bool
        | ColumnType::Int2
        | ColumnType::Int4
        | ColumnType::Int8
        | ColumnType::Uuid
        | ColumnType::Date
        | ColumnType::Timestamp
        | ColumnType::Timestamptz => true,
        ColumnType::Float4
        | ColumnType::Float8
        | ColumnType::Text
        | ColumnType::Bpchar
        | ColumnType::Bytea
        | ColumnType::Json
        | ColumnType::Jsonb
        | ColumnType::Numeric
        | ColumnType::Other => false,
    }
}

fn push_rank(ty: ColumnType, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if is_native(ty) {
        match ty {
            // The text of a UUID is in the order of its bytes.
            ColumnType::Uuid | ColumnType::Bool => out.extend_from_slice(text),
            _ => out.extend_from_slice(&(number(ty, text)?.cast_unsigned() ^ (1 << 63)).to_be_bytes()),
        }
    } else {
        // A cast to text drops the padding of char(n).
        let padding = text.iter().rev().take_while(|byte| **byte == b' ' && ty == ColumnType::Bpchar).count();
        out.extend_from_slice(text.get(..text.len() - padding)?);
        // Text has no zero bytes, so that a shorter one comes before what begins with it.
        out.push(0);
    }
    Some(())
}

/// The number that Avro would have for the value.
fn number(ty: ColumnType, text: &[u8]) -> Option<i64> {
    let mut avro = Vec::with_capacity(10);
    ty.encode(Format::Text, text, &mut avro).ok()?;
    let zigzag = avro.iter().rev().fold(0_u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
}

/// A name as SQL takes it, whatever is in it.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value as SQL takes it, whatever is in it; independent of `standard_conforming_strings`.
#[must_use]
pub fn quote_literal(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 3);
    if value.contains('\\') {
        out.push_str(" E");
    }
    let _ = write!(out, "'{}'", value.replace('\\', "\\\\").replace('\'', "''"));
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pgoutput::{RelationColumn, RelationMessage, ReplicaIdentity};

    fn order(types: &[ColumnType]) -> KeyOrder {
        let names: Vec<String> = (0..types.len()).map(|index| format!("k{index}")).collect();
        let relation = RelationMessage {
            id: 1,
            schema: "public".to_owned(),
            table: "t".to_owned(),
            replica_identity: ReplicaIdentity::Default,
            columns: names
                .iter()
                .map(|name| RelationColumn { name: name.clone(), type_id: 0, identity: true })
                .collect(),
        };
        KeyOrder::new(&Table::new(&relation, types, &names, true).unwrap())
    }

    #[test]
    fn expressions_and_conditions() {
        let order = order(&[ColumnType::Uuid, ColumnType::Text]);
        assert_eq!(order.order_by(), r#""k0", "k1"::text COLLATE "C""#);
        let after = order.after(&["00".to_owned(), r"it's \".to_owned()]);
        assert_eq!(after, r#"("k0", "k1"::text COLLATE "C") > ('00',  E'it''s \\')"#);
        assert_eq!(quote_identifier("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn a_key_of_another_shape_has_no_rank() {
        assert_eq!(order(&[ColumnType::Int4]).rank(&["x"]), None);
        assert_eq!(order(&[ColumnType::Int4]).rank(&["1", "2"]), None);
    }

    #[test]
    fn dates_rank_by_time() {
        let order = order(&[ColumnType::Date]);
        let ranks = ["-infinity", "0044-03-15 BC", "1969-12-31", "1970-01-01", "10000-01-01", "infinity"]
            .map(|date| order.rank(&[date]).unwrap());
        assert!(ranks.is_sorted_by(|a, b| a < b));
    }

    proptest! {
        #[test]
        fn ranks_order_as_the_keys(a: (i64, String), b: (i64, String)) {
            prop_assume!(!a.1.contains('\0') && !b.1.contains('\0'));
            let order = order(&[ColumnType::Int8, ColumnType::Text]);
            let rank = |key: &(i64, String)| order.rank(&[key.0.to_string(), key.1.clone()]).unwrap();
            prop_assert_eq!(rank(&a).cmp(&rank(&b)), a.cmp(&b));
        }

        #[test]
        fn text_before_number(a: (String, i32), b: (String, i32)) {
            prop_assume!(!a.0.contains('\0') && !b.0.contains('\0'));
            let order = order(&[ColumnType::Text, ColumnType::Int4]);
            let rank = |key: &(String, i32)| order.rank(&[key.0.clone(), key.1.to_string()]).unwrap();
            prop_assert_eq!(rank(&a).cmp(&rank(&b)), a.cmp(&b));
        }
    }
}
