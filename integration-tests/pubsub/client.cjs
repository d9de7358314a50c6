// Google's client for Node.js on the Pub/Sub emulator: `client.cjs prepare|send|check`.
'use strict';

const assert = require('node:assert');
const {PubSub} = require('@google-cloud/pubsub');

const NAME = 'node';
const KEYS = 4;
const EVENTS = 10;
const WAIT = 120_000;

const pubsub = new PubSub({projectId: 'interop'});
const topic = pubsub.topic('orders', {messageOrdering: true});

async function prepare() {
  await pubsub.createTopic('orders').catch((error) => assert.equal(error.code, 6));
  await topic.createSubscription(NAME, {enableMessageOrdering: true, ackDeadlineSeconds: 60});
  await topic.createSubscription('once', {
    filter: `attributes.sender = "${NAME}" AND attributes.number = "3"`,
    enableExactlyOnceDelivery: true,
  });
  const invalid = topic.createSubscription('wrong', {filter: 'attributes.a == 1'});
  await assert.rejects(invalid, (error) => error.code === 3);
  const [metadata] = await pubsub.subscription(NAME).getMetadata();
  assert.equal(metadata.enableMessageOrdering, true);
}

async function send() {
  const sent = [];
  for (let number = 0; number < EVENTS; number += 1) {
    for (let key = 0; key < KEYS; key += 1) {
      sent.push(
        topic.publishMessage({
          data: Buffer.from(`${NAME} ${key} ${number}`),
          orderingKey: `${NAME}-${key}`,
          attributes: {sender: NAME, number: String(number)},
        }),
      );
    }
  }
  const ids = await Promise.all(sent);
  assert.equal(new Set(ids).size, EVENTS * KEYS);
}

// Hands messages to `receive` until it returns true.
function receiveUntil(name, receive) {
  const subscription = pubsub.subscription(name);
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => finish(new Error(`${name}: not received in time`)), WAIT);
    const finish = (error) => {
      clearTimeout(late);
      subscription.removeAllListeners('message');
      subscription.close().then(() => (error ? reject(error) : resolve()), reject);
    };
    subscription.on('error', finish);
    subscription.on('message', (message) => {
      Promise.resolve()
        .then(() => receive(message))
        .then((done) => done && finish(), finish);
    });
  });
}

async function check(senders) {
  const all = Array.from({length: EVENTS}, (_, number) => number);
  const expected = {};
  const received = {};
  const nacked = new Set();
  for (const sender of senders) {
    for (let key = 0; key < KEYS; key += 1) {
      expected[`${sender}-${key}`] = all;
      received[`${sender}-${key}`] = [];
    }
  }
  await receiveUntil(NAME, (message) => {
    const [sender, key, number] = message.data.toString().split(' ');
    assert.equal(message.orderingKey, `${sender}-${key}`);
    assert.deepEqual({...message.attributes}, {sender, number});
    // The first delivery of one event of each key is given back.
    if (number === '4' && !nacked.has(message.orderingKey)) {
      nacked.add(message.orderingKey);
      message.nack();
      return false;
    }
    const numbers = received[message.orderingKey];
    if (!numbers.includes(Number(number))) {
      numbers.push(Number(number));
    }
    message.ack();
    return Object.values(received).every((it) => it.length === EVENTS);
  });
  assert.deepEqual(received, expected);
  assert.equal(nacked.size, Object.keys(expected).length);
}

async function checkOnce() {
  const got = [];
  await receiveUntil('once', async (message) => {
    assert.equal(await message.ackWithResponse(), 'SUCCESS');
    got.push(message.data.toString());
    return got.length === KEYS;
  });
  assert.deepEqual(got.sort(), [0, 1, 2, 3].map((key) => `${NAME} ${key} 3`));
}

async function main() {
  assert.ok(process.env.PUBSUB_EMULATOR_HOST);
  const command = process.argv[2];
  if (command === 'prepare') {
    await prepare();
  } else if (command === 'send') {
    await send();
  } else {
    await check(process.env.SENDERS.split(' '));
    await checkOnce();
  }
  await pubsub.close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
