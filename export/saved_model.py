"""Checkpoint -> SavedModel -> parity check -> published version."""

from __future__ import annotations

import datetime
import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from export.author import author
from export.cpu_graph import add_cpu_graph
from export.parity import Parity, check_parity, parity_inputs
from export.precision import PrecisionLoss, precision_loss
from export.repository import Folders, publish, share_files
from export.signatures import RANK, SIGNATURE, ServedModel
from export.tf_trt import TrtOptions, convert, require_tensorrt
from export.triton_config import ServingOptions, config_text, model_config, rank_config
from training.checkpoint import Checkpoint, open_checkpoint
from training.models.base import CtrModel

SAVED_MODEL = "model.savedmodel"


@dataclass(frozen=True)
class ModelOptions:
    """What is computed. xla: compile the pointwise graph. rank: a second signature, candidates of users.

    amp: compute in bfloat16. held_out_data: a dataset whose test rows tell what that costs. parity_rows: rows scored
    both ways before publishing. tf_trt: convert the pointwise graph by TF-TRT. cpu_kernels: add a graph of the compiled
    kernels, unless the pointwise graph is compiled or converted.
    """

    xla: bool = False
    rank: bool = True
    amp: bool = False
    held_out_data: Path | None = None
    parity_rows: int = 256
    tf_trt: TrtOptions | None = None
    cpu_kernels: bool = True

    @property
    def wants_cpu_graph(self) -> bool:
        return self.cpu_kernels and not self.xla and self.tf_trt is None


@dataclass(frozen=True)
class Exported:
    """folder: of the pointwise model's version. rank_folder: of the rank model's, None without one.

    cpu_parity: of the graph of CPU kernels, None without one.
    """

    folder: Path
    rank_folder: Path | None
    version: int
    parity: Parity
    cpu_parity: Parity | None
    precision: PrecisionLoss | None
    manifest: dict[str, Any]


def export_checkpoint(
    checkpoint_path: Path, repository: Path, name: str, serving: ServingOptions, options: ModelOptions
) -> Exported:
    """Publishes the checkpoint as the next version. Raises CheckpointError or ExportError; then nothing changed."""
    if options.tf_trt:
        require_tensorrt()
    checkpoint = open_checkpoint(checkpoint_path)
    model = checkpoint.restore_model()
    loss = None
    if options.amp:
        loss = precision_loss(model, checkpoint.spec, options.held_out_data, options.parity_rows)
        model.dtype = tf.bfloat16
    served = ServedModel(model, options.xla, options.rank)
    rank_name = f"{name}_rank"
    signatures = {name: SIGNATURE, **({rank_name: RANK} if options.rank else {})}
    configs = {name: config_text(model_config(name, model.served, serving))}
    if options.rank:
        configs[rank_name] = config_text(rank_config(rank_name, model.served, model.candidates, serving))
    done: dict[str, Any] = {}

    def fill(folders: Folders, version: int) -> None:
        saved = {signature: folders[model_name] / SAVED_MODEL for model_name, signature in signatures.items()}
        is_exact = not options.amp and not options.tf_trt  # a GPU's float32 products may be TF32
        with tempfile.TemporaryDirectory(dir=saved[SIGNATURE].parent, prefix=".plain-") as temporary:
            plain = Path(temporary) / SAVED_MODEL
            tf.saved_model.save(served, str(plain), signatures=dict(served.traced))
            if options.wants_cpu_graph:
                done["cpu_parity"] = add_cpu_graph(
                    served, checkpoint.spec, checkpoint.settings.model, plain, options.parity_rows, is_exact
                )
            _give_to_each(served, plain, saved, options.tf_trt)
        done["parity"] = check_parity(served, saved, options.parity_rows, is_exact)
        for model_name, folder in folders.items():
            checkpoint.spec.save(folder / "feature_spec.yaml")
            manifest = _manifest(checkpoint, model, model_name, version, done, options, loss)
            manifest["signature"] = signatures[model_name]
            (folder / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
            done.setdefault("manifest", manifest)

    published = publish(repository, configs, fill)
    folder = published[name]
    return Exported(
        folder,
        published.get(rank_name),
        int(folder.name),
        done["parity"],
        done.get("cpu_parity"),
        loss,
        done["manifest"],
    )


def _give_to_each(served: ServedModel, plain: Path, saved: Mapping[str, Path], tf_trt: TrtOptions | None) -> None:
    """The SavedModel of each signature: one for all, or with TF-TRT a converted pointwise one beside it."""
    for signature, target in saved.items():
        if signature == SIGNATURE and tf_trt:
            convert(plain, target, tf_trt, lambda rows: parity_inputs(served.model.served, rows))
        else:
            share_files(plain, target)


def _manifest(
    checkpoint: Checkpoint,
    model: CtrModel,
    name: str,
    version: int,
    done: Mapping[str, Any],
    options: ModelOptions,
    loss: PrecisionLoss | None,
) -> dict[str, Any]:
    metrics = dict(checkpoint.metrics)
    return {
        "model": name,
        "version": version,
        "created_by": author(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "checkpoint": str(checkpoint.folder.resolve()),
        "settings": checkpoint.settings.to_flat(),
        "rows": metrics.pop("rows", {}),
        "metrics": metrics,
        "data_fingerprint": checkpoint.spec.metadata.get("data_fingerprint"),
        "parity": asdict(done["parity"]),
        "cpu_graph_parity": asdict(done["cpu_parity"]) if done.get("cpu_parity") else None,
        "xla": options.xla,
        "tf_trt": asdict(options.tf_trt) if options.tf_trt else None,
        "dtype": "bfloat16" if options.amp else "float32",
        "precision_loss": asdict(loss) if loss else None,
        "multiply_adds": {"row": model.multiply_adds(training=False), "of_them_user": model.user_multiply_adds()},
        "libraries": {"tensorflow": tf.__version__, "numpy": np.__version__},
    }
