"""The layers once more, from their equations, in numpy: what the tests compare TensorFlow's versions with.

Everything is float64 and as naive as the equations are; weights are read from the layer under test.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    """Of a vector; of an empty one, nothing."""
    e = np.exp(x - x.max(initial=0.0))
    return e / e.sum() if len(e) else e


def weights(variable: Any) -> np.ndarray:
    return np.asarray(variable.numpy(), np.float64)


def dense(layer: Any, x: np.ndarray) -> np.ndarray:
    return x @ weights(layer.kernel) + weights(layer.bias)


def prelu(layer: Any, x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, weights(layer.alpha) * x)


def classifier(mlp: Any, x: np.ndarray) -> np.ndarray:
    """[..., in] -> logits [...]."""
    for affine, activation in zip(mlp.hidden, mlp.activations, strict=True):
        x = prelu(activation, dense(affine, x))
    return dense(mlp.head, x)[..., 0]


def activation_unit(unit: Any, items: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The un-decomposed form: MLP([i, t, i − t, i∘t]). items [S, D], target [D] -> [S]."""
    repeated = np.broadcast_to(target, items.shape)
    x = np.concatenate([items, repeated, items - repeated, items * repeated], axis=-1)
    x = sigmoid(x @ weights(unit.kernel) + weights(unit.bias))
    for layer in unit.hidden:
        x = sigmoid(dense(layer, x))
    return (x @ weights(unit.head))[..., 0]


def gru(
    cell: Any, x: np.ndarray, real: np.ndarray, attention: np.ndarray | None = None, form: str = "paper"
) -> np.ndarray:
    """One row's states. x [S, in], real [S] bool, attention [S] -> [S, H]. Gates' columns: update, reset, candidate."""
    w, u, b = weights(cell.kernel), weights(cell.recurrent), weights(cell.bias)
    n = cell.units
    h, states = np.zeros(n), []
    for step in range(len(x)):
        a, r = x[step] @ w + b, h @ u
        update, reset = sigmoid(a[:n] + r[:n]), sigmoid(a[n : 2 * n] + r[n : 2 * n])
        candidate = np.tanh(a[2 * n :] + reset * r[2 * n :])
        if attention is None:
            new = (1 - update) * h + update * candidate
        elif form == "paper":  # DIEN eq. (7)-(8)
            scaled = attention[step] * update
            new = (1 - scaled) * h + scaled * candidate
        else:
            kept = (1 - attention[step]) * update
            new = kept * h + (1 - kept) * candidate
        h = new if real[step] else h
        states.append(h)
    return np.array(states)


def auxiliary_logits(network: Any, states: np.ndarray, items: np.ndarray) -> np.ndarray:
    """MLP(h ‖ e). states [S, H], items [S, D] -> [S]."""
    kernel = np.concatenate([weights(network.state_kernel), weights(network.item_kernel)])
    x = np.concatenate([states, items], axis=-1) @ kernel + weights(network.bias)
    x = prelu(network.activations[0], x)
    for layer, activation in zip(network.hidden, network.activations[1:], strict=True):
        x = prelu(activation, dense(layer, x))
    return dense(network.head, x)[..., 0]


def cross_entropy(label: np.ndarray | float, logit: np.ndarray) -> np.ndarray:
    """Of each element, from the probability."""
    p = sigmoid(logit)
    return -(label * np.log(p) + (1 - label) * np.log(1 - p))


def target_attention(attention: Any, target: np.ndarray, items: np.ndarray, selected: np.ndarray) -> np.ndarray:
    """One row. target [D], items [L, D'], selected [L] bool -> what the target's attention takes from them [D']."""
    dim = items.shape[1]
    if attention.kind == "dot":
        scores = [items @ target]
    elif attention.kind == "bilinear":
        scores = [items @ (target @ weights(attention.kernel))]
    elif attention.kind == "activation_unit":
        scores = [activation_unit(attention.unit, items, target)]
    else:
        kernel = weights(attention.kernel)
        heads = [kernel[:, h * dim : (h + 1) * dim] for h in range(attention.queries)]
        scores = [items @ (target @ head) / np.sqrt(dim) for head in heads]
    if attention.bias is not None:
        scores = [s + b for s, b in zip(scores, weights(attention.bias), strict=True)]
    pooled = np.concatenate([softmax(s[selected]) @ items[selected] for s in scores])
    return dense(attention.output, pooled) if attention.kind == "multi_head" else pooled
