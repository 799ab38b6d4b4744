//! What must hold before the relay begins, each with the statement that makes it so.
//!
//! What a migration or a colleague will still make is waited for ([`NotYet`]); what somebody must repair ends the
//! process with one message ([`Unusable`]).

use pgwire_replication::Lsn;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use crate::catalog::{self, Published};
use crate::config::RelayConfig;
use crate::error::RelayError;
use crate::postgres::within;

/// Something that is not there yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotYet {
    /// No such publication.
    #[error(
        "publication {0} does not exist; `pipeline migrate` makes it, or: CREATE PUBLICATION {0} FOR TABLE …"
    )]
    Publication(String),
    /// A publication of nothing.
    #[error("publication {0} lists no tables; add one: ALTER PUBLICATION {0} ADD TABLE …")]
    Tables(String),
}

/// The way out of a lost slot.
const START_OVER: &str = "To publish every row again: relay resnapshot, then start the relay";

/// Something that somebody must repair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The protocol or the catalog lacks something.
    #[error("PostgreSQL {0} is too old: the relay needs 15 or newer")]
    Version(i32),
    /// The WAL does not have what logical decoding needs.
    #[error(
        "wal_level is {0}, and logical replication needs logical: ALTER SYSTEM SET wal_level = 'logical', then \
         restart PostgreSQL"
    )]
    WalLevel(String),
    /// The role may not stream.
    #[error("role {0} has no replication right: ALTER ROLE \"{0}\" REPLICATION")]
    ReplicationRight(String),
    /// Text of no known encoding.
    #[error(
        "the encoding of database {0} is SQL_ASCII, so its text can't be taken for UTF-8: recreate it with ENCODING 'UTF8'"
    )]
    Encoding(String),
    /// No room for the slot.
    #[error(
        "all {max} replication slots are in use (max_replication_slots): drop one that nobody needs, SELECT \
         pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE NOT active, or ALTER SYSTEM SET \
         max_replication_slots = {} and restart PostgreSQL", max + 5
    )]
    SlotsFull {
        /// The setting.
        max: i64,
    },
    /// The slot's name is taken for something else.
    #[error(
        "slot {slot} is {found}, and the relay needs one of pgoutput in {wanted}: set another relay.slot, or \
         SELECT pg_drop_replication_slot('{slot}')"
    )]
    OtherSlot {
        /// The slot.
        slot: String,
        /// What it is.
        found: String,
        /// The relay's database.
        wanted: String,
    },
    /// PostgreSQL removed WAL that the slot needs.
    #[error(
        "slot {slot} is invalidated ({reason}): changes since {confirmed} are lost to the stream. {START_OVER}"
    )]
    Invalidated {
        /// The slot.
        slot: String,
        /// PostgreSQL's reason.
        reason: String,
        /// Its confirmed position.
        confirmed: Lsn,
    },
    /// The slot of a relay that has published already is gone.
    #[error(
        "slot {slot} does not exist, and changes up to {published} were published through it: those that came after \
         are lost to the stream. {START_OVER}"
    )]
    SlotGone {
        /// The slot.
        slot: String,
        /// End of what was published.
        published: Lsn,
    },
    /// The slot stands after what was published.
    #[error(
        "slot {slot} begins at {confirmed}, and only changes up to {published} were published: it was made anew or \
         moved on by somebody else, and the changes between are lost to the stream. {START_OVER}"
    )]
    SlotAhead {
        /// The slot.
        slot: String,
        /// Where the slot begins.
        confirmed: Lsn,
        /// End of what was published.
        published: Lsn,
    },
    /// A slot without a position.
    #[error(
        "slot {slot} exists, and topic {topic} has no position for it: what was published through it is not known. \
         Restore the topic. {START_OVER}"
    )]
    NoPosition {
        /// The slot.
        slot: String,
        /// The offsets topic.
        topic: String,
    },
    /// The position is of another server.
    #[error(
        "the position of slot {slot} in topic {topic} is of database {found}, and this is {here}: positions of \
         different servers can't be compared. Point the relay at its server, or set another relay.slot"
    )]
    OtherServer {
        /// The slot.
        slot: String,
        /// The offsets topic.
        topic: String,
        /// System identifier and database in the position.
        found: String,
        /// Those of this server.
        here: String,
    },
}

/// What the relay found.
#[derive(Debug, Clone)]
pub struct Server {
    /// Identifies the cluster.
    pub system_id: String,
    /// Name of the database.
    pub database: String,
    /// Whether the publication has updates or deletes.
    pub has_old_rows: bool,
    /// The published tables.
    pub tables: Vec<Published>,
}

const SERVER: &str = r"
SELECT current_setting('server_version_num')::int, current_setting('wal_level'), current_user::text,
       (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user),
       current_database()::text,
       (SELECT pg_encoding_to_char(encoding)::text FROM pg_database WHERE datname = current_database()),
       (SELECT system_identifier::text FROM pg_control_system())";

/// Checks the server, the role and the publication.
///
/// # Errors
/// The first thing that does not hold.
pub async fn check(conn: &mut PgConnection, config: &RelayConfig) -> Result<Server, RelayError> {
    let row = within(sqlx::query(SERVER).fetch_one(&mut *conn)).await?;
    let version: i32 = row.try_get(0)?;
    if version < 150_000 {
        return Err(Unusable::Version(version / 10_000).into());
    }
    let wal_level: String = row.try_get(1)?;
    if wal_level != "logical" {
        return Err(Unusable::WalLevel(wal_level).into());
    }
    if !row.try_get::<bool, _>(3)? {
        return Err(Unusable::ReplicationRight(row.try_get(2)?).into());
    }
    let database: String = row.try_get(4)?;
    if row.try_get::<String, _>(5)? == "SQL_ASCII" {
        return Err(Unusable::Encoding(database).into());
    }
    let publication = "SELECT pubupdate OR pubdelete FROM pg_publication WHERE pubname = $1";
    let publication = sqlx::query(publication).bind(&config.publication).fetch_optional(&mut *conn);
    let publication =
        within(publication).await?.ok_or_else(|| NotYet::Publication(config.publication.clone()))?;
    let tables = catalog::published(conn, &config.publication).await?;
    if tables.is_empty() {
        return Err(NotYet::Tables(config.publication.clone()).into());
    }
    Ok(Server { system_id: row.try_get(6)?, database, has_old_rows: publication.try_get(0)?, tables })
}
