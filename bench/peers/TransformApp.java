// The transform of stream-processor on Kafka Streams: the same bytes in, the same bytes out, exactly once.

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.util.Locale;
import java.util.Properties;
import java.util.regex.Pattern;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericData;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;

/** BOOTSTRAP SOURCE TARGET RAW_SCHEMA PROCESSED_SCHEMA PROCESSED_ID THREADS STATE_FOLDER */
public final class TransformApp {
  public static void main(String[] args) throws Exception {
    var raw = new Schema.Parser().parse(Files.readString(Path.of(args[3])));
    var processed = new Schema.Parser().parse(Files.readString(Path.of(args[4])));
    int id = Integer.parseInt(args[5]);
    var properties = new Properties();
    properties.put(StreamsConfig.APPLICATION_ID_CONFIG, args[2]);
    properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
    properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
    properties.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, args[6]);
    properties.put(StreamsConfig.STATE_DIR_CONFIG, args[7]);
    properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
    properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), "10000");
    properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG), "4194304");
    properties.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
    properties.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), "5");
    properties.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), "262144");

    var builder = new StreamsBuilder();
    var transforms = ThreadLocal.withInitial(() -> new Transform(raw, processed, id));
    builder
        .stream(args[1], Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
        .mapValues(value -> transforms.get().apply(value))
        .filter((key, value) -> value != null)
        .to(args[2], Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));
    var streams = new KafkaStreams(builder.build(), properties);
    Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
    streams.start();
  }

  /** One thread's. */
  static final class Transform {
    private static final Pattern UUID =
        Pattern.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}");
    private static final String KEYS = "22233344455566677778889999";
    private final GenericData data = new GenericData().setFastReaderEnabled(true);
    private final GenericDatumReader<GenericRecord> reader;
    private final GenericDatumWriter<GenericRecord> writer;
    private final Schema processed;
    private final int id;
    private final java.io.ByteArrayOutputStream bytes = new java.io.ByteArrayOutputStream(1024);
    private BinaryDecoder decoder;
    private BinaryEncoder encoder;
    private GenericRecord reused;

    Transform(Schema raw, Schema processed, int id) {
      this.reader = new GenericDatumReader<>(raw, raw, data);
      this.writer = new GenericDatumWriter<>(processed, data);
      this.processed = processed;
      this.id = id;
    }

    byte[] apply(byte[] value) {
      if (value == null) {
        return null;
      }
      try {
        decoder = DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, decoder);
        reused = reader.read(reused, decoder);
        GenericRecord result = transform(reused);
        bytes.reset();
        bytes.write(0);
        bytes.write(id >>> 24);
        bytes.write(id >>> 16);
        bytes.write(id >>> 8);
        bytes.write(id);
        encoder = EncoderFactory.get().binaryEncoder(bytes, encoder);
        writer.write(result, encoder);
        encoder.flush();
        return bytes.toByteArray();
      } catch (java.io.IOException error) {
        throw new java.io.UncheckedIOException(error);
      }
    }

    private GenericRecord transform(GenericRecord raw) {
      var out = new GenericData.Record(processed);
      String userId = raw.get("id").toString();
      check(UUID.matcher(userId).matches(), "id");
      String nat = raw.get("nat").toString();
      check(nat.length() == 2 && upperCase(nat.charAt(0)) && upperCase(nat.charAt(1)), "nat");
      var registered = time((Long) raw.get("registered_at"));
      var fetched = time((Long) raw.get("fetched_at"));
      var born = time((Long) raw.get("date_of_birth"));
      check(!registered.isBefore(born) && !registered.isAfter(fetched.plusDays(1)), "registered_at");
      check(!born.isAfter(fetched), "date_of_birth");
      int age = (int) born.until(fetched, ChronoUnit.YEARS);
      check(age <= 130, "date_of_birth");
      String email = raw.get("email").toString().strip();
      int at = email.indexOf('@');
      check(at > 0 && at < email.length() - 1 && email.indexOf('@', at + 1) < 0, "email");
      check(email.chars().noneMatch(c -> Character.isWhitespace(c) || Character.isISOControl(c)), "email");
      String first = folded(raw, "first_name");
      String last = folded(raw, "last_name");
      String name = folded(raw, "street_name");
      Object number = raw.get("street_number");
      String street = number == null ? name : name == null ? number.toString() : number + " " + name;
      String city = folded(raw, "city");
      String state = folded(raw, "state");
      String postcode = folded(raw, "postcode");
      postcode = postcode == null ? null : postcode.toUpperCase(Locale.ROOT);
      String country = folded(raw, "country");
      var line = new StringBuilder(96);
      push(line, ", ", street);
      push(line, ", ", postcode);
      push(line, postcode == null ? ", " : " ", city);
      push(line, ", ", state);
      push(line, ", ", country);
      var fullName = new StringBuilder(32);
      push(fullName, " ", first);
      push(fullName, " ", last);

      out.put("id", userId);
      out.put("run_id", raw.get("run_id"));
      out.put("country", nat);
      out.put("registered_at", raw.get("registered_at"));
      out.put("registered_month", month(registered));
      out.put("bucket", Character.digit(userId.charAt(35), 16));
      out.put("fetched_at", raw.get("fetched_at"));
      out.put("country_name", country);
      out.put("gender", folded(raw, "gender"));
      out.put("title", folded(raw, "title"));
      out.put("first_name", first);
      out.put("last_name", last);
      out.put("full_name", fullName.isEmpty() ? null : fullName.toString());
      out.put("date_of_birth", raw.get("date_of_birth"));
      out.put("age", age);
      out.put("age_band", band(age));
      out.put("email", email);
      out.put("email_domain", email.substring(at + 1).toLowerCase(Locale.ROOT));
      out.put("username", folded(raw, "username"));
      out.put("phone", phone(raw.get("phone")));
      out.put("cell", phone(raw.get("cell")));
      out.put("street", street);
      out.put("city", city);
      out.put("state", state);
      out.put("postcode", postcode);
      out.put("address", line.isEmpty() ? null : line.toString());
      out.put("latitude", degrees((Double) raw.get("latitude"), 90));
      out.put("longitude", degrees((Double) raw.get("longitude"), 180));
      out.put("timezone_offset", folded(raw, "timezone_offset"));
      out.put("timezone_description", folded(raw, "timezone_description"));
      out.put("document_name", folded(raw, "document_name"));
      out.put("document_value", folded(raw, "document_value"));
      out.put("picture_large", folded(raw, "picture_large"));
      out.put("picture_medium", folded(raw, "picture_medium"));
      out.put("picture_thumbnail", folded(raw, "picture_thumbnail"));
      out.put("__op", raw.get("__op"));
      out.put("__lsn", raw.get("__lsn"));
      out.put("__commit_ts", raw.get("__commit_ts"));
      return out;
    }

    private static void check(boolean sound, String field) {
      if (!sound) {
        throw new IllegalArgumentException(field);
      }
    }

    private static boolean upperCase(char c) {
      return c >= 'A' && c <= 'Z';
    }

    private static OffsetDateTime time(long micros) {
      return Instant.ofEpochSecond(Math.floorDiv(micros, 1_000_000L), Math.floorMod(micros, 1_000_000L) * 1000L)
          .atOffset(ZoneOffset.UTC);
    }

    private static String month(OffsetDateTime time) {
      int month = time.getMonthValue();
      return time.getYear() + (month < 10 ? "-0" : "-") + month;
    }

    private static String band(int age) {
      if (age >= 75) return "75+";
      if (age >= 65) return "65-74";
      if (age >= 55) return "55-64";
      if (age >= 45) return "45-54";
      if (age >= 35) return "35-44";
      if (age >= 25) return "25-34";
      return age >= 18 ? "18-24" : "0-17";
    }

    private static Double degrees(Double value, double limit) {
      check(value == null || Math.abs(value) <= limit, "coordinates");
      return value;
    }

    private static String folded(GenericRecord raw, String field) {
      Object value = raw.get(field);
      if (value == null) {
        return null;
      }
      String text = value.toString();
      if (!isFolded(text)) {
        var folded = new StringBuilder(text.length());
        for (String word : text.split("[\\s\\u00a0\\u0085\\p{Z}]+")) {
          push(folded, " ", word);
        }
        text = folded.toString();
      }
      return text.isEmpty() ? null : text;
    }

    private static boolean isFolded(String text) {
      boolean afterSpace = true;
      for (int i = 0; i < text.length(); i++) {
        char c = text.charAt(i);
        if (c == ' ') {
          if (afterSpace) {
            return false;
          }
          afterSpace = true;
        } else if (Character.isWhitespace(c) || c == '\u00a0' || c == '\u0085' || Character.isSpaceChar(c)) {
          return false;
        } else {
          afterSpace = false;
        }
      }
      return !afterSpace || text.isEmpty();
    }

    private static void push(StringBuilder text, String separator, String part) {
      if (part == null || part.isEmpty()) {
        return;
      }
      if (!text.isEmpty()) {
        text.append(separator);
      }
      text.append(part);
    }

    private static String phone(Object value) {
      if (value == null || value.toString().isBlank()) {
        return null;
      }
      String text = value.toString();
      check(text.chars().anyMatch(c -> c >= '0' && c <= '9'), "phone");
      var number = new StringBuilder(16);
      for (int i = 0; i < text.length(); i++) {
        char c = text.charAt(i);
        if (c >= '0' && c <= '9' || c == '+' && number.isEmpty()) {
          number.append(c);
        } else if (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z') {
          number.append(KEYS.charAt(Character.toLowerCase(c) - 'a'));
        }
      }
      check(number.length() - (number.charAt(0) == '+' ? 1 : 0) <= 15, "phone");
      return number.toString();
    }
  }
}
