"""Microsoft's event processor: claims partitions, balances, handles events and checkpoints.

    event_processor.py HUB_CONNECTION HUB GROUP BLOB_CONNECTION CONTAINER EVERY EXPIRY

Prints {"partition", "first", "last"} for each batch that it handled, before its checkpoint; a batch has at most EVERY
events. Stops when standard input ends: it closes, and so gives up its partitions.
"""

import json
import sys
import threading

from azure.eventhub import EventHubConsumerClient
from azure.eventhub.extensions.checkpointstoreblob import BlobCheckpointStore

hub_connection, hub, group, blob_connection, container, every, expiry = sys.argv[1:]
client = EventHubConsumerClient.from_connection_string(
    hub_connection,
    group,
    eventhub_name=hub,
    checkpoint_store=BlobCheckpointStore.from_connection_string(blob_connection, container),
    load_balancing_interval=1,
    partition_ownership_expiration_interval=int(expiry),
    load_balancing_strategy="greedy",
)


def on_event_batch(context, events):
    if not events:
        return
    numbers = [event.sequence_number for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), numbers
    print(
        json.dumps({"partition": context.partition_id, "first": numbers[0], "last": numbers[-1]}),
        flush=True,
    )
    context.update_checkpoint(events[-1])


def on_error(context, error):
    where = context.partition_id if context else "all partitions"
    print(f"{where}: {error}", file=sys.stderr, flush=True)


running = threading.Thread(
    target=lambda: client.receive_batch(
        on_event_batch,
        max_batch_size=int(every),
        max_wait_time=1,
        on_error=on_error,
        starting_position="-1",
    )
)
running.start()
sys.stdin.read()
client.close()
running.join()
