//! A steady stream of small transactions.

use std::time::{Duration, Instant};

use pipeline_tests::TestEnv;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::Result;
use crate::world::{STAGED_INSERT, World};

/// Rows a second, a transaction each.
pub(crate) const RATE: u32 = 1000;

/// Sessions that write in turns, so that none waits for another's disk.
const WRITERS: usize = 8;

/// A commit: the number of its row in the order of the load, and when the client had the answer.
pub(crate) type Commit = (usize, Instant);

/// Writers of staged rows.
pub(crate) struct Load {
    counted_from: Instant,
    writers: JoinSet<Result<()>>,
    commits: mpsc::UnboundedReceiver<Commit>,
}

impl Load {
    /// Begins to insert the rows, by their numbers in [`World::stage`]. What is committed during `warm_up`, or the first
    /// third if that is shorter, does not count: compilers and caches get warm.
    pub(crate) async fn start(
        world: &World,
        env: &TestEnv,
        rows: &[(i64, String)],
        warm_up: Duration,
    ) -> Result<Self> {
        let turn = |turn: usize| Ok::<_, crate::Error>(Duration::from_secs(1) * u32::try_from(turn)? / RATE);
        let mut sessions = Vec::new();
        for _ in 0..WRITERS {
            sessions.push(world.connect(env).await?);
        }
        let began = Instant::now() + Duration::from_millis(500);
        let counted_from = began + warm_up.min(turn(rows.len())? / 3);
        let (sender, commits) = mpsc::unbounded_channel();
        let mut writers = JoinSet::new();
        for (writer, mut db) in sessions.into_iter().enumerate() {
            let own: Vec<(usize, i64)> =
                rows.iter().map(|(number, _)| *number).enumerate().skip(writer).step_by(WRITERS).collect();
            let sender = sender.clone();
            writers.spawn(async move {
                for (number, row) in own {
                    tokio::time::sleep_until((began + turn(number)?).into()).await;
                    sqlx::query(STAGED_INSERT).bind(row).execute(&mut db).await?;
                    sender.send((number, Instant::now()))?;
                }
                Ok(())
            });
        }
        Ok(Self { counted_from, writers, commits })
    }

    /// Waits until what is committed counts.
    pub(crate) async fn warmed_up(&self) {
        tokio::time::sleep_until(self.counted_from.into()).await;
    }

    /// The next commit that counts; `None` when all rows are written.
    pub(crate) async fn next(&mut self) -> Option<Commit> {
        loop {
            let commit = self.commits.recv().await?;
            if commit.1 >= self.counted_from {
                return Some(commit);
            }
        }
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// A writer could not write.
    pub(crate) async fn ended(mut self) -> Result<()> {
        while let Some(ended) = self.writers.join_next().await {
            ended??;
        }
        Ok(())
    }
}
