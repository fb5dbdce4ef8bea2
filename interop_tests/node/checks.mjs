// Checks of a broker with amqplib, one line of output each; see check_program.py for the format.
import amqplib from "amqplib";
import assert from "node:assert/strict";
import { once } from "node:events";

const [url, prefix] = process.argv.slice(2);
const DEADLINE_MS = 15_000;
const checks = [];
let names = 0;

const check = (name, body) => checks.push({ name, body });
const unique = (stem) => `${prefix}.${++names}.${stem}`;

/** Fails if the promise takes too long. */
function within(promise, what) {
  let timer;
  const deadline = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${DEADLINE_MS} ms: ${what}`)), DEADLINE_MS);
  });
  return Promise.race([promise, deadline]).finally(() => clearTimeout(timer));
}

/** Consumes until so many messages came, and returns them. */
function take(channel, queue, count, options = {}) {
  const messages = [];
  return within(
    new Promise((resolve, reject) => {
      channel
        .consume(queue, (message) => {
          messages.push(message);
          if (messages.length === count) resolve(messages);
        }, options)
        .catch(reject);
    }),
    `${count} messages from ${queue}, have ${messages.length}`,
  );
}

/** Waits until a queue has so many ready messages: RabbitMQ's counts may lag behind what was sent before. */
async function readyBecomes(channel, queue, count) {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const { messageCount } = await channel.checkQueue(queue);
    if (messageCount === count) return;
    assert.ok(Date.now() < deadline, `${messageCount} messages are ready in ${queue}, not ${count}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const bodies = (messages) => messages.map((message) => message.content.toString());

async function exclusiveQueue(channel) {
  return (await channel.assertQueue("", { exclusive: true })).queue;
}

/** Returns the error that the channel is closed with. */
async function channelError(channel, act) {
  const error = once(channel, "error").then(([reason]) => reason);
  act(channel)?.catch?.(() => {});
  return within(error, "the channel is closed with an error");
}

check("a message goes through a queue and back", async ({ channel }) => {
  const queue = await exclusiveQueue(channel);
  channel.sendToQueue(queue, Buffer.from("hello"));
  const [message] = await take(channel, queue, 1);
  assert.equal(message.content.toString(), "hello");
  assert.equal(message.fields.redelivered, false);
  assert.equal(message.fields.exchange, "");
  channel.ack(message);
});

check("the connection knows what the broker says it is", async ({ connection }) => {
  const { serverProperties } = connection.connection;
  assert.ok(serverProperties.product);
  assert.ok(serverProperties.version);
  assert.equal(serverProperties.capabilities["basic.nack"], true);
});

check("properties and headers survive", async ({ channel }) => {
  const queue = await exclusiveQueue(channel);
  const headers = {
    text: "grüße 🐇", int: 42, negative: -7, float: 1.5, flag: true, nothing: null,
    list: [1, "two", { three: 3 }], table: { deep: { deeper: "x" } }, big: 4_294_967_296,
  };
  channel.sendToQueue(queue, Buffer.from("{}"), {
    headers, contentType: "application/json", contentEncoding: "utf-8", persistent: true, priority: 4,
    correlationId: "c", replyTo: "r", expiration: "60000", messageId: "m", timestamp: 1_700_000_000,
    type: "t", appId: "a",
  });
  const message = await channel.get(queue, { noAck: true });
  const { properties } = message;
  assert.deepEqual(properties.headers, headers);
  assert.equal(properties.contentType, "application/json");
  assert.equal(properties.deliveryMode, 2);
  assert.equal(properties.priority, 4);
  assert.equal(properties.expiration, "60000");
  assert.equal(properties.timestamp, 1_700_000_000);
  assert.deepEqual([properties.correlationId, properties.replyTo, properties.messageId], ["c", "r", "m"]);
});

check("bodies of many sizes survive, empty ones included", async ({ channel }) => {
  const queue = await exclusiveQueue(channel);
  const sizes = [0, 1, 4088, 131_064, 131_065, 3_000_000];
  for (const size of sizes) channel.sendToQueue(queue, Buffer.alloc(size, size % 251));
  const messages = await take(channel, queue, sizes.length, { noAck: true });
  assert.deepEqual(messages.map((message) => message.content.length), sizes);
  assert.ok(messages.every(({ content }) => content.every((byte) => byte === content.length % 251)));
});

check("confirms come for every publish", async ({ connection }) => {
  const channel = await connection.createConfirmChannel();
  const queue = await exclusiveQueue(channel);
  let confirmed = 0;
  for (let number = 0; number < 1000; number += 1) {
    channel.sendToQueue(queue, Buffer.from(String(number)), {}, (error) => { if (!error) confirmed += 1; });
  }
  await within(channel.waitForConfirms(), "all confirms");
  assert.equal(confirmed, 1000);
  await readyBecomes(channel, queue, 1000);
});

check("an unroutable mandatory message returns before its confirm", async ({ connection }) => {
  const channel = await connection.createConfirmChannel();
  const events = [];
  channel.on("return", (message) => events.push(`return ${message.fields.replyCode} ${message.content}`));
  await within(
    new Promise((resolve) => {
      channel.sendToQueue(unique("nowhere"), Buffer.from("x"), { mandatory: true }, () => {
        events.push("confirm");
        resolve();
      });
    }),
    "the confirm",
  );
  assert.deepEqual(events, ["return 312 x", "confirm"]);
});

check("prefetch limits what is outstanding", async ({ channel }) => {
  const queue = await exclusiveQueue(channel);
  await channel.prefetch(2);
  for (let number = 0; number < 5; number += 1) channel.sendToQueue(queue, Buffer.from(String(number)));
  const messages = await take(channel, queue, 2);
  await readyBecomes(channel, queue, 3);
  messages.forEach((message) => channel.ack(message));
});

check("global prefetch limits the channel", async ({ channel }) => {
  const queue = await exclusiveQueue(channel);
  await channel.prefetch(3, true);
  for (let number = 0; number < 5; number += 1) channel.sendToQueue(queue, Buffer.from("x"));
  await take(channel, queue, 3);
  await readyBecomes(channel, queue, 2);
});

check("nack, reject, nackAll and ackAll do what they say", async ({ channel }) => {
  const queue = await exclusiveQueue(channel);
  for (const body of ["a", "b", "c"]) channel.sendToQueue(queue, Buffer.from(body));
  channel.nack(await channel.get(queue), false, false);
  channel.reject(await channel.get(queue), true);
  const again = await channel.get(queue);
  assert.deepEqual([again.content.toString(), again.fields.redelivered], ["b", true]);
  await channel.get(queue);
  channel.nackAll(true);
  await readyBecomes(channel, queue, 2);
  await channel.get(queue);
  await channel.get(queue);
  channel.ackAll();
  assert.equal(await channel.get(queue), false);
});

check("recover requeues what is outstanding", async ({ channel }) => {
  const queue = await exclusiveQueue(channel);
  channel.sendToQueue(queue, Buffer.from("x"));
  await channel.get(queue);
  await channel.recover();
  assert.equal((await channel.get(queue)).fields.redelivered, true);
});

check("topic, fanout, direct and headers exchanges route", async ({ channel }) => {
  const cases = [
    ["topic", "logs.*.error", {}, "logs.disk.error", {}],
    ["fanout", "", {}, "anything", {}],
    ["direct", "key", {}, "key", {}],
    ["headers", "", { "x-match": "any", a: 1, b: 2 }, "", { b: 2 }],
  ];
  for (const [type, pattern, bindArguments, key, headers] of cases) {
    const exchange = unique(type);
    await channel.assertExchange(exchange, type, { autoDelete: true, durable: false });
    const queue = await exclusiveQueue(channel);
    await channel.bindQueue(queue, exchange, pattern, bindArguments);
    channel.publish(exchange, key, Buffer.from(type), { headers });
    assert.equal((await channel.get(queue, { noAck: true })).content.toString(), type);
    await channel.unbindQueue(queue, exchange, pattern, bindArguments);
  }
});

check("exchanges bind to exchanges", async ({ channel }) => {
  const [source, destination] = [unique("source"), unique("destination")];
  await channel.assertExchange(source, "topic", { durable: false });
  await channel.assertExchange(destination, "fanout", { durable: false });
  await channel.bindExchange(destination, source, "a.#");
  const queue = await exclusiveQueue(channel);
  await channel.bindQueue(queue, destination, "");
  channel.publish(source, "a.b", Buffer.from("x"));
  assert.equal((await channel.get(queue, { noAck: true })).content.toString(), "x");
  await channel.unbindExchange(destination, source, "a.#");
  channel.publish(source, "a.b", Buffer.from("x"));
  assert.equal(await channel.get(queue), false);
  await channel.deleteExchange(source);
  await channel.deleteExchange(destination);
});

check("an alternate exchange takes what is unroutable", async ({ channel }) => {
  const [main, spare] = [unique("main"), unique("spare")];
  await channel.assertExchange(spare, "fanout", { durable: false });
  await channel.assertExchange(main, "direct", { durable: false, alternateExchange: spare });
  const queue = await exclusiveQueue(channel);
  await channel.bindQueue(queue, spare, "");
  channel.publish(main, "nobody", Buffer.from("x"));
  assert.equal((await channel.get(queue, { noAck: true })).fields.exchange, main);
  await channel.deleteExchange(main);
  await channel.deleteExchange(spare);
});

check("CC and BCC reach further queues", async ({ channel }) => {
  const [to, cc, bcc] = [await exclusiveQueue(channel), await exclusiveQueue(channel), await exclusiveQueue(channel)];
  channel.sendToQueue(to, Buffer.from("x"), { CC: [cc], BCC: bcc });
  for (const queue of [to, cc, bcc]) {
    const message = await channel.get(queue, { noAck: true });
    assert.deepEqual(message.properties.headers, { CC: [cc] });
  }
});

check("direct reply-to carries an rpc", async ({ connection, channel }) => {
  const queue = unique("rpc");
  await channel.assertQueue(queue, { autoDelete: true, durable: false });
  await channel.consume(queue, (message) => {
    channel.sendToQueue(message.properties.replyTo, Buffer.from(`re: ${message.content}`), {
      correlationId: message.properties.correlationId,
    });
    channel.ack(message);
  });
  const client = await connection.createChannel();
  const reply = take(client, "amq.rabbitmq.reply-to", 1, { noAck: true });
  client.sendToQueue(queue, Buffer.from("question"), { replyTo: "amq.rabbitmq.reply-to", correlationId: "7" });
  const [message] = await reply;
  assert.deepEqual([message.content.toString(), message.properties.correlationId], ["re: question", "7"]);
});

check("a deleted queue sends its consumer null", async ({ connection, channel }) => {
  const queue = unique("deleted");
  await channel.assertQueue(queue, { durable: false });
  const [nothing] = await within(
    new Promise((resolve, reject) => {
      channel.consume(queue, (message) => resolve([message]))
        .then(() => connection.createChannel())
        .then((other) => other.deleteQueue(queue))
        .catch(reject);
    }),
    "the consumer hears of the deletion",
  );
  assert.equal(nothing, null);
});

check("consumer priorities decide who is served", async ({ channel }) => {
  const queue = await exclusiveQueue(channel);
  const got = { low: 0, high: 0 };
  await channel.consume(queue, () => { got.low += 1; }, { noAck: true, priority: 1 });
  const served = new Promise((resolve) => {
    channel.consume(queue, () => { if ((got.high += 1) === 10) resolve(); }, { noAck: true, priority: 9 });
  });
  for (let number = 0; number < 10; number += 1) channel.sendToQueue(queue, Buffer.from("x"));
  await within(served, "ten deliveries to the higher priority");
  assert.deepEqual(got, { low: 0, high: 10 });
});

check("an exclusive consumer keeps others out", async ({ connection, channel }) => {
  const queue = await exclusiveQueue(channel);
  await channel.consume(queue, () => {}, { exclusive: true });
  const other = await connection.createChannel();
  const error = await channelError(other, (closing) => closing.consume(queue, () => {}));
  assert.equal(error.code, 403);
});

check("a cancelled consumer gets nothing more", async ({ channel }) => {
  const queue = await exclusiveQueue(channel);
  const seen = [];
  const { consumerTag } = await channel.consume(queue, (message) => seen.push(message), { noAck: true });
  await channel.cancel(consumerTag);
  channel.sendToQueue(queue, Buffer.from("x"));
  await readyBecomes(channel, queue, 1);
  assert.deepEqual(seen, []);
});

check("the server names consumers and queues", async ({ channel }) => {
  const { queue } = await channel.assertQueue("", { exclusive: true });
  assert.match(queue, /^amq\.gen-/);
  const { consumerTag } = await channel.consume(queue, () => {});
  assert.match(consumerTag, /^amq\.ctag-/);
});

check("purge and delete say how many messages went", async ({ channel }) => {
  const queue = unique("counted");
  await channel.assertQueue(queue, { durable: false });
  for (let number = 0; number < 3; number += 1) channel.sendToQueue(queue, Buffer.from("x"));
  assert.equal((await channel.purgeQueue(queue)).messageCount, 3);
  channel.sendToQueue(queue, Buffer.from("x"));
  assert.equal((await channel.deleteQueue(queue)).messageCount, 1);
});

check("a missing queue is 404 on the channel, and the connection lives", async ({ connection, channel }) => {
  const error = await channelError(channel, (closing) => closing.checkQueue(unique("missing")));
  assert.equal(error.code, 404);
  assert.match(error.message, /NOT_FOUND - no queue/);
  await exclusiveQueue(await connection.createChannel());
});

check("a redeclare that differs is 406 on the channel", async ({ connection, channel }) => {
  const queue = unique("durable");
  await (await connection.createChannel()).assertQueue(queue, { durable: false, autoDelete: true });
  const error = await channelError(channel, (closing) => closing.assertQueue(queue, { durable: true, autoDelete: true }));
  assert.equal(error.code, 406);
  assert.match(error.message, /inequivalent arg 'durable'/);
  await (await connection.createChannel()).deleteQueue(queue);
});

check("acknowledging twice is 406 on the channel", async ({ channel }) => {
  const queue = await exclusiveQueue(channel);
  channel.sendToQueue(queue, Buffer.from("x"));
  const message = await channel.get(queue);
  const error = await channelError(channel, (closing) => { closing.ack(message); closing.ack(message); });
  assert.equal(error.code, 406);
  assert.match(error.message, /unknown delivery tag/);
});

check("an exclusive queue is 405 for another connection", async ({ channel }) => {
  const queue = await exclusiveQueue(channel);
  const other = await amqplib.connect(url);
  try {
    const error = await channelError(await other.createChannel(), (closing) => closing.checkQueue(queue));
    assert.equal(error.code, 405);
  } finally {
    await other.close();
  }
});

check("a wrong password is refused with 403", async () => {
  const wrong = new URL(url);
  wrong.password = "wrong";
  await assert.rejects(amqplib.connect(wrong.href), /403.*ACCESS.REFUSED/i);
});

check("frame sizes from 4096 bytes on carry large bodies", async () => {
  for (const frameMax of [4096, 65_536]) {
    const connection = await amqplib.connect(`${url}?frameMax=${frameMax}&heartbeat=5`);
    const channel = await connection.createChannel();
    const queue = await exclusiveQueue(channel);
    channel.sendToQueue(queue, Buffer.alloc(300_000, 7));
    const [message] = await take(channel, queue, 1, { noAck: true });
    assert.equal(message.content.length, 300_000);
    await connection.close();
  }
});

check("heartbeats keep an idle connection", async () => {
  const connection = await amqplib.connect(`${url}?heartbeat=1`);
  const closed = once(connection, "close").then(() => "closed");
  // Longer than the two silent intervals after which either side gives up.
  const idle = new Promise((resolve) => setTimeout(resolve, 3500, "idle"));
  assert.equal(await Promise.race([closed, idle]), "idle");
  await connection.close();
});

check("the secret can be updated", async ({ connection }) => {
  await within(connection.updateSecret(Buffer.from(new URL(url).password), "refresh"), "update-secret-ok");
});

check("a full write buffer drains", async ({ connection }) => {
  const channel = await connection.createConfirmChannel();
  const queue = await exclusiveQueue(channel);
  let full = 0;
  for (let number = 0; number < 2000; number += 1) {
    if (!channel.sendToQueue(queue, Buffer.alloc(2000, 1))) {
      full += 1;
      await within(once(channel, "drain"), "the buffer drains");
    }
  }
  await within(channel.waitForConfirms(), "all confirms");
  assert.ok(full > 0, "the buffer was never full");
  await readyBecomes(channel, queue, 2000);
});

check("channels opened at once work side by side", async ({ connection }) => {
  const channels = await Promise.all(Array.from({ length: 60 }, () => connection.createChannel()));
  const queue = await exclusiveQueue(channels[0]);
  channels.forEach((channel, number) => channel.sendToQueue(queue, Buffer.from(String(number))));
  const messages = await take(channels[0], queue, 60, { noAck: true });
  assert.equal(new Set(bodies(messages)).size, 60);
});

for (const { name, body } of checks) {
  let connection;
  try {
    connection = await within(amqplib.connect(url), "the connection opens");
    connection.on("error", () => {});
    const channel = await connection.createChannel();
    channel.on("error", () => {});
    await within(body({ connection, channel }), name);
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`failed ${name}: ${String(error?.stack ?? error).replaceAll("\n", " | ")}`);
  } finally {
    await connection?.close().catch(() => {});
  }
}
