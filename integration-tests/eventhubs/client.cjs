// Sends events with @azure/event-hubs, or checks those of every sender: client.cjs send|check CONNECTION
"use strict";

const assert = require("node:assert/strict");
const {
  EventHubConsumerClient,
  EventHubProducerClient,
  earliestEventPosition,
} = require("@azure/event-hubs");

const HUB = "orders";
const PARTITIONS = { python: "0", node: "1", rust: "2" };
const [EVENTS, KEYS, PER_KEY] = [40, 10, 2];
const LIMIT = 120_000;

// With a certificate, everything goes over TLS.
function options(connection, websocket) {
  if (!process.env.EVENTHUBS_CERTIFICATE) return {};
  const endpoint = connection.split(";")[0].replace("Endpoint=sb://", "https://");
  const found = { customEndpointAddress: endpoint };
  if (websocket) found.webSocketOptions = { webSocket: require("ws") };
  return found;
}

function event(body, sender, number) {
  return {
    body: Buffer.from(body),
    messageId: `${sender}-${number}`,
    contentType: "text/plain",
    properties: { sender, number, even: number % 2 === 0, ratio: number / 4 },
  };
}

async function send(connection) {
  const producer = new EventHubProducerClient(connection, HUB, options(connection, false));
  assert.deepEqual(await producer.getPartitionIds(), ["0", "1", "2", "3"]);
  const batch = await producer.createBatch({ partitionId: PARTITIONS.node });
  for (let number = 0; number < EVENTS; number++) {
    assert(batch.tryAdd(event(`node ${number}`, "node", number)));
  }
  await producer.sendBatch(batch);
  for (let key = 0; key < KEYS; key++) {
    const batch = await producer.createBatch({ partitionKey: `key-${key}` });
    for (let number = 0; number < PER_KEY; number++) {
      assert(batch.tryAdd(event(`node key-${key} ${number}`, "node-keys", number)));
    }
    await producer.sendBatch(batch);
  }
  const applicationProperties = { sender: "node-bodies" };
  const bodies = [
    { bodyType: "value", body: { a: 1 }, applicationProperties },
    { bodyType: "sequence", body: [[1, 2], [3]], applicationProperties },
  ];
  await producer.sendBatch(bodies, { partitionId: "3" });
  await producer.close();
}

// Returns the events of each partition after its start.
async function read(connection, starts, expected) {
  const client = new EventHubConsumerClient("$Default", connection, HUB, options(connection, true));
  const seen = Object.fromEntries(Object.keys(starts).map((partition) => [partition, []]));
  const count = () => Object.values(seen).reduce((sum, events) => sum + events.length, 0);
  const subscriptions = [];
  try {
    await new Promise((resolve, reject) => {
      setTimeout(() => reject(new Error(`${count()} events, expected ${expected}`)), LIMIT).unref();
      for (const [partition, startPosition] of Object.entries(starts)) {
        const handlers = {
          processEvents: async (events) => {
            seen[partition].push(...events);
            // A moment for events that should not come.
            if (count() >= expected) setTimeout(resolve, 500);
          },
          processError: async (error) => reject(error),
        };
        subscriptions.push(client.subscribe(partition, handlers, { startPosition }));
      }
    });
  } finally {
    for (const subscription of subscriptions) await subscription.close();
    await client.close();
  }
  assert.equal(count(), expected);
  return seen;
}

async function check(connection) {
  const senders = process.env.SENDERS.split(" ");
  const expected = senders.length * (EVENTS + KEYS * PER_KEY + 2);
  const starts = Object.fromEntries(["0", "1", "2", "3"].map((it) => [it, earliestEventPosition]));
  const seen = await read(connection, starts, expected);
  for (const events of Object.values(seen)) {
    events.forEach((found, at) => assert.equal(found.sequenceNumber, at));
  }
  const body = (found) => found.body.toString();
  const of = (partition, sender) => seen[partition].filter((it) => it.properties?.sender === sender);
  const homes = {};
  for (const sender of senders) {
    const mine = of(PARTITIONS[sender], sender);
    assert.deepEqual(mine.map(body), Array.from({ length: EVENTS }, (_, number) => `${sender} ${number}`));
    mine.forEach((found, number) => {
      assert.equal(found.messageId, `${sender}-${number}`);
      assert.equal(found.contentType, "text/plain");
      assert.equal(found.partitionKey ?? null, null);
      const wanted = { sender, number, even: number % 2 === 0, ratio: number / 4 };
      // This client reads the longer of AMQP's two encodings of booleans, which Python's writes, as a number.
      const properties = { ...found.properties, even: Boolean(found.properties.even) };
      assert.deepEqual(properties, wanted);
    });
    for (let key = 0; key < KEYS; key++) {
      const ofKey = [];
      for (const partition of Object.keys(seen)) {
        for (const found of of(partition, `${sender}-keys`)) {
          if (found.partitionKey !== `key-${key}`) continue;
          ofKey.push(body(found));
          (homes[key] ??= new Set()).add(partition);
        }
      }
      assert.deepEqual(ofKey, Array.from({ length: PER_KEY }, (_, n) => `${sender} key-${key} ${n}`));
    }
    const types = of("3", `${sender}-bodies`).map((it) => it.getRawAmqpMessage().bodyType);
    assert.deepEqual(types, ["value", "sequence"], sender);
  }
  for (const home of Object.values(homes)) assert.equal(home.size, 1);
  const later = {};
  for (const [partition, events] of Object.entries(seen)) {
    if (events.length > 1) later[partition] = { offset: events.at(-2).offset };
  }
  const again = await read(connection, later, Object.keys(later).length);
  for (const [partition, events] of Object.entries(again)) {
    assert.deepEqual(events.map((it) => it.offset), [seen[partition].at(-1).offset]);
  }
}

const [, , command, connection] = process.argv;
({ send, check })[command](connection).then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
