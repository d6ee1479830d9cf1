#!/bin/sh
# Starts tritonserver as the compose file expects it. Arguments, and those in RECSERVE_TRITON_ARGS (separated by
# blanks, no quoting), come last, so they win. RECSERVE_ADMIN_SECRET_FILE names a file with a secret, without which
# administrative calls are refused; another service may be about to write it.
set -euf
export LC_ALL=C
repository=${RECSERVE_MODEL_REPOSITORY:-/models}
if [ ! -r "$repository" ]; then
    echo "The model repository $repository does not exist or is not readable for user $(id -u). Mount a volume there." >&2
    exit 1
fi
# Prints Triton's argument; the same calls and the same secrets as in serving/admin_secret.py.
restriction() {
    waited=0
    while [ ! -e "$1" ] && [ $waited -lt 60 ]; do
        sleep 1
        waited=$((waited + 1))
    done
    secret=$(cat "$1") || exit 1
    case $secret in *[!A-Za-z0-9._~+/-]*) secret= ;; esac
    if [ ${#secret} -lt 16 ] || [ ${#secret} -gt 256 ]; then
        echo "$1: expected one line of 16 to 256 letters, digits and . _ ~ + / -, as \`openssl rand -hex 32\` writes it" >&2
        exit 1
    fi
    echo "model-repository,shared-memory,statistics,trace,logging:admin-key=$secret"
}
if [ -n "${RECSERVE_ADMIN_SECRET_FILE:-}" ]; then
    restricted=$(restriction "$RECSERVE_ADMIN_SECRET_FILE")
    set -- --grpc-restricted-protocol="$restricted" --http-restricted-api="$restricted" "$@"
fi
# An empty repository is no error: the training side-car publishes the first version and asks for it to be loaded.
# shellcheck disable=SC2086 # RECSERVE_TRITON_ARGS is split on purpose
set -- /opt/tritonserver/bin/tritonserver \
    --model-repository="$repository" \
    --model-control-mode=explicit --load-model='*' \
    --exit-on-error=false --exit-timeout-secs=30 --metrics-config=summary_latencies=true \
    ${RECSERVE_TRITON_ARGS:-} "$@"
# NVIDIA's own entry point finds the driver's libraries; a stand-in for the image has none.
if [ -x /opt/nvidia/nvidia_entrypoint.sh ]; then
    exec /opt/nvidia/nvidia_entrypoint.sh "$@"
fi
exec "$@"
