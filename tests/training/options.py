"""Options that make a run of `recserve train` short: most of its time goes into tracing graphs."""

from __future__ import annotations

# embedding_dim: one that the native kernels have, whose graphs are smaller
SMALL = ("--embedding_dim", "8", "--stage_one_mlp_dims", "8", "--stage_two_mlp_dims", "8", "--aux_mlp_dims", "6,4")
# for what does not depend on the model: the one with the smallest graph
SMALLEST = (*SMALL, "--model_type", "din")
# for runs in which no process is lost: on a busy machine the processes may start long after each other
PATIENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "HOROVOD_GLOO_TIMEOUT_SECONDS": "120"}
