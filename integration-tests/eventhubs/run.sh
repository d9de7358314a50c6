#!/usr/bin/env bash
# Microsoft's Event Hubs clients on the emulator, and each other's events. Exits 0 when all that could run passed.
#
# EVENTHUBS_REQUIRED=1 makes a missing tool a failure. EVENTHUBS_DIR holds the installed libraries.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=${EVENTHUBS_DIR:-$target/eventhubs}
required=${EVENTHUBS_REQUIRED:-0}
server=

run() {
    local name=$1
    shift
    # The connection string stays out of the log.
    if "$@" "$connection"; then note "ran $name"; else note "FAILED $name"; failed=1; fi
}
stop() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=
    fi
}
trap stop EXIT

suite=eventhubs
owner="Microsoft's client"
# shellcheck source=integration-tests/clients.sh
. "$here/../clients.sh"

cargo build --quiet --manifest-path "$root/Cargo.toml" -p aqueduct-emulators --features eventhubs \
    --bin eventhubs --example event-hubs-client
rust=$target/debug/examples/event-hubs-client

# Starts the emulator with the given flags; the first line of its output is the connection string.
start() {
    : >"$work/connection"
    "$target/debug/eventhubs" --port 0 --hub orders:4 "$@" >"$work/connection" 2>"$work/violations" &
    server=$!
    for _ in $(seq 600); do
        connection=$(head -n 1 "$work/connection")
        [ -z "$connection" ] || return 0
        sleep 0.1
    done
    note "FAILED the emulator did not start"
    exit 1
}

# Every client sends, every client checks. The client in Rust speaks plain AMQP only.
exchange() {
    # shellcheck disable=SC2086
    start $1
    senders=
    if [ -z "${EVENTHUBS_CERTIFICATE:-}" ]; then
        senders="$senders rust"
        run "rust send $1" "$rust" send
    fi
    if [ -n "$python" ]; then
        senders="$senders python"
        run "python send $1" "$python" "$here/client.py" send
    fi
    if [ -n "$node" ]; then
        senders="$senders node"
        run "node send $1" "$node" "$here/client.cjs" send
    fi
    export SENDERS="${senders# }"
    if [ -z "${EVENTHUBS_CERTIFICATE:-}" ]; then run "rust check $1" "$rust" check; fi
    if [ -n "$python" ]; then run "python check $1" "$python" "$here/client.py" check; fi
    if [ -n "$node" ]; then run "node check $1" "$node" "$here/client.cjs" check; fi
    # The emulator writes what it has to report five times a second.
    sleep 1
    stop
    if [ -s "$work/violations" ]; then
        note "FAILED the emulator reports"
        cat "$work/violations"
        failed=1
    fi
}

exchange ""
exchange "--opaque-offsets --key root:c2VjcmV0"
if [ -n "$python$node" ]; then
    "$rust" certificate "$work/certificate.pem" >"$work/private-key.pem"
    export EVENTHUBS_CERTIFICATE=$work/certificate.pem
    export NODE_EXTRA_CA_CERTS=$EVENTHUBS_CERTIFICATE
    exchange "--certificate $work/certificate.pem --private-key $work/private-key.pem"
fi

finish
