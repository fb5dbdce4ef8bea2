import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.AlreadyClosedException;
import com.rabbitmq.client.AuthenticationFailureException;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DefaultConsumer;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.Envelope;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.Recoverable;
import com.rabbitmq.client.RecoveryListener;
import com.rabbitmq.client.RpcClient;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicInteger;

/** Checks of a broker with the RabbitMQ Java client, one line of output each; see check_program.py. */
public final class Checks {
    private static final long DEADLINE_MS = 15_000;
    private static final String REPLY_TO = "amq.rabbitmq.reply-to";

    private interface Body {
        void run(Connection connection, Channel channel) throws Exception;
    }

    private final ConnectionFactory factory = new ConnectionFactory();
    private final String prefix;
    private int names;

    private Checks(String url, String prefix) throws Exception {
        factory.setUri(url);
        factory.setAutomaticRecoveryEnabled(false);
        this.prefix = prefix;
    }

    public static void main(String[] arguments) throws Exception {
        new Checks(arguments[0], arguments[1]).runAll();
    }

    private void runAll() {
        check("a message goes through a queue and back", this::roundTrip);
        check("every property and header type survives", this::properties);
        check("bodies of many sizes survive, empty ones included", this::bodies);
        check("all confirms come, singly or together", this::confirms);
        check("an unroutable mandatory message returns before its confirm", this::returns);
        check("prefetch holds for each consumer, a global one for the channel", this::prefetch);
        check("nack with multiple and requeue restores the order", this::nackMultiple);
        check("reject without requeue drops the message", this::reject);
        check("recover requeues everything", this::recover);
        check("transactions commit and roll back", this::transactions);
        check("the exchange types route", this::exchangeTypes);
        check("exchanges bind to exchanges", this::exchangeBindings);
        check("nowait methods are carried out without an answer", this::nowait);
        check("an rpc runs over direct reply-to", this::directReplyTo);
        check("an access request is answered with a ticket", this::accessRequest);
        check("turning the flow on is answered", this::flowOn);
        check("a deleted queue notifies its consumer", this::cancelNotification);
        check("a missing queue is 404 on the channel only", this::missingQueue);
        check("a redeclare that differs is 406 on the channel only", this::inequivalent);
        check("an unknown delivery tag is 406 on the channel only", this::unknownTag);
        check("a reserved name is 403 on the channel only", this::reservedName);
        check("an exclusive queue is 405 for another connection", this::exclusiveQueue);
        check("a wrong password is an authentication failure", this::wrongPassword);
        check("a missing virtual host is 530", this::missingVirtualHost);
        check("small frames, few channels and quick heartbeats are negotiated", this::negotiation);
        check("automatic recovery rebuilds topology and consumers", this::automaticRecovery);
        check("threads publish on channels of their own", this::threads);
    }

    private void check(String name, Body body) {
        try (Connection connection = factory.newConnection()) {
            body.run(connection, connection.createChannel());
            System.out.println("ok " + name);
        } catch (Throwable problem) {
            StackTraceElement[] stack = problem.getStackTrace();
            System.out.println("failed " + name + ": " + problem + " caused by " + problem.getCause() + " at "
                + Arrays.toString(Arrays.copyOf(stack, Math.min(stack.length, 6))));
        }
    }

    private String unique(String stem) {
        names += 1;
        return prefix + "." + names + "." + stem;
    }

    private static void equal(Object actual, Object expected) {
        if (!Objects.deepEquals(actual, expected)) {
            throw new AssertionError("expected " + expected + ", got " + actual);
        }
    }

    private static void that(boolean condition, String otherwise) {
        if (!condition) {
            throw new AssertionError(otherwise);
        }
    }

    private static String exclusiveQueue(Channel channel) throws IOException {
        return channel.queueDeclare().getQueue();
    }

    private static void send(Channel channel, String queue, String... bodies) throws IOException {
        for (String body : bodies) {
            channel.basicPublish("", queue, MessageProperties.MINIMAL_BASIC, body.getBytes());
        }
    }

