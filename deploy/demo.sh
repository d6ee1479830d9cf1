#!/usr/bin/env bash
# The whole path on generated data: what `make demo` runs. Every command is shown as a user would type it.
# Writes to .demo/ only; the server listens on free loopback ports and is stopped at the end, whatever happens.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=.demo
state=$work/state
started=$SECONDS

step() { printf '\n\033[1m[%s/8 · %ss] %s\033[0m\n' "$1" "$((SECONDS - started))" "$2"; }
run() { printf '$ %s\n' "$*"; "$@"; }
stop_server() { recserve stop --state_dir "$state" >/dev/null 2>&1 || true; }
trap stop_server EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

stop_server
rm -rf "$work"
mkdir -p "$work"

step 1 "Generate interactions in raw Amazon form"
run recserve generate --output_path $work/raw --users 2000 --seed 1

step 2 "Preprocess: raw logs to Parquet"
run recserve preprocess --amazon_dataset_path $work/raw --output_path $work/parquet --seed 1

step 3 "Convert: Parquet to TFRecord and feature_spec.yaml"
run recserve convert --amazon_dataset_path $work/parquet --tfrecord_output_dir $work/data \
  --number_of_user_features 1 --prebatch_train_size 256 --prebatch_test_size 256

step 4 "Train SIM"
run recserve train --recipe training/recipes/sim_demo.yaml --dataset_dir $work/data \
  --results_dir $work/results --save_checkpoint_path $work/checkpoints

step 5 "Export: checkpoint to a version in the model repository"
run recserve export --checkpoint $work/checkpoints --model_repository $work/model_repository

step 6 "Serve on Triton"
run recserve serve --model_repository $work/model_repository --detach --state_dir $state \
  --grpc_port 0 --http_port 0 --metrics_port 0
url=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["grpc"])' "$state/server.json")

step 7 "Score the test set over gRPC"
run recserve score --data $work/data --mapping test --url "$url" \
  --output_file $work/scores.csv --summary_file $work/score_summary.json

step 8 "Sweep: throughput and latency"
run recserve sweep --model_repository $work/model_repository --url "$url" \
  --score_summary $work/score_summary.json --output_dir $work/report
run recserve stop --state_dir $state
printf '\ndemo finished in %s s; everything it made is in %s/\n' "$((SECONDS - started))" "$work"
