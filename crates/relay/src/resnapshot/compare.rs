//! What the topic says of the rows, against the table: the rows that were moved or deleted while nobody looked.

use std::collections::{BTreeMap, HashMap};

use events::meta::Op;
use events::repair::Row as OrderRow;
use events::wire;
use kafka::partitioner;
use serde_avro_fast::Schema;
use service::BoxError;
use sqlx::postgres::PgConnection;

use super::topic::{Identity, decode, identity};
use crate::catalog::Published;
use crate::plan::Stamp;
use crate::relations::Active;
use crate::snapshot::copy::Copy;
use crate::table::Column;

/// The table's side.
pub(super) struct Comparison<'a> {
    pub(super) published: &'a Published,
    pub(super) table: &'a Active,
    /// Of the table's records.
    pub(super) schema: &'a Schema,
    /// The identity's fields.
    pub(super) fields: &'a [String],
    /// Of the topic.
    pub(super) partitions: i32,
}

impl Comparison<'_> {
    /// The rows of one partition of which something is left that is not in the table: each with the identity that its
    /// last record has.
    pub(super) async fn left_over(
        &self,
        reader: &mut PgConnection,
        partition: i32,
        mut living: HashMap<Vec<u8>, Identity>,
    ) -> Result<Vec<OrderRow>, BoxError> {
        let stamp = Stamp { lsn: 0, commit_micros: 0 };
        let (mut key, mut value, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        let mut copy = Copy::begin(reader, self.published, self.table, None).await?;
        while copy.next().await? {
            self.table.plan.write_key(copy.row(), &mut key)?;
            if partitioner::partition(&key, self.partitions) != partition {
                continue;
            }
            let Some(last) = living.remove(&key) else { continue };
            // Both sides as Avro has them, so that it does not matter how PostgreSQL writes a value.
            self.table.plan.write_value(Op::Read, copy.row(), None, stamp, &mut value)?;
            let now = wire::split(&value).ok().and_then(|(_, datum)| decode(datum, self.schema));
            if now.is_none_or(|mut now| identity(&mut now, self.fields) != last) {
                rows.extend(self.order(&last));
            }
        }
        rows.extend(living.values().filter_map(|last| self.order(last)));
        Ok(rows)
    }

    /// `None` if the record does not have the whole identity, as when it was another one then: nothing can be said of
    /// what was made of it.
    fn order(&self, identity: &Identity) -> Option<OrderRow> {
        let mut old = BTreeMap::new();
        for (column, value) in identity_columns(self.table).zip(identity) {
            match value.text(column.ty) {
                Some(text) => drop(old.insert(column.name.clone(), text)),
                None if column.required => return None,
                None => {}
            }
        }
        let key = self.table.table.key_columns().map(|column| old.get(&column.name).cloned());
        Some(OrderRow { key: key.collect::<Option<Vec<String>>>()?, old })
    }
}

/// The columns that old rows have, in the table's order. The key's are among them.
pub(super) fn identity_columns(table: &Active) -> impl Iterator<Item = &Column> {
    table.table.columns.iter().filter(|column| column.identity)
}
