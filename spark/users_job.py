"""The stream processor on a Spark cluster: users.raw to users.processed, exactly once.

    spark-submit --master spark://HOST:7077 --jars ... spark/users_job.py

Spark reads, one task for each partition of the topic. What becomes of a record is decided and written by the module
datastreaming_spark (crates/spark-module), which is the processor's own code: each task commits results, dead letters
and the consumer group's position in Kafka transactions, and skips what the group has processed already. So the position
is the group's. Spark's checkpoint is only what its query needs while it runs: every start begins with a new one.

The module and its configuration (PIPELINE_CONFIG, PIPELINE__... in the environment) must be on the driver and on every
worker. All settings of Spark are spark-submit's; those below are for what it does not say.
"""

import argparse
import json
import pathlib
import shutil
import sys
import tempfile
import time

# What this script was written for; crates/local-servers/src/artifacts/catalog.rs has the versions that are tested.
MODULE_VERSION = "0.1.0"
SPARK_VERSIONS = ((4, 1), (4, 3))  # from the first on, below the second

DEFAULTS = {
    "spark.app.name": "users.raw to users.processed",
    # A second copy of a task would fence the first one again and again.
    "spark.speculation": "false",
    # Records of a batch that a task is given at once.
    "spark.sql.execution.arrow.maxRecordsPerBatch": "10000",
    # How the driver logs its progress is the module's matter.
    "spark.sql.streaming.numRecentProgressUpdates": "8",
}

# What the module wants, of the columns that Spark's Kafka source has.
COLUMNS = ["key", "value", "partition", "offset", "unix_millis(timestamp) as timestamp_ms", "headers"]


class Refused(Exception):
    """What must be repaired before the job can run."""


def module():
    try:
        import datastreaming_spark
    except ImportError as error:
        raise Refused(
            "the module datastreaming_spark can't be imported: install the wheel of scripts/wheel.sh for "
            f"{sys.executable} on the driver and on every worker ({error})"
        ) from error
    found = getattr(datastreaming_spark, "__version__", "unknown")
    if found != MODULE_VERSION:
        raise Refused(
            f"the module datastreaming_spark is version {found}, this job expects {MODULE_VERSION}: install that wheel"
        )
    return datastreaming_spark


def check_spark(version: str) -> None:
    first, below = SPARK_VERSIONS
    try:
        found = tuple(int(part) for part in version.split(".")[:2])
    except ValueError:
        found = ()
    if not first <= found < below:
        raise Refused(
            f"this is Spark {version}; the job runs on {first[0]}.{first[1]} up to, and not with, {below[0]}.{below[1]}"
        )


def session():
    import pyspark

    check_spark(pyspark.__version__)
    try:
        import pandas  # noqa: F401
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise Refused(f"Spark's mapInArrow needs pandas and pyarrow for {sys.executable}: {error}") from error
    from pyspark import SparkConf
    from pyspark.sql import SparkSession

    conf = SparkConf()
    for key, value in DEFAULTS.items():
        conf.setIfMissing(key, value)
    spark = SparkSession.builder.config(conf=conf).getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    check_spark(spark.version)
    check_connector(spark)
    return spark


def check_connector(spark) -> None:
    """As Spark looks for it when the query starts, but before anything is waited for."""
    loader = spark.sparkContext._jvm.java.lang.Thread.currentThread().getContextClassLoader()
    needed = {
        "org.apache.spark.sql.kafka010.KafkaSourceProvider": "spark-sql-kafka-0-10_2.13",
        "org.apache.spark.kafka010.KafkaTokenUtil": "spark-token-provider-kafka-0-10_2.13",
        "org.apache.kafka.clients.consumer.KafkaConsumer": "kafka-clients",
        "org.apache.commons.pool2.impl.GenericKeyedObjectPool": "commons-pool2",
    }
    for name, jar in needed.items():
        try:
            loader.loadClass(name)
        except Exception as error:  # py4j wraps whatever Java throws
            raise Refused(
                f"the connector jar {jar} is missing ({name} can't be loaded): give it to spark-submit with --jars, or "
                f"--packages org.apache.spark:spark-sql-kafka-0-10_2.13:{spark.version}"
            ) from error


def transform(plan: str):
    """The function of `mapInArrow`: it runs in the Python workers of the executors."""

    def work(batches):
        import datastreaming_spark

        task = None
        for batch in batches:
            task = task or datastreaming_spark.Task(plan)
            task.process(batch)
        if task is not None:
            yield task.finish()

    return work


def run(spark, job, options: argparse.Namespace) -> None:
    plan = job.prepare()
    reader = spark.readStream.format("kafka").options(**job.source())
    if options.max_records:
        reader = reader.option("maxOffsetsPerTrigger", str(options.max_records))
    records = reader.load().selectExpr(*COLUMNS)
    work = transform(plan)

    def batch(frame, number: int) -> None:
        began = time.monotonic()
        rows = frame.mapInArrow(work, "report string").collect()
        counts = job.batch([row.report for row in rows])
        if counts:
            print(f"batch {number}: {counts} in {time.monotonic() - began:.2f} s", file=sys.stderr, flush=True)

    checkpoint = fresh_checkpoint(options.checkpoint)
    writer = records.writeStream.foreachBatch(batch).queryName("users").option("checkpointLocation", checkpoint)
    query = (writer.trigger(availableNow=True) if options.once else writer).start()
    job.started()
    try:
        while query.isActive:
            query.awaitTermination(1)
            if progress := query.lastProgress:
                job.progress(getattr(progress, "json", None) or json.dumps(progress, default=str))
        # Raises what has ended it.
        query.awaitTermination()
    finally:
        query.stop()


def fresh_checkpoint(folder: str | None) -> str:
    """A new folder for this start, without those of earlier ones: a position that they knew would be an old one."""
    if folder is None:
        return tempfile.mkdtemp(prefix="users-checkpoint-")
    if "://" in folder:
        return f"{folder.rstrip('/')}/{time.time_ns()}"
    base = pathlib.Path(folder)
    base.mkdir(parents=True, exist_ok=True)
    for earlier in base.glob("start-*"):
        shutil.rmtree(earlier, ignore_errors=True)
    return str(base / f"start-{time.time_ns()}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="users.raw to users.processed on Spark")
    parser.add_argument("--once", action="store_true", help="end when all is processed that is there now")
    parser.add_argument("--max-records", type=int, metavar="N", help="offsets of a batch at the most")
    parser.add_argument("--checkpoint", metavar="DIR", help="where the query keeps its files while it runs")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    job = None
    try:
        # First what is quick to check; the job's admin port shows what is waited for after that.
        datastreaming_spark = module()
        spark = session()
        job = datastreaming_spark.Job(MODULE_VERSION)
        run(spark, job, options)
    except Refused as refused:
        print(f"users_job: {refused}", file=sys.stderr)
        return 2
    except (RuntimeError, ValueError) as error:
        print(f"users_job: {error}", file=sys.stderr)
        return 1
    finally:
        if job is not None:
            job.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
