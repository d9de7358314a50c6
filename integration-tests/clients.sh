# Prepares the clients of other languages for a run; sourced by the `run.sh` of each folder, which sets
#
#   suite      the name in the log
#   owner      the owner of the libraries, such as "Google's client"
#   here       the folder, with requirements.txt and package.json
#   work       the folder of the installed libraries
#   required   1 makes a missing tool a failure
#
# Sets `python` and `node` to the commands, empty if they are missing, and `failed`.
failed=0

note() { printf '%s: %s\n' "$suite" "$*"; }

skipped() {
    note "SKIPPED $*"
    if [ "$required" = 1 ]; then failed=1; fi
}

# Ends the script with the verdict.
finish() {
    if [ "$failed" = 0 ]; then note "passed"; else note "failed"; fi
    exit "$failed"
}

mkdir -p "$work"
export PYTHONDONTWRITEBYTECODE=1

python=
if command -v python3 >/dev/null; then
    if [ -x "$work/python/bin/python" ] || python3 -m venv "$work/python" >"$work/python.log" 2>&1; then
        if "$work/python/bin/python" -m pip install --quiet --disable-pip-version-check \
            --requirement "$here/requirements.txt" >>"$work/python.log" 2>&1; then
            python=$work/python/bin/python
        fi
    fi
    [ -n "$python" ] || skipped "$owner for Python: it did not install, see $work/python.log"
else
    skipped "$owner for Python: python3 is not installed"
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
        skipped "$owner for Node.js: it did not install, see $work/node.log"
    fi
else
    skipped "$owner for Node.js: node with npm is not installed"
fi
