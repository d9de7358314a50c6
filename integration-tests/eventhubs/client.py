"""Sends events with azure-eventhub, or checks those of every sender: client.py send|check CONNECTION"""

import os
import sys
import threading
import time

from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient, TransportType
from azure.eventhub.amqp import AmqpAnnotatedMessage, AmqpMessageBodyType

HUB = "orders"
PARTITIONS = {"python": "0", "node": "1", "rust": "2"}
EVENTS, KEYS, PER_KEY = 40, 10, 2
LIMIT = 120


def options(connection, transport):
    """With a certificate, everything goes over TLS."""
    certificate = os.environ.get("EVENTHUBS_CERTIFICATE")
    if not certificate:
        return {}
    endpoint = connection.split(";")[0].removeprefix("Endpoint=")
    return {
        "connection_verify": certificate,
        "custom_endpoint_address": endpoint,
        "transport_type": transport,
    }


def event(body, sender, number):
    made = EventData(body)
    made.properties = {"sender": sender, "number": number, "even": number % 2 == 0, "ratio": number / 4}
    made.message_id = f"{sender}-{number}"
    made.content_type = "text/plain"
    return made


def send(connection):
    producer = EventHubProducerClient.from_connection_string(
        connection, eventhub_name=HUB, **options(connection, TransportType.Amqp)
    )
    with producer:
        assert producer.get_partition_ids() == ["0", "1", "2", "3"]
        batch = producer.create_batch(partition_id=PARTITIONS["python"])
        for number in range(EVENTS):
            batch.add(event(f"python {number}", "python", number))
        producer.send_batch(batch)
        for key in range(KEYS):
            batch = producer.create_batch(partition_key=f"key-{key}")
            for number in range(PER_KEY):
                batch.add(event(f"python key-{key} {number}", "python-keys", number))
            producer.send_batch(batch)
        batch = producer.create_batch(partition_id="3")
        for body in ({"value_body": {"a": 1}}, {"sequence_body": [[1, 2], [3]]}):
            message = AmqpAnnotatedMessage(**body)
            message.application_properties = {"sender": "python-bodies"}
            batch.add(message)
        producer.send_batch(batch)


def read(connection, starts, expected):
    """Returns the events of each partition after its start: an offset, or -1."""
    client = EventHubConsumerClient.from_connection_string(
        connection,
        "$Default",
        eventhub_name=HUB,
        **options(connection, TransportType.AmqpOverWebsocket),
    )
    seen = {partition: [] for partition in starts}
    errors = []
    done = threading.Event()

    def on_events(context, events):
        seen[context.partition_id].extend(events)
        if sum(map(len, seen.values())) >= expected:
            done.set()

    def on_error(_, error):
        errors.append(error)
        done.set()

    thread = threading.Thread(
        target=lambda: client.receive_batch(on_events, on_error=on_error, starting_position=starts)
    )
    thread.start()
    done.wait(LIMIT)
    # A moment for events that should not come.
    time.sleep(0.5)
    client.close()
    thread.join()
    assert not errors, errors
    found = sum(map(len, seen.values()))
    assert found == expected, f"{found} events, expected {expected}"
    return seen


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def properties(found):
    return {text(key): text(value) for key, value in (found.properties or {}).items()}


def body(found):
    return b"".join(found.body).decode()


def check(connection):
    senders = os.environ["SENDERS"].split()
    expected = len(senders) * (EVENTS + KEYS * PER_KEY + 2)
    seen = read(connection, {partition: "-1" for partition in "0123"}, expected)
    for partition, events in seen.items():
        numbers = [found.sequence_number for found in events]
        assert numbers == list(range(len(numbers))), (partition, numbers)
    homes = {}
    for sender in senders:
        mine = [it for it in seen[PARTITIONS[sender]] if properties(it).get("sender") == sender]
        assert [body(it) for it in mine] == [f"{sender} {number}" for number in range(EVENTS)], sender
        for number, found in enumerate(mine):
            assert text(found.message_id) == f"{sender}-{number}", found
            assert text(found.content_type) == "text/plain", found
            assert found.partition_key is None, found
            wanted = {"sender": sender, "number": number, "even": number % 2 == 0, "ratio": number / 4}
            assert properties(found) == wanted, (properties(found), wanted)
        for key in range(KEYS):
            of_key = [
                (partition, body(it))
                for partition, events in seen.items()
                for it in events
                if text(it.partition_key) == f"key-{key}" and properties(it).get("sender") == f"{sender}-keys"
            ]
            assert [it[1] for it in of_key] == [f"{sender} key-{key} {n}" for n in range(PER_KEY)], of_key
            homes.setdefault(key, set()).update(partition for partition, _ in of_key)
        types = [it.body_type for it in seen["3"] if properties(it).get("sender") == f"{sender}-bodies"]
        assert types == [AmqpMessageBodyType.VALUE, AmqpMessageBodyType.SEQUENCE], (sender, types)
    assert all(len(home) == 1 for home in homes.values()), homes
    starts = {partition: events[-2].offset for partition, events in seen.items() if len(events) > 1}
    again = read(connection, starts, len(starts))
    for partition, events in again.items():
        assert [it.offset for it in events] == [seen[partition][-1].offset], partition


if __name__ == "__main__":
    {"send": send, "check": check}[sys.argv[1]](sys.argv[2])
