//! One engine at a time: the processor's workers, or Spark's job.
//!
//! Both are members of one consumer group, each kind with an assignor that the other does not know, and the brokers
//! let nobody in who knows none of the group's assignors (`INCONSISTENT_GROUP_PROTOCOL`). A member that died stays one
//! until its session ends, so a refusal is final only after [`patience`].

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};

/// Assignor of the processor's workers.
pub const PROCESSOR: &str = "cooperative-sticky";
/// Assignor of Spark's processes.
pub const SPARK: &str = "range";
/// Of [`patience`]: brokers notice late where they are busy.
const MARGIN: Duration = Duration::from_secs(9);
/// Bound of the question who holds the group.
const QUESTION: Duration = Duration::from_secs(5);

/// How long to try again: longer than the session of a member that died.
#[must_use]
pub fn patience(session_timeout: Duration) -> Duration {
    session_timeout + MARGIN
}

/// Who is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// A worker of the processor.
    Processor,
    /// A process of Spark's job.
    Spark,
}

/// Says that the other engine holds the group, and who its members are.
pub fn held<C: ConsumerContext>(consumer: &BaseConsumer<C>, group: &str, refused: Engine) -> String {
    let (holder, stop) = match refused {
        Engine::Processor => ("Spark's job", "stop the job"),
        Engine::Spark => ("the stream-processor", "stop every stream-processor"),
    };
    let groups = consumer.client().fetch_group_list(Some(group), QUESTION);
    let members: Vec<String> = groups
        .iter()
        .flat_map(|list| list.groups())
        .flat_map(|found| found.members())
        .map(|member| format!("{} at {}", member.client_id(), member.client_host().trim_start_matches('/')))
        .collect();
    let members = if members.is_empty() { String::new() } else { format!(" ({})", members.join(", ")) };
    format!(
        "{holder} works on the consumer group {group}{members}; only one engine may: {stop} first, then start this one"
    )
}
