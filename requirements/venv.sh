# Sourced by ./kubedyno, ./test and ./bench: makes HERE/.venv match requirements/SET.lock (SET is run or dev).
# Uses uv where it is installed, else python3's venv and pip. Every package is checked against its hash.

say() { printf 'kubedyno: %s\n' "$*" >&2; }

find_python() {
    if [ -n "${KUBEDYNO_PYTHON:-}" ]; then
        set -- "$KUBEDYNO_PYTHON"
    else
        set -- python3 python3.14 python3.13 python3.12 python3.11
    fi
    for candidate; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    if [ -n "${KUBEDYNO_PYTHON:-}" ]; then
        say "KUBEDYNO_PYTHON=$KUBEDYNO_PYTHON is no Python 3.11 or later"
    else
        say "needs Python 3.11 or later; install it or point KUBEDYNO_PYTHON to one"
    fi
    return 1
}

# The stamp holds what .venv was made from, so that a changed lock is noticed and an unchanged one costs nothing.
ensure_venv() {
    here=$1 set_name=$2
    lock="$here/requirements/$set_name.lock"
    stamp="$here/.venv/.made-from-$set_name"
    is_made && return 0
    # Two that come at once would install over each other: the second waits, and finds it made.
    if command -v flock >/dev/null 2>&1; then
        exec 9<"$here/requirements/venv.sh"
        flock 9
    fi
    if ! is_made; then
        make_venv
    fi
    exec 9<&-
}

is_made() {
    if [ -f "$stamp" ] && cmp -s "$lock" "$stamp" && [ -x "$here/.venv/bin/python" ]; then
        return 0
    fi
    # The dev set holds the run set, so a .venv made for tests serves both.
    if [ "$set_name" = run ] && [ -f "$here/.venv/.made-from-dev" ] && [ -x "$here/.venv/bin/python" ] &&
        cmp -s "$here/requirements/dev.lock" "$here/.venv/.made-from-dev"; then
        return 0
    fi
    return 1
}

make_venv() {
    python=$(find_python) || exit 1
    say "setting up .venv (once)"
    if command -v uv >/dev/null 2>&1; then
        [ -x "$here/.venv/bin/python" ] || uv venv -q --python "$python" "$here/.venv" || exit 1
        VIRTUAL_ENV="$here/.venv" uv pip install -q --require-hashes -r "$lock" || {
            say "could not install the packages of $lock; is the package index reachable?"
            exit 1
        }
    else
        if [ ! -x "$here/.venv/bin/pip" ]; then
            if ! "$python" -c 'import ensurepip' 2>/dev/null; then
                say "$python has no ensurepip: install your system's python3-venv package, or uv, and run again"
                exit 1
            fi
            "$python" -m venv "$here/.venv" || { say "could not make $here/.venv"; exit 1; }
        fi
        "$here/.venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r "$lock" || {
            say "could not install the packages of $lock; is the package index reachable?"
            exit 1
        }
    fi
    cp "$lock" "$stamp"
}
