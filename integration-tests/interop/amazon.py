"""Amazon's aws-kinesis-agg for Python.

amazon.py write DIR   writes an aggregate per case, with what it holds
amazon.py check DIR   reads every aggregate in DIR, and writes its records again: the same bytes
"""

import base64
import json
import pathlib
import sys

from aws_kinesis_agg.aggregator import AggRecord
from aws_kinesis_agg.deaggregator import deaggregate_records

import cases


def aggregate(records):
    whole = AggRecord()
    for record in records:
        fits = whole.add_user_record(record["key"], base64.b64decode(record["data"]), record["hash"])
        assert fits, "more than one aggregate"
    return whole.get_contents()[2]


def split(data):
    outer = {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "sequenceNumber": "1",
            "approximateArrivalTimestamp": 1,
            "partitionKey": "a",
            "data": base64.b64encode(data),
        }
    }
    return [record["kinesis"] for record in deaggregate_records([outer])]


def write(folder):
    for name, records in cases.cases().items():
        path = folder / f"python-{name}"
        path.with_suffix(".bin").write_bytes(aggregate(records))
        text = json.dumps(records, ensure_ascii=False, indent=0, separators=(",", ":"))
        path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


def check(folder):
    checked = 0
    for path in sorted(folder.glob("*.bin")):
        records = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        data = path.read_bytes()
        inner = split(data)
        assert len(inner) == len(records), f"{path.name}: {len(inner)} of {len(records)} records"
        for at, (ours, record) in enumerate(zip(inner, records)):
            where = f"{path.name}, record {at}"
            assert ours.get("aggregated") and ours["subSequenceNumber"] == at, where
            assert ours["partitionKey"] == record["key"], where
            assert base64.b64decode(ours["data"]) == base64.b64decode(record["data"]), where
            # Of a record without an explicit hash key it reports the first of the table.
            if record["hash"] is not None:
                assert ours["explicitHashKey"] == record["hash"], where
        assert aggregate(records) == data, f"{path.name}: other bytes than Amazon's"
        checked += 1
    assert checked, f"no aggregate in {folder}"
    print(f"python: {checked} aggregates read, and written again byte for byte")


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](pathlib.Path(sys.argv[2]))
