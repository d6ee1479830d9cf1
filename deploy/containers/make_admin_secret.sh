#!/bin/sh
# The secret for administrative calls, in RECSERVE_ADMIN_SECRET_FILE: made on the first start. One that is there stays.
# With --stay it then waits to be stopped.
set -eu
file=${RECSERVE_ADMIN_SECRET_FILE:?names no file}
sleeper=
trap '[ -z "$sleeper" ] || kill "$sleeper"; exit 0' TERM INT
make() {
    umask 077
    secret=$(od -An -v -N32 -tx1 /dev/urandom | tr -d ' \n')
    if [ ${#secret} -ne 64 ]; then
        echo "$file: got ${#secret} characters from /dev/urandom; expected 64" >&2
        exit 1
    fi
    printf '%s\n' "$secret" >"$file.new"
    mv "$file.new" "$file"
}
if [ -e "$file" ]; then
    echo "$file: it is there"
else
    make
    echo "$file: made"
fi
if [ "${1:-}" = --stay ]; then
    while :; do
        sleep 3600 &
        sleeper=$!
        wait "$sleeper"
    done
fi
