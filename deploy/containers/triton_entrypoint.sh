#!/bin/sh
# Starts tritonserver as the compose file expects it. Arguments, and those in RECSERVE_TRITON_ARGS (separated by
# blanks, no quoting), come last, so they win.
set -euf
repository=${RECSERVE_MODEL_REPOSITORY:-/models}
if [ ! -r "$repository" ]; then
    echo "The model repository $repository does not exist or is not readable for user $(id -u). Mount a volume there." >&2
    exit 1
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
