//! The Avro schemas that are kept as files, and the subjects they are registered under.

/// Schema of the values of `users.processed`.
pub const USERS_PROCESSED: &str = include_str!("../schemas/users.processed.avsc");

/// Subject of a topic's values by TopicNameStrategy.
#[must_use]
pub fn value_subject(topic: &str) -> String {
    format!("{topic}-value")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_schema_files_parse() {
        apache_avro::Schema::parse_str(super::USERS_PROCESSED).unwrap();
    }
}
