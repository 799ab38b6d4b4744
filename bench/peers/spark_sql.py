"""The pipeline's hops as a Spark Structured Streaming job of plain SQL: what one would write without it.

spark_sql.py transform|sink|classic SETTINGS, where SETTINGS is a JSON object; bench/src/peers/spark.rs makes it.

transform: users.raw to users.processed, the same bytes out as stream-processor's (at least once, as Spark's Kafka
sink is). sink: users.processed into Cassandra. classic: Debezium's JSON through the same transform into Cassandra.
"""

import json
import pathlib
import sys
import time

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as f
from pyspark.sql.avro.functions import from_avro, to_avro

# Of what Debezium calls `after`; times come as text.
CLASSIC = """id string, run_id string, fetched_at string, nat string, gender string, title string, first_name string,
    last_name string, street_number int, street_name string, city string, state string, country string,
    postcode string, latitude double, longitude double, timezone_offset string, timezone_description string,
    email string, username string, date_of_birth string, registered_at string, phone string, cell string,
    document_name string, document_value string, picture_large string, picture_medium string,
    picture_thumbnail string"""

BEFORE = "struct<run_id:string,country:string,registered_at:timestamp,registered_month:string,bucket:int>"


def folded(column: str) -> str:
    """Without white space at the ends, and one blank for any within; null if nothing is left."""
    return rf"nullif(trim(regexp_replace({column}, '[\\s\\u00a0\\u0085\\p{{Z}}]+', ' ')), '')"


def phone(column: str) -> str:
    """Digits, a plus in front if there was one; letters are those of the keypad."""
    keypad = f"translate(lower({column}), 'abcdefghijklmnopqrstuvwxyz', '22233344455566677778889999')"
    return rf"nullif(regexp_replace(regexp_replace({keypad}, '[^0-9+]', ''), '(?<=.)\\+', ''), '')"


FOLDED = """gender title username timezone_offset timezone_description document_name document_value picture_large
    picture_medium picture_thumbnail first_name last_name street_name city state country""".split()


def transform(raw: DataFrame) -> DataFrame:
    """The rows that pass the checks, as stream-processor makes them, less the change metadata's names."""
    sound = raw.where(r"""
        id rlike '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' and nat rlike '^[A-Z]{2}$'
        and registered_at >= date_of_birth and registered_at <= fetched_at + interval 1 day
        and date_of_birth <= fetched_at and trim(email) rlike '^[^@\\s\\p{Cntrl}]+@[^@\\s\\p{Cntrl}]+$'
        and abs(latitude) <= 90 and abs(longitude) <= 180""")
    parts = sound.selectExpr(
        "id",
        "run_id",
        "nat",
        "registered_at",
        "fetched_at",
        "date_of_birth",
        "trim(email) as email",
        "street_number",
        f"upper({folded('postcode')}) as postcode",
        "latitude",
        "longitude",
        f"{phone('phone')} as phone",
        f"{phone('cell')} as cell",
        "cast(timestampdiff(year, date_of_birth, fetched_at) as int) as age",
        *[f"{folded(column)} as {column}" for column in FOLDED],
        "__op",
        "__lsn",
        "__commit_ts",
    )
    street = "nullif(concat_ws(' ', cast(street_number as string), street_name), '')"
    place = "nullif(concat_ws(' ', postcode, city), '')"
    return parts.selectExpr(
        "id",
        "run_id",
        "nat as country",
        "registered_at",
        "date_format(registered_at, 'yyyy-MM') as registered_month",
        "cast(conv(right(id, 1), 16, 10) as int) as bucket",
        "fetched_at",
        "country as country_name",
        "gender",
        "title",
        "first_name",
        "last_name",
        "nullif(concat_ws(' ', first_name, last_name), '') as full_name",
        "date_of_birth",
        "age",
        "case when age >= 75 then '75+' when age >= 65 then '65-74' when age >= 55 then '55-64' "
        "when age >= 45 then '45-54' when age >= 35 then '35-44' when age >= 25 then '25-34' "
        "when age >= 18 then '18-24' else '0-17' end as age_band",
        "email",
        "lower(substring_index(email, '@', -1)) as email_domain",
        "username",
        "phone",
        "cell",
        f"{street} as street",
        "city",
        "state",
        "postcode",
        f"nullif(concat_ws(', ', {street}, {place}, state, country), '') as address",
        "latitude",
        "longitude",
        "timezone_offset",
        "timezone_description",
        "document_name",
        "document_value",
        "picture_large",
        "picture_medium",
        "picture_thumbnail",
        f"cast(null as {BEFORE}) as __before",
        "__op",
        "__lsn",
        "__commit_ts",
    )


def datum(settings: dict, schema: str):
    """The value behind the five bytes of the wire format."""
    return from_avro(f.expr("substring(value, 6)"), pathlib.Path(settings[schema]).read_text())


def main(part: str, settings: dict) -> None:
    builder = SparkSession.builder
    for key, value in settings["spark"].items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    source = spark.readStream.format("kafka").options(**settings["source"]).load()
    if part == "transform":
        raw = source.select("key", datum(settings, "raw").alias("raw"))
        done = transform(raw.select("raw.*"))
        header = f"unhex('00{settings['schema_id']:08x}')"
        value = to_avro(f.struct(*done.columns), pathlib.Path(settings["processed"]).read_text())
        # The key is the id as text.
        records = done.select(f.col("id").alias("key"), f.concat(f.expr(header), value).alias("value"))
        writer = records.writeStream.format("kafka").options(**settings["target"])
    else:
        if part == "sink":
            rows = source.select(datum(settings, "processed").alias("row")).select("row.*").drop("__before")
        else:
            after = f.from_json(f.expr("cast(value as string)"), f"after struct<{CLASSIC}>, ts_us bigint")
            after = source.where("value is not null").select(after.alias("row")).select("row.after.*", "row.ts_us")
            for column in ("fetched_at", "date_of_birth", "registered_at"):
                after = after.withColumn(column, f.col(column).cast("timestamp"))
            after = after.withColumn("__op", f.lit("c")).withColumn("__lsn", f.lit(0).cast("bigint"))
            rows = transform(after.withColumn("__commit_ts", f.timestamp_micros("ts_us")))
        rows = rows.withColumnRenamed("__lsn", "source_lsn").withColumnRenamed("__commit_ts", "committed_at")
        writer = rows.select(*settings["columns"]).writeStream.format("org.apache.spark.sql.cassandra")
        writer = writer.options(**settings["target"])
    writer = writer.option("checkpointLocation", settings["checkpoint"])
    follow((writer.trigger(availableNow=True) if settings["available_now"] else writer).start())


def follow(query) -> None:
    """Says after each batch how many rows have been through, until the end."""
    said, seen = 0, {}
    while True:
        active = query.isActive
        seen.update((progress["batchId"], progress["numInputRows"]) for progress in query.recentProgress)
        if (through := sum(seen.values())) != said:
            said = through
            print(said, flush=True)
        if not active:
            query.awaitTermination()
            return
        time.sleep(0.05)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