    /** Waits until a queue has so many ready messages: RabbitMQ's counts may lag behind what was sent before. */
    private static void readyBecomes(Channel channel, String queue, long count) throws Exception {
        long deadline = System.currentTimeMillis() + DEADLINE_MS;
        while (channel.messageCount(queue) != count) {
            that(System.currentTimeMillis() < deadline, "the queue does not come to " + count + " ready messages");
            Thread.sleep(20);
        }
    }

    private static String text(GetResponse response) {
        return response == null ? null : new String(response.getBody());
    }

    /** Keeps deliveries for the check to take, and counts down when the broker cancels it. */
    private static final class Keeper extends DefaultConsumer {
        final BlockingQueue<Delivery> arrived = new LinkedBlockingQueue<>();
        final CountDownLatch cancelled = new CountDownLatch(1);

        Keeper(Channel channel) {
            super(channel);
        }

        @Override
        public void handleDelivery(String tag, Envelope envelope, AMQP.BasicProperties properties, byte[] body) {
            arrived.add(new Delivery(envelope, properties, body));
        }

        @Override
        public void handleCancel(String tag) {
            cancelled.countDown();
        }

        Delivery next() throws InterruptedException {
            Delivery delivery = arrived.poll(DEADLINE_MS, TimeUnit.MILLISECONDS);
            that(delivery != null, "no delivery within the deadline");
            return delivery;
        }

        String nextText() throws InterruptedException {
            return new String(next().getBody());
        }
    }

    private static Keeper consume(Channel channel, String queue, boolean automatic) throws IOException {
        Keeper keeper = new Keeper(channel);
        channel.basicConsume(queue, automatic, keeper);
        return keeper;
    }

    private void roundTrip(Connection connection, Channel channel) throws Exception {
        String queue = exclusiveQueue(channel);
        send(channel, queue, "hello");
        Keeper keeper = consume(channel, queue, false);
        Delivery delivery = keeper.next();
        equal(new String(delivery.getBody()), "hello");
        equal(delivery.getEnvelope().isRedeliver(), false);
        channel.basicAck(delivery.getEnvelope().getDeliveryTag(), false);
        readyBecomes(channel, queue, 0);
    }

    private void properties(Connection connection, Channel channel) throws Exception {
        Map<String, Object> table = new HashMap<>();
        table.put("inner", 1);
        Map<String, Object> headers = new HashMap<>();
        headers.put("byte", (byte) -1);
        headers.put("short", (short) -300);
        headers.put("int", -70_000);
        headers.put("long", 1L << 40);
        headers.put("float", 1.5f);
        headers.put("double", 2.25);
        headers.put("decimal", new BigDecimal("3.14"));
        headers.put("boolean", true);
        headers.put("date", new Date(1_700_000_000_000L));
        headers.put("bytes", new byte[] {0, (byte) 255});
        headers.put("null", null);
        headers.put("table", table);
        headers.put("list", Arrays.asList(1, 2L, true));
        AMQP.BasicProperties sent = new AMQP.BasicProperties.Builder()
            .contentType("application/json").contentEncoding("utf-8").headers(headers).deliveryMode(2).priority(5)
            .correlationId("c").replyTo("r").expiration("60000").messageId("m").timestamp(new Date(1_700_000_000_000L))
            .type("t").userId(factory.getUsername()).appId("a").clusterId("k").build();
        String queue = exclusiveQueue(channel);
        channel.basicPublish("", queue, sent, "{}".getBytes());
        AMQP.BasicProperties got = channel.basicGet(queue, true).getProps();
        for (String key : headers.keySet()) {
            Object expected = headers.get(key);
            Object actual = got.getHeaders().get(key);
            that(Objects.deepEquals(actual, expected), "header " + key + " is " + actual);
        }
        equal(got.getHeaders().keySet(), headers.keySet());
        equal(got.getContentType() + got.getContentEncoding(), "application/jsonutf-8");
        equal(Arrays.asList(got.getDeliveryMode(), got.getPriority()), Arrays.asList(2, 5));
        equal(got.getCorrelationId() + got.getReplyTo() + got.getMessageId(), "crm");
        equal(got.getType() + got.getAppId() + got.getClusterId(), "tak");
        equal(got.getExpiration(), "60000");
        equal(got.getTimestamp(), sent.getTimestamp());
        equal(got.getUserId(), factory.getUsername());
    }

