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
failed=0
server=

note() { printf 'pubsub: %s\n' "$*"; }
skipped() {
    note "SKIPPED $*"
    if [ "$required" = 1 ]; then failed=1; fi
}
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

mkdir -p "$work"
python=
if command -v python3 >/dev/null; then
    if [ -x "$work/python/bin/python" ] || python3 -m venv "$work/python" >"$work/python.log" 2>&1; then
        if "$work/python/bin/python" -m pip install --quiet --disable-pip-version-check \
            --requirement "$here/requirements.txt" >>"$work/python.log" 2>&1; then
            python=$work/python/bin/python
        fi
    fi
    [ -n "$python" ] || skipped "Google's client for Python: it did not install, see $work/python.log"
else
    skipped "Google's client for Python: there is no python3"
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
        skipped "Google's client for Node.js: it did not install, see $work/node.log"
    fi
else
    skipped "Google's client for Node.js: there is no node with npm"
fi

if [ -z "$python$node" ]; then
    note "SKIPPED everything: no client is there"
    exit "$failed"
fi

export PYTHONDONTWRITEBYTECODE=1
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

if [ "$failed" = 0 ]; then note "passed"; else note "failed"; fi
exit "$failed"
