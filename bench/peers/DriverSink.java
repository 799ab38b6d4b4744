// Upserts of a topic's Avro records with the Java driver: so many in flight, prepared, token-aware, no offsets kept.

import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.cql.BoundStatementBuilder;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.type.DataType;
import com.datastax.oss.driver.api.core.type.DataTypes;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.Semaphore;
import java.util.stream.Collectors;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** BOOTSTRAP TOPIC SCHEMA CASSANDRA_HOST CASSANDRA_PORT KEYSPACE TABLES IN_FLIGHT ROWS */
public final class DriverSink {
  /** Columns whose field has another name. */
  private static final Map<String, String> FIELDS = Map.of("source_lsn", "__lsn", "committed_at", "__commit_ts");

  private record Column(String field, DataType type) {}

  private record Table(PreparedStatement insert, List<Column> columns) {}

  public static void main(String[] args) throws Exception {
    var schema = new Schema.Parser().parse(Files.readString(Path.of(args[2])));
    int inFlight = Integer.parseInt(args[7]);
    long rows = Long.parseLong(args[8]);
    var config =
        DriverConfigLoader.programmaticBuilder()
            .withInt(DefaultDriverOption.CONNECTION_MAX_REQUESTS, 2048)
            .withDuration(DefaultDriverOption.REQUEST_TIMEOUT, Duration.ofSeconds(30))
            .build();
    try (var session =
        CqlSession.builder()
            .addContactPoint(new InetSocketAddress(args[3], Integer.parseInt(args[4])))
            .withLocalDatacenter("datacenter1")
            .withKeyspace(args[5])
            .withConfigLoader(config)
            .build()) {
      var tables = new ArrayList<Table>();
      for (String name : args[6].split(",")) {
        tables.add(prepare(session, name));
      }
      copy(session, tables, schema, args[0], args[1], inFlight, rows);
    }
  }

  private static Table prepare(CqlSession session, String name) {
    var metadata = session.getMetadata().getKeyspace(session.getKeyspace().get()).get().getTable(name).get();
    var columns = new ArrayList<Column>();
    metadata
        .getColumns()
        .forEach(
            (column, meta) -> {
              String text = column.asInternal();
              columns.add(new Column(FIELDS.getOrDefault(text, text), meta.getType()));
            });
    String names = metadata.getColumns().keySet().stream().map(c -> c.asCql(true)).collect(Collectors.joining(", "));
    String marks = columns.stream().map(c -> "?").collect(Collectors.joining(", "));
    String cql = "INSERT INTO " + name + " (" + names + ") VALUES (" + marks + ") USING TIMESTAMP ?";
    return new Table(session.prepare(cql), columns);
  }

  private static void copy(
      CqlSession session, List<Table> tables, Schema schema, String bootstrap, String topic, int inFlight, long rows)
      throws Exception {
    var properties = new Properties();
    properties.put("bootstrap.servers", bootstrap);
    properties.put("isolation.level", "read_committed");
    properties.put("enable.auto.commit", "false");
    properties.put("auto.offset.reset", "earliest");
    var permits = new Semaphore(inFlight);
    var failure = new java.util.concurrent.atomic.AtomicReference<Throwable>();
    var data = new GenericData().setFastReaderEnabled(true);
    var reader = new GenericDatumReader<GenericRecord>(schema, schema, data);
    BinaryDecoder decoder = null;
    GenericRecord record = null;
    var bytes = new ByteArrayDeserializer();
    try (var consumer = new KafkaConsumer<>(properties, bytes, bytes)) {
      consumer.assign(
          consumer.partitionsFor(topic).stream().map(p -> new TopicPartition(topic, p.partition())).toList());
      long written = 0;
      while (written < rows) {
        for (var message : consumer.poll(Duration.ofMillis(200))) {
          decoder = DecoderFactory.get().binaryDecoder(message.value(), 5, message.value().length - 5, decoder);
          record = reader.read(record, decoder);
          permits.acquire(tables.size());
          for (Table table : tables) {
            session
                .executeAsync(bind(table, record))
                .whenComplete(
                    (result, error) -> {
                      if (error != null) {
                        failure.set(error);
                      }
                      permits.release();
                    });
          }
          if (written++ == 0) {
            System.out.println(1);
          }
        }
        if (failure.get() != null) {
          throw new IllegalStateException(failure.get());
        }
      }
      permits.acquire(inFlight);
      System.out.println(rows);
    }
  }

  private static com.datastax.oss.driver.api.core.cql.BoundStatement bind(Table table, GenericRecord record) {
    BoundStatementBuilder bound = table.insert().boundStatementBuilder();
    int index = 0;
    for (Column column : table.columns()) {
      Object value = record.get(column.field());
      if (value != null) {
        if (column.type().equals(DataTypes.TEXT)) {
          bound.setString(index, value.toString());
        } else if (column.type().equals(DataTypes.TIMESTAMP)) {
          bound.setInstant(index, Instant.ofEpochMilli(Math.floorDiv((Long) value, 1000L)));
        } else if (column.type().equals(DataTypes.UUID)) {
          bound.setUuid(index, UUID.fromString(value.toString()));
        } else if (column.type().equals(DataTypes.INT)) {
          bound.setInt(index, (Integer) value);
        } else if (column.type().equals(DataTypes.BIGINT)) {
          bound.setLong(index, (Long) value);
        } else {
          bound.setDouble(index, (Double) value);
        }
      }
      index++;
    }
    return bound.setLong(index, (Long) record.get("__lsn")).build();
  }
}
