"""Channels of a feature specification may be empty; what is no list, and chunks without features, are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from training.feature_spec import FeatureSpec, FeatureSpecError


def test_an_empty_channel_is_kept_through_a_file(raw_spec_of: Callable[..., dict], tmp_path: Path) -> None:
    raw = raw_spec_of()
    raw["channel_spec"]["user_features"] = []
    FeatureSpec.from_dict(raw).save(tmp_path / "feature_spec.yaml")
    spec = FeatureSpec.load(tmp_path / "feature_spec.yaml")
    assert spec.channel("user_features") == ()
    assert spec.to_dict()["channel_spec"]["user_features"] == []


@pytest.mark.parametrize(("members", "got"), [(None, "nothing"), ("user_id", "str"), ({"a": 1}, "dict")])
def test_a_channel_that_is_no_list_says_how_an_empty_one_is_written(
    raw_spec_of: Callable[..., dict], members: object, got: str
) -> None:
    raw = raw_spec_of()
    raw["channel_spec"]["user_features"] = members
    with pytest.raises(FeatureSpecError, match=rf"user_features.*list of feature names \(\[\] for none\), got {got}"):
        FeatureSpec.from_dict(raw)


def test_a_chunk_still_needs_features(raw_spec_of: Callable[..., dict]) -> None:
    raw = raw_spec_of()
    raw["source_spec"]["train"][0]["features"] = []
    with pytest.raises(FeatureSpecError, match="expected a list of feature names, got nothing"):
        FeatureSpec.from_dict(raw)
