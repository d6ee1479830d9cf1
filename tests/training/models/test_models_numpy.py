"""Every model with every option against an independent numpy pass."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.models.numpy_models import scores_of
from tests.training.models.samples import columns_of, label_of, model_of, settings_of, spec_of, tensors
from tests.training.models.variants import VARIANTS
from tests.training.numpy_layers import cross_entropy


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_and_losses(variant: str) -> None:
    kind, options, shape = VARIANTS[variant]
    spec, settings = spec_of(**shape), settings_of(kind, **options)
    model, columns = model_of(spec, settings), columns_of(spec, 17)
    expected, features = scores_of(model, columns), tensors(columns, model)
    np.testing.assert_allclose(model.call(features, training=False), expected.logits, atol=2e-5)
    loss, label, terms = model.loss_terms(features, label_of(columns)), columns["label"], settings
    np.testing.assert_allclose(loss.logits, expected.logits, atol=2e-5)
    classification = cross_entropy(label, expected.logits).mean()
    if kind == "sim":
        classification *= terms.stage_two_loss_weight
    if expected.stage_one is not None:
        classification += terms.stage_one_loss_weight * cross_entropy(label, expected.stage_one).mean()
    auxiliary = terms.aux_loss_weight * expected.auxiliary
    assert (auxiliary > 0) == (kind != "din")
    np.testing.assert_allclose(loss.terms["classification_loss"], classification, rtol=1e-5)
    if kind != "din":
        np.testing.assert_allclose(loss.terms["dien_aux_loss"], auxiliary, rtol=1e-5)
    np.testing.assert_allclose(loss.terms["total_loss"], classification + auxiliary, rtol=1e-5)
    np.testing.assert_allclose(loss.total, loss.terms["total_loss"], rtol=1e-7)
    assert all(t.dtype == "float32" for t in (loss.total, loss.logits, *loss.terms.values()))


def test_the_options_matter() -> None:
    """A variant that scores like the default would test nothing."""
    scores = {}
    for variant, (kind, options, shape) in VARIANTS.items():
        spec = spec_of(**{**shape, "times": True, "items": 2, "users": ("user_id",)})
        model = model_of(spec, settings_of(kind, **options))
        scores[variant] = model.call(tensors(columns_of(spec, 17), model), training=False).numpy()
    for kind in ("sim", "din", "dien"):
        for variant, (model_type, options, _) in VARIANTS.items():
            changes_scores = options and not any("loss_weight" in name for name in options)
            if model_type == kind and changes_scores:
                assert np.abs(scores[variant] - scores[kind]).max() > 1e-3, variant


def test_terms_have_the_names_of_the_log() -> None:
    names = {}
    for kind in ("sim", "din", "dien"):
        spec = spec_of()
        model, columns = model_of(spec, settings_of(kind)), columns_of(spec, 3)
        names[kind] = set(model.loss_terms(tensors(columns, model), label_of(columns)).terms)
    with_auxiliary = {"classification_loss", "dien_aux_loss", "total_loss"}
    assert names == {"sim": with_auxiliary, "dien": with_auxiliary, "din": {"classification_loss", "total_loss"}}