    private void bodies(Connection connection, Channel channel) throws Exception {
        String queue = exclusiveQueue(channel);
        Keeper keeper = consume(channel, queue, true);
        for (int size : new int[] {0, 1, 4088, 131_063, 131_064, 131_065, 2_000_000}) {
            byte[] body = new byte[size];
            Arrays.fill(body, (byte) (size % 251));
            channel.basicPublish("", queue, null, body);
            that(Arrays.equals(keeper.next().getBody(), body), "a body of " + size + " bytes changed");
        }
    }

    private void confirms(Connection connection, Channel channel) throws Exception {
        channel.confirmSelect();
        String queue = exclusiveQueue(channel);
        for (int number = 1; number <= 1000; number++) {
            equal(channel.getNextPublishSeqNo(), (long) number);
            send(channel, queue, "x");
        }
        channel.waitForConfirmsOrDie(DEADLINE_MS);
        readyBecomes(channel, queue, 1000);
    }

    private void returns(Connection connection, Channel channel) throws Exception {
        List<String> events = Collections.synchronizedList(new ArrayList<>());
        CountDownLatch confirmed = new CountDownLatch(1);
        channel.addReturnListener(returned -> events.add(
            "return " + returned.getReplyCode() + " " + returned.getReplyText() + " " + new String(returned.getBody())));
        channel.addConfirmListener((tag, multiple) -> {
            events.add("ack " + tag);
            confirmed.countDown();
        }, (tag, multiple) -> events.add("nack " + tag));
        channel.confirmSelect();
        channel.basicPublish("", unique("nowhere"), true, null, "x".getBytes());
        that(confirmed.await(DEADLINE_MS, TimeUnit.MILLISECONDS), "no confirm");
        equal(events, Arrays.asList("return 312 NO_ROUTE x", "ack 1"));
    }

    private void prefetch(Connection connection, Channel channel) throws Exception {
        String queue = exclusiveQueue(channel);
        channel.basicQos(2);
        List<Keeper> keepers = Arrays.asList(consume(channel, queue, false), consume(channel, queue, false));
        send(channel, queue, "1", "2", "3", "4", "5");
        for (Keeper keeper : keepers) {
            keeper.next();
            keeper.next();
        }
        readyBecomes(channel, queue, 1);
        Channel shared = connection.createChannel();
        String other = exclusiveQueue(shared);
        shared.basicQos(3, true);
        Keeper keeper = consume(shared, other, false);
        send(shared, other, "1", "2", "3", "4", "5");
        keeper.next();
        keeper.next();
        long tag = keeper.next().getEnvelope().getDeliveryTag();
        readyBecomes(shared, other, 2);
        shared.basicAck(tag, true);
        equal(keeper.nextText() + keeper.nextText(), "45");
    }

    private void nackMultiple(Connection connection, Channel channel) throws Exception {
        String queue = exclusiveQueue(channel);
        send(channel, queue, "1", "2", "3");
        long last = 0;
        for (int number = 0; number < 3; number++) {
            last = channel.basicGet(queue, false).getEnvelope().getDeliveryTag();
        }
        channel.basicNack(last, true, true);
        StringBuilder order = new StringBuilder();
        for (int number = 0; number < 3; number++) {
            GetResponse response = channel.basicGet(queue, true);
            that(response.getEnvelope().isRedeliver(), "not flagged as redelivered");
            order.append(text(response));
        }
        equal(order.toString(), "123");
    }

    private void reject(Connection connection, Channel channel) throws Exception {
        String queue = exclusiveQueue(channel);
        send(channel, queue, "x");
        channel.basicReject(channel.basicGet(queue, false).getEnvelope().getDeliveryTag(), false);
        equal(channel.basicGet(queue, true), null);
    }

