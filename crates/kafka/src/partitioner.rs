//! Which partition a key belongs to, as Java clients place keys by default.

/// The partition of a key among `partitions`; 0 if there are none.
///
/// Kafka's `BuiltInPartitioner.partitionForKey`: `toPositive(murmur2(key)) % partitions`.
#[must_use]
pub fn partition(key: &[u8], partitions: i32) -> i32 {
    let positive = (murmur2::murmur2(key, murmur2::KAFKA_SEED) & 0x7fff_ffff).cast_signed();
    positive.checked_rem(partitions).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::partition;

    /// The hashes are those of Kafka's own test of `Utils.murmur2`.
    #[test]
    fn keys_go_where_java_clients_send_them() {
        let hashes = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in hashes {
            let hash: i32 = hash;
            assert_eq!(partition(key.as_bytes(), 12), (hash & i32::MAX) % 12, "{key}");
        }
        assert_eq!(partition(b"any", 1), 0);
        assert_eq!(partition(b"any", 0), 0);
    }
}
