import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The peers' job in Kafka Streams, exactly_once_v2: the facts of each tax unit and what was ordered for it are kept in RocksDB, and an order is written
 * where the amount of the first Economic Impact Payment, as Tax-Calculator has it, differs from what was ordered.
 *
 * Arguments: servers, application id, input topic, orders topic, threads, state directory, number of input records. It prints `first` and `done`
 * with milliseconds of the clock: the first record processed, and every input record behind a committed offset. Then it ends.
 */
public final class StreamsPeer {
    static final class Money {
        public long minor;
        public String currency;
    }

    static final class Assessment {
        public int year;
        public String status;
        public String filing_status;
        public int people;
        public int children_under_17;
        public int children_under_18;
        public boolean claimed_as_dependent;
        public Money agi;
    }

    static final class Message {
        public String specversion;
        public String id;
        public String source;
        public String type;
        public String subject;
        public String time;
        public String sequence;
        public Assessment data;
    }

    static volatile long firstAt = 0;

    static final class Decide implements Processor<byte[], byte[], byte[], byte[]> {
        private static final ObjectReader READER =
                new ObjectMapper().disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES).readerFor(Message.class);
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<byte[], byte[]> facts;
        private KeyValueStore<byte[], Long> ordered;

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            facts = context.getStateStore("facts");
            ordered = context.getStateStore("ordered");
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            if (firstAt == 0) {
                firstAt = System.currentTimeMillis();
            }
            Message message;
            try {
                message = READER.readValue(record.value());
            } catch (java.io.IOException error) {
                throw new IllegalStateException(error);
            }
            long sequence = Long.parseLong(message.sequence);
            byte[] known = facts.get(record.key());
            if (known != null && ByteBuffer.wrap(known).getLong() >= sequence) {
                return;
            }
            facts.put(record.key(), kept(sequence, message));
            long amount = amount(message.data);
            Long before = ordered.get(record.key());
            if (before == null ? amount != 0 : amount != before) {
                ordered.put(record.key(), amount);
                long difference = before == null ? amount : amount - before;
                String order = "{\"subject\":\"" + message.subject + "\",\"rule\":\"us-eip1-taxcalc\",\"currency\":\"USD\",\"minor\":" + difference + "}";
                context.forward(new Record<>(record.key(), order.getBytes(StandardCharsets.UTF_8), record.timestamp()));
            }
        }

        private static byte[] kept(long sequence, Message message) {
            byte[] id = message.id.getBytes(StandardCharsets.UTF_8);
            byte[] filing = message.data.filing_status.getBytes(StandardCharsets.UTF_8);
            return ByteBuffer.allocate(8 + 8 + 2 + 1 + 1 + 1 + filing.length + id.length)
                    .putLong(sequence).putLong(message.data.agi.minor).putShort((short) message.data.year)
                    .put((byte) message.data.children_under_18).put((byte) (message.data.status.equals("final") ? 1 : 0))
                    .put((byte) filing.length).put(filing).put(id).array();
        }

        /** In cents, exact: half a cent is rounded up. */
        static long amount(Assessment data) {
            boolean joint = data.filing_status.equals("married_joint");
            long full = (joint ? 240_000L : 120_000L) + 50_000L * data.children_under_18;
            long limit = joint ? 15_000_000L : data.filing_status.equals("head_of_household") ? 11_250_000L : 7_500_000L;
            long twentieths = full * 20 - Math.max(data.agi.minor - limit, 0);
            return twentieths <= 0 ? 0 : (twentieths + 10) / 20;
        }
    }

    static Topology topology(String input, String orders) {
        Topology topology = new Topology();
        topology.addSource("events", Serdes.ByteArray().deserializer(), Serdes.ByteArray().deserializer(), input);
        topology.addProcessor("decide", Decide::new, "events");
        topology.addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("facts"), Serdes.ByteArray(), Serdes.ByteArray()), "decide");
        topology.addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore("ordered"), Serdes.ByteArray(), Serdes.Long()), "decide");
        topology.addSink("orders", orders, Serdes.ByteArray().serializer(), Serdes.ByteArray().serializer(), "decide");
        return topology;
    }

    static Properties settings(String servers, String application, String threads, String directory) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, servers);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, application);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, threads);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, directory);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, "1");
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, System.getProperty("commit.ms", "100"));
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.MAX_POLL_RECORDS_CONFIG), System.getProperty("poll.records", "1000"));
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), System.getProperty("batch.bytes", "16384"));
        return settings;
    }

    public static void main(String[] arguments) throws Exception {
        String servers = arguments[0], application = arguments[1], input = arguments[2], orders = arguments[3];
        long wanted = Long.parseLong(arguments[6]);
        KafkaStreams streams = new KafkaStreams(topology(input, orders), settings(servers, application, arguments[4], arguments[5]));
        streams.setUncaughtExceptionHandler(error -> {
            error.printStackTrace();
            System.exit(3);
            return null;
        });
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", (Object) servers))) {
            streams.start();
            long taken = 0;
            while (taken < wanted) {
                Thread.sleep(100);
                taken = 0;
                Map<TopicPartition, OffsetAndMetadata> committed = admin.listConsumerGroupOffsets(application).partitionsToOffsetAndMetadata().get();
                for (Map.Entry<TopicPartition, OffsetAndMetadata> place : committed.entrySet()) {
                    if (place.getKey().topic().equals(input) && place.getValue() != null) {
                        taken += place.getValue().offset();
                    }
                }
            }
            long doneAt = System.currentTimeMillis();
            System.out.println("first " + firstAt);
            System.out.println("done " + doneAt);
            System.out.flush();
        }
        Runtime.getRuntime().halt(0);
    }
}
