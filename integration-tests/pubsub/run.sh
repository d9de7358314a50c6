#!/usr/bin/env bash
# Google's Pub/Sub clients on the emulator, and each other's events. Exits 0 when all that could run passed.
#
# PUBSUB_REQUIRED=1 makes a missing tool a failure. PUBSUB_DIR holds the installed libraries.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=${PUBSUB_DIR:-$target/pubsub}
required=${PUBSUB_REQUIRED:-0}
server=

run() {
    local name=$1
    shift
    if timeout 600 "$@"; then note "ran $name"; else note "FAILED $name"; failed=1; fi
}
stop() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=
    fi
}
trap stop EXIT

suite=pubsub
owner="Google's client"
# shellcheck source=integration-tests/clients.sh
. "$here/../clients.sh"

if [ -z "$python$node" ]; then
    note "SKIPPED everything: no client is there"
    exit "$failed"
fi

# The client for Node.js looks for a metadata server otherwise.
export METADATA_SERVER_DETECTION=none
cargo build --quiet --manifest-path "$root/Cargo.toml" -p aqueduct-emulators --features pubsub --bin pubsub
: >"$work/host"
"$target/debug/pubsub" --port 0 >"$work/host" &
server=$!
for _ in $(seq 600); do
    PUBSUB_EMULATOR_HOST=$(head -n 1 "$work/host")
    [ -z "$PUBSUB_EMULATOR_HOST" ] || break
    sleep 0.1
done
if [ -z "$PUBSUB_EMULATOR_HOST" ]; then
    note "FAILED the emulator did not start"
    exit 1
fi
export PUBSUB_EMULATOR_HOST

SENDERS="${python:+python}${python:+${node:+ }}${node:+node}"
export SENDERS
for step in prepare send check; do
    if [ -n "$python" ]; then run "python $step" "$python" "$here/client.py" "$step"; fi
    if [ -n "$node" ]; then run "node $step" "$node" "$here/client.cjs" "$step"; fi
done

finish