    private void recover(Connection connection, Channel channel) throws Exception {
        String queue = exclusiveQueue(channel);
        send(channel, queue, "x");
        channel.basicGet(queue, false);
        channel.basicRecover(true);
        that(channel.basicGet(queue, true).getEnvelope().isRedeliver(), "not flagged as redelivered");
    }

    private void transactions(Connection connection, Channel channel) throws Exception {
        String queue = exclusiveQueue(channel);
        channel.txSelect();
        send(channel, queue, "dropped");
        channel.txRollback();
        send(channel, queue, "kept");
        readyBecomes(channel, queue, 0);
        channel.txCommit();
        GetResponse response = channel.basicGet(queue, false);
        equal(text(response), "kept");
        channel.basicAck(response.getEnvelope().getDeliveryTag(), false);
        channel.txCommit();
    }

    private void exchangeTypes(Connection connection, Channel channel) throws Exception {
        Map<String, Object> match = new HashMap<>();
        match.put("x-match", "all");
        match.put("kind", "report");
        AMQP.BasicProperties header =
            new AMQP.BasicProperties.Builder().headers(Collections.singletonMap("kind", "report")).build();
        String[][] cases = {
            {"direct", "key", "key"}, {"fanout", "", "any"}, {"topic", "*.b.#", "a.b.c.d"}, {"headers", "", ""}};
        for (String[] row : cases) {
            String exchange = unique(row[0]);
            channel.exchangeDeclare(exchange, row[0], false, true, null);
            String queue = exclusiveQueue(channel);
            channel.queueBind(queue, exchange, row[1], row[0].equals("headers") ? match : null);
            channel.basicPublish(exchange, row[2], header, row[0].getBytes());
            equal(text(channel.basicGet(queue, true)), row[0]);
            channel.exchangeDelete(exchange);
        }
    }

    private void exchangeBindings(Connection connection, Channel channel) throws Exception {
        String source = unique("source");
        String destination = unique("destination");
        channel.exchangeDeclare(source, "direct");
        channel.exchangeDeclare(destination, "fanout");
        channel.exchangeBind(destination, source, "key");
        String queue = exclusiveQueue(channel);
        channel.queueBind(queue, destination, "");
        channel.basicPublish(source, "key", null, "x".getBytes());
        equal(text(channel.basicGet(queue, true)), "x");
        channel.exchangeUnbind(destination, source, "key");
        channel.basicPublish(source, "key", null, "x".getBytes());
        equal(channel.basicGet(queue, true), null);
        channel.exchangeDelete(source);
        channel.exchangeDelete(destination);
    }

    private void nowait(Connection connection, Channel channel) throws Exception {
        String queue = unique("queue");
        String exchange = unique("exchange");
        channel.exchangeDeclareNoWait(exchange, "direct", false, false, false, null);
        channel.queueDeclareNoWait(queue, false, false, false, null);
        channel.queueBindNoWait(queue, exchange, "key", null);
        channel.basicPublish(exchange, "key", null, "x".getBytes());
        equal(text(channel.basicGet(queue, true)), "x");
        channel.queueDeleteNoWait(queue, false, false);
        channel.exchangeDeleteNoWait(exchange, false);
        expectClose(connection.createChannel(), 404, "NOT_FOUND", probe -> probe.queueDeclarePassive(queue));
    }

    private void directReplyTo(Connection connection, Channel channel) throws Exception {
        String requests = exclusiveQueue(channel);
        channel.basicConsume(requests, true, new DefaultConsumer(channel) {
            @Override
            public void handleDelivery(String tag, Envelope envelope, AMQP.BasicProperties request, byte[] body)
                throws IOException {
                AMQP.BasicProperties reply =
                    new AMQP.BasicProperties.Builder().correlationId(request.getCorrelationId()).build();
                channel.basicPublish("", request.getReplyTo(), reply, ("re: " + new String(body)).getBytes());
            }
        });
        Channel asking = connection.createChannel();
        RpcClient client = new RpcClient(asking, "", requests, REPLY_TO, (int) DEADLINE_MS);
        for (String question : new String[] {"one", "two", "three"}) {
            equal(client.stringCall(question), "re: " + question);
        }
        client.close();
    }

