"""SIM, DIN and DIEN once more, one row at a time, from the papers' equations: padding is cut off instead of masked."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tests.training import numpy_layers
from tests.training.models.samples import Columns


class Row(NamedTuple):
    """target [D], user [·], items and negatives [T, D] with zeros at padding, real and real_negative [T] bool."""

    target: np.ndarray
    user: np.ndarray
    items: np.ndarray
    negatives: np.ndarray
    real: np.ndarray
    real_negative: np.ndarray


class Scores(NamedTuple):
    """logits [B]; stage_one [B] of SIM's soft search; auxiliary: the mean loss."""

    logits: np.ndarray
    stage_one: np.ndarray | None
    auxiliary: float


def scores_of(model: Any, columns: Columns) -> Scores:
    """What `model`, with its weights and settings, should give for these columns."""
    return Scores(*_Pass(model, columns).run())


class _Pass:
    def __init__(self, model: Any, columns: Columns) -> None:
        self.model, self.columns, self.settings = model, columns, model.settings
        self.auxiliary: list[float] = []

    def run(self) -> tuple[np.ndarray, np.ndarray | None, float]:
        forward = {"sim": self.sim, "din": self.din, "dien": self.dien}[self.settings.model_type]
        results = [forward(number, self.row(number)) for number in range(len(self.columns["label"]))]
        logits, stage_one = zip(*results, strict=True)
        known = None if stage_one[0] is None else np.array(stage_one)
        return np.array(logits), known, float(np.mean(self.auxiliary)) if self.auxiliary else 0.0

    def row(self, number: int) -> Row:
        channels = self.model
        target = [self.columns[f.name][number] for f in channels._target]
        positive = [self.columns[f.name][number] for f in channels._positive]
        names = [f.name.replace("_pos", "_neg") for f in channels._positive]
        negative = [self.columns[name][number] for name in names]
        user = [self.user(f, self.columns[f.name][number]) for f in channels._users]
        return Row(
            self.vector(target), np.concatenate([np.zeros(0), *user]), self.vector(positive), self.vector(negative),
            positive[0] > 0, negative[0] > 0,
        )  # fmt: skip

    def user(self, feature: Any, value: Any) -> np.ndarray:
        if feature.cardinality is None:
            return np.array([value])
        return numpy_layers.weights(self.model.user_tables[feature.name].table)[value]

    def vector(self, ids: list[Any]) -> np.ndarray:
        tables = [numpy_layers.weights(t.table) for t in self.model.item_tables]
        return np.concatenate([table[i] for table, i in zip(tables, ids, strict=True)], axis=-1)

    def din(self, _: int, row: Row) -> tuple[float, None]:
        attended = numpy_layers.target_attention(self.model.interest, row.target, row.items, row.real)
        joined = np.concatenate([row.target, attended, row.user])
        return numpy_layers.classifier(self.model.classifier, joined), None

    def dien(self, _: int, row: Row) -> tuple[float, None]:
        joined = np.concatenate([row.target, self.interest(row), row.user])
        return numpy_layers.classifier(self.model.classifier, joined), None

    def interest(self, row: Row) -> np.ndarray:
        """The short part; also collects the auxiliary loss of its steps."""
        evolution, short = self.model.evolution, slice(self.settings.long_seq_length, None)
        items, real, negatives = row.items[short], row.real[short], row.negatives[short]
        runs_over = real if self.settings.masked_rnn else np.ones_like(real)
        states = numpy_layers.gru(evolution.extractor.cell, items, runs_over)
        self.collect_auxiliary(states, items, negatives, real & row.real_negative[short])
        query = numpy_layers.prelu(evolution.target_prelu, numpy_layers.dense(evolution.target_dense, row.target))
        attention = np.zeros(len(real))
        scores = numpy_layers.activation_unit(evolution.activation_unit, states, query)
        attention[real] = numpy_layers.softmax(scores[real])
        return numpy_layers.gru(evolution.evolver.cell, states, runs_over, attention, self.settings.augru)[-1]

    def collect_auxiliary(self, states: np.ndarray, items: np.ndarray, negatives: np.ndarray, real: np.ndarray) -> None:
        for step in range(len(states) - 1):
            if real[step + 1]:
                pair = [
                    numpy_layers.auxiliary_logits(self.model.auxiliary, states[step], following[step + 1])
                    for following in (items, negatives)
                ]
                losses = numpy_layers.cross_entropy(1.0, pair[0]) + numpy_layers.cross_entropy(0.0, pair[1])
                self.auxiliary.append(float(losses))

    def sim(self, number: int, row: Row) -> tuple[float, float | None]:
        model, s = self.model, self.settings
        items, real = row.items[: s.long_seq_length], row.real[: s.long_seq_length]
        relevance = self.relevance(row.target, items)
        if s.search == "soft":
            best = sorted(np.flatnonzero(real), key=lambda step: (-relevance[step], step))[: s.k]
        else:
            category = self.columns["cat_id_pos"][number, : s.long_seq_length]
            best = np.flatnonzero(real & (category == self.columns["cat_id_trgt"][number]))[-s.k :]
        selected = np.isin(np.arange(len(items)), best)
        history = np.concatenate([items, self.times(number)[: len(items)]], axis=1) if s.time_intervals else items
        attended = numpy_layers.target_attention(model.search_unit, row.target, history, selected)
        average = history[selected].mean(axis=0) if len(best) else np.zeros(history.shape[1])
        joined = np.concatenate([row.target, attended, average, self.interest(row), row.user])
        logit = numpy_layers.classifier(model.stage_two, joined)
        if s.search == "hard":
            return logit, None
        pooled = numpy_layers.softmax(relevance[real]) @ items[real]
        return logit, numpy_layers.classifier(model.stage_one, np.concatenate([row.target, pooled, row.user]))

    def relevance(self, target: np.ndarray, items: np.ndarray) -> np.ndarray:
        if not self.settings.search_projection:
            return items @ target
        return (items @ numpy_layers.weights(self.model.w_b)) @ (target @ numpy_layers.weights(self.model.w_a))

    def times(self, number: int) -> np.ndarray:
        then = self.columns["time_pos"][number]
        hours = (self.columns["time_trgt"][number] - then) / 3600.0
        bucket = np.where(then > 0, np.floor(np.log2(hours + 1.0)).astype(int) + 1, 0)
        return numpy_layers.weights(self.model.times.table.table)[bucket]
