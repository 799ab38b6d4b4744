//! What the readers miss, as the metadata of their committed offsets has it.

use kafka::sequence::{Ledger, Missing};
use operate::config::Settings;
use operate::offsets::{OffsetWatcher, OffsetsError};

/// Numbers that one reader misses in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    /// The reader's consumer group.
    pub(super) group: String,
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) missing: Missing,
}

/// Of the processor and of the sink.
pub(super) async fn find(settings: &Settings) -> Result<Vec<Gap>, OffsetsError> {
    let readers = [
        (&settings.stream_processor.group, &settings.pipeline.raw_topic),
        (&settings.cassandra_sink.group, &settings.pipeline.processed_topic),
    ];
    let mut gaps = Vec::new();
    for (group, topic) in readers {
        let committed = OffsetWatcher::new(&settings.kafka, topic, group)?.metadata().await?;
        for (partition, metadata) in committed {
            let ledger = Ledger::parse(&metadata);
            gaps.extend(ledger.seen.missing().iter().map(|missing| Gap {
                group: group.clone(),
                topic: topic.clone(),
                partition,
                missing: *missing,
            }));
        }
    }
    Ok(gaps)
}
