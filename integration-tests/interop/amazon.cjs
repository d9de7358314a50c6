// Amazon's aws-kinesis-agg for Node.js.
//
// amazon.cjs write DIR   reads the python-*.json in DIR, writes node-*.bin of the same records
// amazon.cjs check DIR   reads every aggregate in DIR, and writes its records again: the same bytes

const assert = require("node:assert");
const fs = require("node:fs");
const path = require("node:path");
const { RecordAggregator, deaggregateSync } = require("aws-kinesis-agg");

function aggregate(records) {
  const whole = new RecordAggregator();
  for (const { key, hash, data } of records) {
    whole.addUserRecord({
      partitionKey: key,
      explicitHashKey: hash ?? undefined,
      data: Buffer.from(data, "base64"),
    });
  }
  return whole.build().data;
}

function split(data) {
  let inner;
  const outer = { partitionKey: "a", sequenceNumber: "1", data: data.toString("base64") };
  deaggregateSync(outer, true, (error, records) => {
    if (error) throw error;
    inner = records;
  });
  return inner;
}

// It keeps its tables in the keys of an object, which JavaScript puts in another order when they
// look like the index of an array: the aggregate then gives records the keys of others.
function canWrite(records) {
  const index = (text) => /^(0|[1-9]\d*)$/.test(text) && Number(text) < 2 ** 32 - 1;
  return !records.some(({ key, hash }) => key === "" || index(key) || (hash !== null && index(hash)));
}

function write(folder) {
  for (const file of fs.readdirSync(folder).sort()) {
    if (!/^python-.*\.json$/.test(file)) continue;
    const text = fs.readFileSync(path.join(folder, file), "utf8");
    const name = file.replace(/^python-(.*)\.json$/, "node-$1");
    fs.writeFileSync(path.join(folder, `${name}.bin`), aggregate(JSON.parse(text)));
    fs.writeFileSync(path.join(folder, `${name}.json`), text);
  }
}

function check(folder) {
  let checked = 0;
  let written = 0;
  for (const file of fs.readdirSync(folder).sort()) {
    if (!file.endsWith(".bin")) continue;
    const data = fs.readFileSync(path.join(folder, file));
    const records = JSON.parse(fs.readFileSync(path.join(folder, file.replace(/bin$/, "json")), "utf8"));
    const inner = split(data);
    assert.equal(inner.length, records.length, file);
    inner.forEach((ours, at) => {
      const where = `${file}, record ${at}`;
      assert.equal(ours.subSequenceNumber, at, where);
      assert.equal(ours.partitionKey, records[at].key, where);
      assert.equal(ours.data, records[at].data, where);
      // Of a record without an explicit hash key it reports the first of the table.
      if (records[at].hash !== null) assert.equal(ours.explicitPartitionKey, records[at].hash, where);
    });
    if (canWrite(records)) {
      assert.ok(aggregate(records).equals(data), `${file}: other bytes than Amazon's`);
      written += 1;
    }
    checked += 1;
  }
  assert.ok(checked, `no aggregate in ${folder}`);
  console.log(`node: ${checked} aggregates read, and ${written} written again byte for byte`);
}

({ write, check })[process.argv[2]](process.argv[3]);