    private void accessRequest(Connection connection, Channel channel) throws Exception {
        AMQP.Access.Request request = new AMQP.Access.Request.Builder().realm("/data").active().read().write().build();
        Object answer = channel.rpc(request).getMethod();
        that(answer instanceof AMQP.Access.RequestOk, "the answer is " + answer);
        equal(((AMQP.Access.RequestOk) answer).getTicket(), 1);
    }

    private void flowOn(Connection connection, Channel channel) throws Exception {
        Object answer = channel.rpc(new AMQP.Channel.Flow.Builder().active(true).build()).getMethod();
        that(((AMQP.Channel.FlowOk) answer).getActive(), "the flow is off");
    }

    private void cancelNotification(Connection connection, Channel channel) throws Exception {
        String queue = unique("deleted");
        channel.queueDeclare(queue, false, false, false, null);
        Keeper keeper = consume(channel, queue, false);
        connection.createChannel().queueDelete(queue);
        that(keeper.cancelled.await(DEADLINE_MS, TimeUnit.MILLISECONDS), "no cancel notification");
        that(channel.isOpen(), "the channel was closed");
    }

    private interface Mistake {
        void make(Channel channel) throws Exception;
    }

    private static void expectClose(Channel channel, int code, String words, Mistake mistake) throws Exception {
        CountDownLatch closed = new CountDownLatch(1);
        channel.addShutdownListener(cause -> closed.countDown());
        try {
            mistake.make(channel);
        } catch (IOException | AlreadyClosedException expected) {
            // The reason is read from the channel, whichever way the client learns of it.
        }
        that(closed.await(DEADLINE_MS, TimeUnit.MILLISECONDS), "the channel was not closed");
        AMQP.Channel.Close close = (AMQP.Channel.Close) channel.getCloseReason().getReason();
        equal(close.getReplyCode(), code);
        that(close.getReplyText().contains(words), "the reply text is " + close.getReplyText());
        that(channel.getConnection().isOpen(), "the connection was closed as well");
        exclusiveQueue(channel.getConnection().createChannel());
    }

    private void missingQueue(Connection connection, Channel channel) throws Exception {
        expectClose(channel, 404, "NOT_FOUND - no queue", closing -> closing.basicGet(unique("missing"), true));
    }

    private void inequivalent(Connection connection, Channel channel) throws Exception {
        String queue = unique("queue");
        channel.queueDeclare(queue, false, false, true, null);
        expectClose(connection.createChannel(), 406, "inequivalent arg 'durable'",
            closing -> closing.queueDeclare(queue, true, false, true, null));
        channel.queueDelete(queue);
    }

    private void unknownTag(Connection connection, Channel channel) throws Exception {
        expectClose(channel, 406, "unknown delivery tag 55", closing -> closing.basicAck(55, false));
    }

    private void reservedName(Connection connection, Channel channel) throws Exception {
        expectClose(channel, 403, "ACCESS_REFUSED", closing -> closing.queueDeclare("amq.mine", false, false, false, null));
    }

    private void exclusiveQueue(Connection connection, Channel channel) throws Exception {
        String queue = exclusiveQueue(channel);
        try (Connection other = factory.newConnection()) {
            expectClose(other.createChannel(), 405, "RESOURCE_LOCKED", closing -> closing.queueDeclarePassive(queue));
        }
    }

    private void wrongPassword(Connection connection, Channel channel) throws Exception {
        ConnectionFactory wrong = factory.clone();
        wrong.setPassword("wrong");
        try (Connection unexpected = wrong.newConnection()) {
            throw new AssertionError("logged in with a wrong password");
        } catch (AuthenticationFailureException expected) {
            that(expected.getMessage().contains("ACCESS_REFUSED"), expected.getMessage());
        }
    }

