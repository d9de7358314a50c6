"""One run of an event processor on Microsoft's checkpoint store, without an event hub.

    processor.py CONNECTION_STRING CONTAINER NAMESPACE HUB GROUP OWNER EVENTS EVERY END

Claims every partition that has a blob and no owner, handles EVENTS events of each behind its checkpoint, and
updates the checkpoint after EVERY events. END is `stop` (the last checkpoint, and a release) or `crash`.
Prints {"PARTITION": [first, last]} as JSON: the numbers handled.
"""

import json
import sys

from azure.eventhub.extensions.checkpointstoreblob import BlobCheckpointStore

connection, container, namespace, hub, group, owner, events, every, end = sys.argv[1:]
events, every = int(events), int(every)
store = BlobCheckpointStore.from_connection_string(connection, container)
names = {
    "fully_qualified_namespace": namespace,
    "eventhub_name": hub,
    "consumer_group": group,
}


def claim(ownerships, by):
    claimed = store.claim_ownership([{**it, "owner_id": by} for it in ownerships])
    assert len(claimed) == len(ownerships), claimed
    return claimed


found = list(store.list_ownership(namespace, hub, group))
# A real processor waits until an owner has been silent for long; the caller has waited here.
mine = claim(found, owner)
checkpoints = {
    it["partition_id"]: it for it in store.list_checkpoints(namespace, hub, group)
}
handled = {}
for ownership in mine:
    partition = ownership["partition_id"]
    settled = checkpoints.get(partition)
    last = -1
    if settled:
        last = settled["sequence_number"]
        # The offset is what a processor resumes from.
        assert settled["offset"] == f"{partition}:{last * 10}", settled
    first = last + 1
    for at in range(first, first + events):
        last = at
        is_last = at == first + events - 1
        if (at - first + 1) % every == 0 or (is_last and end == "stop"):
            store.update_checkpoint(
                {
                    **names,
                    "partition_id": partition,
                    "offset": f"{partition}:{at * 10}",
                    "sequence_number": at,
                }
            )
    handled[partition] = [first, last]
if end == "stop":
    claim(mine, "")
print(json.dumps(handled))
