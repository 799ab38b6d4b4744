//! The runs of the fetcher: each has ended well and stored the profiles that it was asked for.

use std::collections::BTreeMap;

use operate::config::Settings;
use sqlx::{ConnectOptions as _, Connection as _};

use super::stage::Differences;
use crate::error::ChaosError;
use crate::load::fetching::{PROFILES, RUN};

/// A run as PostgreSQL has it: its status, what it counts, and what there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) status: String,
    pub(super) stored: i64,
    pub(super) users: i64,
}

pub(super) async fn compare(
    settings: &Settings,
    asked: u64,
    differences: &mut Differences,
) -> Result<(), ChaosError> {
    let failed = |source| ChaosError::Sql { what: "read the runs", source };
    let mut connection = settings.postgres_options().connect().await.map_err(failed)?;
    let query = "SELECT run_id, status, stored, (SELECT count(*) FROM users WHERE users.run_id = r.run_id) \
        FROM fetch_runs r WHERE run_id LIKE $1 || '%'";
    let rows: Vec<(String, String, i64, i64)> =
        sqlx::query_as(query).bind(RUN).fetch_all(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    let runs = rows.into_iter().map(|(id, status, stored, users)| (id, Run { status, stored, users }));
    judge(&runs.collect(), asked, differences);
    Ok(())
}

/// Nothing changes or deletes what was fetched.
pub(super) fn judge(runs: &BTreeMap<String, Run>, asked: u64, differences: &mut Differences) {
    if runs.len() as u64 != asked {
        differences.add("postgres", &"runs", || format!("{asked} were asked for, {} are there", runs.len()));
    }
    for (id, run) in runs {
        let profiles = i64::from(PROFILES);
        if run.status != "succeeded" || run.stored != profiles || run.users != profiles {
            differences.add("postgres", id, || format!("{run:?}, of {profiles} profiles"));
        }
    }
}