    private void missingVirtualHost(Connection connection, Channel channel) throws Exception {
        ConnectionFactory wrong = factory.clone();
        wrong.setVirtualHost("no-such-vhost");
        try (Connection unexpected = wrong.newConnection()) {
            throw new AssertionError("opened a missing virtual host");
        } catch (IOException expected) {
            ShutdownSignalException cause = (ShutdownSignalException) expected.getCause();
            equal(((AMQP.Connection.Close) cause.getReason()).getReplyCode(), 530);
        }
    }

    private void negotiation(Connection connection, Channel channel) throws Exception {
        ConnectionFactory modest = factory.clone();
        modest.setRequestedFrameMax(4096);
        modest.setRequestedChannelMax(2);
        modest.setRequestedHeartbeat(1);
        try (Connection small = modest.newConnection()) {
            equal(Arrays.asList(small.getFrameMax(), small.getChannelMax(), small.getHeartbeat()),
                Arrays.asList(4096, 2, 1));
            Channel first = small.createChannel();
            String queue = exclusiveQueue(first);
            byte[] body = new byte[100_000];
            first.basicPublish("", queue, null, body);
            equal(first.basicGet(queue, true).getBody().length, body.length);
            small.createChannel();
            that(small.createChannel() == null, "a third channel was opened");
            CountDownLatch closed = new CountDownLatch(1);
            small.addShutdownListener(cause -> closed.countDown());
            // Idle for longer than the two heartbeat intervals after which either side gives up.
            that(!closed.await(3500, TimeUnit.MILLISECONDS), "the idle connection was closed");
            exclusiveQueue(first);
        }
    }

    private void automaticRecovery(Connection connection, Channel channel) throws Exception {
        ConnectionFactory recovering = factory.clone();
        recovering.setAutomaticRecoveryEnabled(true);
        recovering.setTopologyRecoveryEnabled(true);
        recovering.setNetworkRecoveryInterval(100);
        String exchange = unique("exchange");
        try (Connection fragile = recovering.newConnection()) {
            CountDownLatch recovered = new CountDownLatch(1);
            ((Recoverable) fragile).addRecoveryListener(new RecoveryListener() {
                @Override
                public void handleRecovery(Recoverable recoverable) {
                    recovered.countDown();
                }

                @Override
                public void handleRecoveryStarted(Recoverable recoverable) {
                    // Only its end counts.
                }
            });
            Channel working = fragile.createChannel();
            working.exchangeDeclare(exchange, "direct", false, true, null);
            String queue = exclusiveQueue(working);
            working.queueBind(queue, exchange, "key");
            Keeper keeper = consume(working, queue, true);
            try {
                // A prefetch size is not implemented: a hard error, from which the client recovers by itself.
                fragile.createChannel().basicQos(1, 1, false);
            } catch (IOException expected) {
                // The broker has closed the connection with 540.
            }
            that(recovered.await(DEADLINE_MS, TimeUnit.MILLISECONDS), "the client did not recover");
            working.basicPublish(exchange, "key", null, "after".getBytes());
            equal(keeper.nextText(), "after");
        }
    }

    private void threads(Connection connection, Channel channel) throws Exception {
        String queue = exclusiveQueue(channel);
        Keeper keeper = consume(channel, queue, true);
        AtomicInteger failures = new AtomicInteger();
        List<Thread> threads = new ArrayList<>();
        for (int number = 0; number < 8; number++) {
            Thread thread = new Thread(() -> {
                try (Channel own = connection.createChannel()) {
                    own.confirmSelect();
                    for (int count = 0; count < 200; count++) {
                        send(own, queue, "x");
                    }
                    own.waitForConfirmsOrDie(DEADLINE_MS);
                } catch (IOException | TimeoutException | InterruptedException problem) {
                    failures.incrementAndGet();
                }
            });
            threads.add(thread);
            thread.start();
        }
        for (Thread thread : threads) {
            thread.join(DEADLINE_MS);
        }
        equal(failures.get(), 0);
        for (int count = 0; count < 1600; count++) {
            keeper.next();
        }
    }
}
