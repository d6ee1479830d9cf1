#!/bin/sh
# locust with its web page, on port 8089, for the newest version in the repository:
#   locust_web.sh <gRPC address> <model> <model repository> [locust's own arguments]
set -eu
url=$1 model=$2 repository=$3
shift 3
version=$(find "$repository/$model" -mindepth 1 -maxdepth 1 -name '[0-9]*' | sed 's|.*/||' | sort -n | tail -n 1)
if [ -z "$version" ]; then
    echo "$repository/$model has no version yet; wait until one is published" >&2
    exit 1
fi
exec locust -f /opt/recserve/app/perf/locustfile.py --host "$url" --model "$model" \
    --feature_spec "$repository/$model/$version/feature_spec.yaml" "$@"
