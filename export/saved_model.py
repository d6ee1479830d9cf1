"""Checkpoint -> SavedModel -> parity check -> published version. TF-TRT conversion goes here."""

from __future__ import annotations

import datetime
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from export.parity import Parity, check_parity
from export.repository import publish
from export.signatures import SIGNATURE, ServedModel
from export.triton_config import ServingOptions, config_text, model_config
from training.checkpoint import Checkpoint, open_checkpoint


@dataclass(frozen=True)
class Exported:
    folder: Path
    version: int
    parity: Parity
    manifest: dict[str, Any]


def export_checkpoint(
    checkpoint_path: Path, repository: Path, name: str, options: ServingOptions, xla: bool, parity_rows: int
) -> Exported:
    """Publishes the checkpoint as the next version. Raises CheckpointError or ExportError; then nothing changed."""
    checkpoint = open_checkpoint(checkpoint_path)
    served = ServedModel(checkpoint.restore_model(), xla)
    config = config_text(model_config(name, served.model.served, options))
    done: dict[str, Any] = {}

    def fill(folder: Path, version: int) -> None:
        saved = folder / "model.savedmodel"
        tf.saved_model.save(served, str(saved), signatures={SIGNATURE: served.signature})
        done["parity"] = check_parity(served, saved, parity_rows)
        checkpoint.spec.save(folder / "feature_spec.yaml")
        done["manifest"] = _manifest(checkpoint, name, version, done["parity"], xla)
        (folder / "manifest.json").write_text(json.dumps(done["manifest"], indent=2), encoding="utf-8")

    folder = publish(repository, name, config, fill)
    return Exported(folder, int(folder.name), done["parity"], done["manifest"])


def _manifest(checkpoint: Checkpoint, name: str, version: int, parity: Parity, xla: bool) -> dict[str, Any]:
    metrics = dict(checkpoint.metrics)
    return {
        "model": name,
        "version": version,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "settings": checkpoint.settings.to_flat(),
        "rows": metrics.pop("rows", {}),
        "metrics": metrics,
        "data_fingerprint": checkpoint.spec.metadata.get("data_fingerprint"),
        "parity": asdict(parity),
        "xla": xla,
        "libraries": {"tensorflow": tf.__version__, "numpy": np.__version__},
    }
