//! Asking the relay for rows.

use std::collections::BTreeSet;

use events::repair::{Note, Order, PREFIX, Row};
use service::BoxError;

use super::plan::Plan;
use super::records::{Records, Texts, key_values};
use super::table::Source;

/// Rows of one message: what they make goes into one transaction of Kafka.
const ROWS: usize = 200;

/// Sends the messages for one gap, all or none; the last one says what is repaired.
pub(super) async fn send(source: &mut Source, plan: &Plan, raw: &Records) -> Result<(), BoxError> {
    let rounds = rounds(source, &plan.keys, raw);
    let mut messages: Vec<&[Row]> = rounds.iter().flat_map(|round| round.chunks(ROWS)).collect();
    if messages.is_empty() {
        messages.push(&[]);
    }
    let last = messages.len() - 1;
    let mut transaction = sqlx::Connection::begin(&mut source.connection).await?;
    for (index, rows) in messages.into_iter().enumerate() {
        let repaired = plan.gap.missing.repaired(&plan.gap.topic, plan.gap.partition);
        let note = Note { key: plan.note_key.clone(), repaired };
        let order =
            Order { table: source.table.clone(), rows: rows.to_vec(), note: (index == last).then_some(note) };
        sqlx::query("SELECT pg_logical_emit_message(true, $1, $2)")
            .bind(PREFIX)
            .bind(serde_json::to_string(&order)?)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Each key once in a round, as often as there are states to take away: a message has one place in the order of
/// changes, and no key may have two changes there.
fn rounds(source: &Source, keys: &BTreeSet<String>, raw: &Records) -> Vec<Vec<Row>> {
    let mut rounds: Vec<Vec<Row>> = Vec::new();
    for key in keys {
        let states = raw.state(key).into_iter().flat_map(|state| state.identities());
        let distinct: BTreeSet<Texts> = states.map(|fields| source.identity(fields)).collect();
        let states = if distinct.is_empty() { vec![Texts::new()] } else { distinct.into_iter().collect() };
        for (round, old) in states.into_iter().enumerate() {
            if rounds.len() <= round {
                rounds.push(Vec::new());
            }
            if let Some(rows) = rounds.get_mut(round) {
                rows.push(Row { key: key_values(key), old });
            }
        }
    }
    rounds
}
