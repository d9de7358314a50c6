"""Google's client for Python on the Pub/Sub emulator: `client.py prepare|send|check`."""

import os
import sys
import threading
import time

from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.pubsub_v1.types import PubsubMessage

NAME = "python"
PROJECT = "interop"
KEYS = 4
EVENTS = 10


def prepare():
    publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
    topic = publisher.topic_path(PROJECT, "orders")
    try:
        publisher.create_topic(name=topic)
    except exceptions.AlreadyExists:
        pass
    subscriber.create_subscription(
        name=subscriber.subscription_path(PROJECT, NAME),
        topic=topic,
        enable_message_ordering=True,
        ack_deadline_seconds=60,
    )
    subscriber.create_subscription(
        name=subscriber.subscription_path(PROJECT, "filtered"),
        topic=topic,
        filter=f'attributes.sender = "{NAME}" AND hasPrefix(attributes.number, "3")',
        enable_exactly_once_delivery=True,
    )
    try:
        invalid = subscriber.subscription_path(PROJECT, "invalid")
        subscriber.create_subscription(name=invalid, topic=topic, filter="attributes.a == 1")
        raise AssertionError("an invalid filter was accepted")
    except exceptions.InvalidArgument:
        pass
    subscriptions = publisher.list_topic_subscriptions(topic=topic)
    assert subscriber.subscription_path(PROJECT, NAME) in list(subscriptions)


def send():
    options = pubsub_v1.types.PublisherOptions(enable_message_ordering=True)
    publisher = pubsub_v1.PublisherClient(publisher_options=options)
    topic = publisher.topic_path(PROJECT, "orders")
    sent = []
    for number in range(EVENTS):
        for key in range(KEYS):
            sent.append(
                publisher.publish(
                    topic,
                    f"{NAME} {key} {number}".encode(),
                    ordering_key=f"{NAME}-{key}",
                    sender=NAME,
                    number=str(number),
                )
            )
    assert len({it.result(timeout=120) for it in sent}) == EVENTS * KEYS


def check(senders):
    subscriber = pubsub_v1.SubscriberClient()
    path = subscriber.subscription_path(PROJECT, NAME)
    expected = {f"{sender}-{key}": list(range(EVENTS)) for sender in senders for key in range(KEYS)}
    received = {key: [] for key in expected}
    nacked, lock, done = set(), threading.Lock(), threading.Event()

    def receive(message):
        sender, key, number = message.data.decode().split(" ")
        assert message.ordering_key == f"{sender}-{key}"
        assert dict(message.attributes) == {"sender": sender, "number": number}
        with lock:
            # The first delivery of one event of each key is given back.
            if number == "4" and message.ordering_key not in nacked:
                nacked.add(message.ordering_key)
                message.nack()
                return
            numbers = received[message.ordering_key]
            if int(number) not in numbers:
                numbers.append(int(number))
            message.ack()
            if received == expected:
                done.set()

    streaming = subscriber.subscribe(path, callback=receive)
    finished = done.wait(timeout=120)
    streaming.cancel()
    streaming.result(timeout=60)
    assert finished, f"expected every event in order, received {received}"
    assert len(nacked) == len(expected)


def check_unary():
    subscriber = pubsub_v1.SubscriberClient()
    path = subscriber.subscription_path(PROJECT, "filtered")
    got = []
    deadline = time.monotonic() + 120
    while len(got) < KEYS and time.monotonic() < deadline:
        for it in subscriber.pull(subscription=path, max_messages=10, timeout=60).received_messages:
            message: PubsubMessage = it.message
            got.append(message.data.decode())
            subscriber.modify_ack_deadline(
                subscription=path, ack_ids=[it.ack_id], ack_deadline_seconds=120
            )
            subscriber.acknowledge(subscription=path, ack_ids=[it.ack_id])
            try:
                subscriber.acknowledge(subscription=path, ack_ids=[it.ack_id])
                raise AssertionError("an acknowledgement was accepted twice")
            except exceptions.FailedPrecondition:
                pass
    assert sorted(got) == [f"{NAME} {key} 3" for key in range(KEYS)], got


if __name__ == "__main__":
    assert os.environ.get("PUBSUB_EMULATOR_HOST")
    if sys.argv[1] == "prepare":
        prepare()
    elif sys.argv[1] == "send":
        send()
    else:
        check(os.environ["SENDERS"].split())
        check_unary()
