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
failed=0

note() { printf 'interop: %s\n' "$*"; }
skipped() {
    note "SKIPPED $*"
    if [ "$required" = 1 ]; then failed=1; fi
}
run() {
    if "$@"; then note "ran $*"; else note "FAILED $*"; failed=1; fi
}

mkdir -p "$work"
python=
if command -v python3 >/dev/null; then
    if [ -x "$work/python/bin/python" ] || python3 -m venv "$work/python" >"$work/python.log" 2>&1; then
        if "$work/python/bin/python" -m pip install --quiet --disable-pip-version-check \
            --requirement "$here/requirements.txt" >>"$work/python.log" 2>&1; then
            python=$work/python/bin/python
        fi
    fi
    [ -n "$python" ] || skipped "Amazon's library for Python: it did not install, see $work/python.log"
else
    skipped "Amazon's library for Python: there is no python3"
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
        skipped "Amazon's library for Node.js: it did not install, see $work/node.log"
    fi
else
    skipped "Amazon's library for Node.js: there is no node with npm"
fi

export PYTHONDONTWRITEBYTECODE=1
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

if [ "$failed" = 0 ]; then note "passed"; else note "failed"; fi
exit "$failed"
