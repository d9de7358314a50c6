#!/usr/bin/env bash
# The tests of aqueduct-pubsub on Google's own Pub/Sub emulator, wherever it is installed. Exits 0 when all that
# could run passed.
#
# PUBSUB_JAR names the emulator; without it the places of Google's packages are searched. PUBSUB_DIR holds what is
# compiled. Arguments are names of tests.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=${PUBSUB_DIR:-$target/pubsub-google}
server=

note() { printf 'pubsub: %s\n' "$*"; }
stop() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=
    fi
}
trap stop EXIT

jar=${PUBSUB_JAR:-}
if [ -z "$jar" ]; then
    sdk=${CLOUDSDK_ROOT_DIR:-}
    for folder in ${sdk:+"$sdk"} /usr/lib/google-cloud-sdk /usr/lib64/google-cloud-sdk /usr/share/google-cloud-sdk \
        "$HOME/google-cloud-sdk" /google-cloud-sdk; do
        for found in "$folder"/platform/pubsub-emulator/lib/*.jar; do
            [ ! -f "$found" ] || jar=$found
        done
    done
fi
if [ -z "$jar" ]; then
    note "SKIPPED Google's emulator: it is not installed (package google-cloud-cli-pubsub-emulator, or set PUBSUB_JAR)"
    exit 0
fi
if ! command -v java >/dev/null; then
    note "SKIPPED Google's emulator: there is no java"
    exit 0
fi
note "Google's emulator: $(basename "$jar")"

mkdir -p "$work/classes"
path=$jar
if javap -cp "$jar" io.grpc.InternalStatus 2>/dev/null | grep -q ' asRuntimeException('; then
    note "it has the class whole"
elif command -v javac >/dev/null && command -v javap >/dev/null; then
    javac -nowarn -cp "$jar" -d "$work/classes" "$here/java/io/grpc/InternalStatus.java"
    path=$work/classes:$jar
else
    # A stream that a client drops swallows messages for up to 25 s there.
    note "SKIPPED Google's emulator: it lacks a method of io.grpc.InternalStatus, and there is no javac to add it"
    exit 0
fi

cd "$root"
cargo test --quiet -p aqueduct-pubsub --test it --no-run
for attempt in 1 2 3; do
    port=$((20000 + RANDOM % 20000))
    java -cp "$path" com.google.cloud.pubsub.testing.v1.Main --host=127.0.0.1 --port="$port" >"$work/log" 2>&1 &
    server=$!
    for _ in $(seq 600); do
        if grep -q 'Server started' "$work/log" || ! kill -0 "$server" 2>/dev/null; then break; fi
        sleep 0.1
    done
    if grep -q 'Server started' "$work/log"; then break; fi
    stop
done
if [ -z "$server" ]; then
    note "FAILED the emulator did not start:"
    tail -n 5 "$work/log"
    exit 1
fi
AQUEDUCT_TEST_PUBSUB_ENDPOINT=http://127.0.0.1:$port cargo test --quiet -p aqueduct-pubsub --test it -- \
    --test-threads 2 --nocapture "$@"
note "passed on Google's emulator"
