"""Decodes every committed record of a topic with Confluent's own client, one JSON object a line.

Usage: decode_topic.py BOOTSTRAP_SERVERS REGISTRY_URL TOPIC
"""

import json
import sys

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

TIMEOUT_S = 20


def main(bootstrap: str, registry: str, topic: str) -> None:
    decode = AvroDeserializer(SchemaRegistryClient({"url": registry}))
    context = SerializationContext(topic, MessageField.VALUE)
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "tests-python",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    partitions = consumer.list_topics(topic, TIMEOUT_S).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    open_partitions = len(partitions)
    while open_partitions:
        message = consumer.poll(TIMEOUT_S)
        if message is None:
            raise SystemExit(f"nothing from {topic} in {TIMEOUT_S} s")
        if message.error() is None:
            value = decode(message.value(), context)
            print(json.dumps({"key": message.key().decode(), "value": value}, default=str))
        elif message.error().code() == KafkaError._PARTITION_EOF:
            open_partitions -= 1
        else:
            raise SystemExit(str(message.error()))
    consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
