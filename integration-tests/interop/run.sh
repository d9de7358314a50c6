#!/usr/bin/env bash
# Aggregates between this library and Amazon's, both ways. Exits 0 when all that could run passed.
#
#   run.sh             checks
#   run.sh --vectors   makes the vectors of the tests anew as well
#
# INTEROP_REQUIRED=1 makes a missing tool a failure. INTEROP_DIR holds the installed libraries.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
vectors=$root/crates/aqueduct-kinesis/tests/it/aggregation/vectors
work=${INTEROP_DIR:-${CARGO_TARGET_DIR:-$root/target}/interop}
required=${INTEROP_REQUIRED:-0}

run() {
    if "$@"; then note "ran $*"; else note "FAILED $*"; failed=1; fi
}

suite=interop
owner="Amazon's library"
# shellcheck source=integration-tests/clients.sh
. "$here/../clients.sh"

ours=$work/ours
rm -rf "$ours" "$work/theirs"
mkdir -p "$ours" "$work/theirs"

run cargo run --quiet --manifest-path "$root/Cargo.toml" -p aqueduct-kinesis --example aggregates -- write "$ours"
if [ -n "$python" ]; then
    run "$python" "$here/amazon.py" check "$ours"
    run "$python" "$here/amazon.py" write "$work/theirs"
fi
if [ -n "$node" ]; then
    run "$node" "$here/amazon.cjs" check "$ours"
    if [ -n "$python" ]; then run "$node" "$here/amazon.cjs" write "$work/theirs"; fi
fi
if [ -n "$python" ]; then
    run cargo run --quiet --manifest-path "$root/Cargo.toml" -p aqueduct-kinesis --example aggregates -- check "$work/theirs"
fi
if [ -n "$python" ] && [ -n "$node" ]; then
    if [ "${1:-}" = --vectors ]; then
        rm -rf "$vectors"
        cp -R "$work/theirs" "$vectors"
    fi
    run diff -r "$vectors" "$work/theirs"
fi

finish
