use scylla::cluster::metadata::{ColumnType, NativeType};

use super::*;

fn table(key: &[&str], columns: &[(&str, NativeType)]) -> Table {
    Table {
        name: "users".to_owned(),
        columns: columns
            .iter()
            .map(|(name, native)| ((*name).to_owned(), ColumnType::Native(native.clone())))
            .collect(),
        key: key.iter().map(|&column| column.to_owned()).collect(),
        partition: 1,
    }
}

fn config(columns: &[(&str, &str)]) -> TableConfig {
    TableConfig {
        name: "users".to_owned(),
        columns: columns.iter().map(|&(column, field)| (column.to_owned(), field.to_owned())).collect(),
    }
}

fn layout() -> Layout {
    Layout::parse(events::schemas::USERS_PROCESSED).unwrap()
}

#[test]
fn columns_take_the_fields_of_their_names_and_the_named_ones() {
    let layout = layout();
    let table = table(
        &["country", "registered_at", "id"],
        &[
            ("id", NativeType::Uuid),
            ("country", NativeType::Text),
            ("registered_at", NativeType::Timestamp),
            ("age", NativeType::Int),
            ("source_lsn", NativeType::BigInt),
            ("note", NativeType::Text),
        ],
    );
    let mapping = Mapping::new(&layout, &table, &config(&[("source_lsn", "__lsn")])).unwrap();
    let names: Vec<&str> = mapping.columns.iter().map(|binding| binding.column.as_str()).collect();
    assert_eq!(names, ["country", "registered_at", "id", "age", "source_lsn"]);
    assert_eq!(mapping.unfilled, ["note"]);
    assert_eq!(mapping.columns[4].cell, layout.cell("__lsn").unwrap().0);

    // The id does not change, so its old value is the new one.
    let old = mapping.old_key.unwrap();
    assert_eq!(old[0].cell, layout.before_cell("country").unwrap().0);
    assert_eq!(old[1].cell, layout.before_cell("registered_at").unwrap().0);
    assert_eq!(old[2], mapping.key[2]);
}

#[test]
fn a_key_that_cannot_change_has_no_old_one() {
    let table = table(&["id"], &[("id", NativeType::Uuid)]);
    assert_eq!(Mapping::new(&layout(), &table, &config(&[])).unwrap().old_key, None);
}

#[test]
fn what_does_not_fit_is_named() {
    let id = ("id", NativeType::Uuid);
    for (table, config, message) in [
        (
            table(&["id", "shard"], &[id.clone(), ("shard", NativeType::Int)]),
            config(&[]),
            "key column shard of table users has no field shard in the schema",
        ),
        (
            table(&["id"], &[id.clone(), ("mail", NativeType::Text)]),
            config(&[("mail", "e_mail")]),
            "column mail of table users is mapped to the field e_mail, which the schema has not",
        ),
        (
            table(&["id"], &[id, ("age", NativeType::Text)]),
            config(&[]),
            "column age of table users is of type text, which can't hold the field age of type int",
        ),
    ] {
        assert_eq!(Mapping::new(&layout(), &table, &config).unwrap_err().to_string(), message);
    }
}

#[test]
fn records_without_change_metadata_are_refused() {
    let layout =
        Layout::parse(r#"{"type":"record","name":"T","fields":[{"name":"__op","type":"string"}]}"#).unwrap();
    let error = Metadata::of(&layout).unwrap_err();
    assert_eq!(error.to_string(), "the schema has no field __lsn of type long; its records are no changes");
    Metadata::of(&self::layout()).unwrap();
}
