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
failed=0
server=

note() { printf 'eventhubs: %s\n' "$*"; }
skipped() {
    note "SKIPPED $*"
    if [ "$required" = 1 ]; then failed=1; fi
}
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

mkdir -p "$work"
python=
if command -v python3 >/dev/null; then
    if [ -x "$work/python/bin/python" ] || python3 -m venv "$work/python" >"$work/python.log" 2>&1; then
        if "$work/python/bin/python" -m pip install --quiet --disable-pip-version-check \
            --requirement "$here/requirements.txt" >>"$work/python.log" 2>&1; then
            python=$work/python/bin/python
        fi
    fi
    [ -n "$python" ] || skipped "Microsoft's client for Python: it did not install, see $work/python.log"
else
    skipped "Microsoft's client for Python: there is no python3"
fi

node=
if command -v node >/dev/null && command -v npm >/dev/null; then
    mkdir -p "$work/node"
    cp "$here/package.json" "$work/node/"
    if npm install --prefix "$work/node" --no-package-lock --ignore-scripts --no-audit --no-fund \
        >"$work/node.log" 2>&1; then
        node=node
        export NODE_PATH=$work/node/node_modules
    else
        skipped "Microsoft's client for Node.js: it did not install, see $work/node.log"
    fi
else
    skipped "Microsoft's client for Node.js: there is no node with npm"
fi

export PYTHONDONTWRITEBYTECODE=1
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

if [ "$failed" = 0 ]; then note "passed"; else note "failed"; fi
exit "$failed"
