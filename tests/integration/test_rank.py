"""export -> real Triton -> Scorer.rank and `recserve rank`: candidates of users score as the pointwise model's rows."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from client import GrpcTransport, Scorer
from export.parity import parity_inputs
from export.saved_model import ModelOptions, export_checkpoint
from export.triton_config import ServingOptions
from tests.export.conftest import HISTORY, make_checkpoint, sim_spec
from training.checkpoint import open_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.server]
CANDIDATES, HISTORIES = ("item_id_trgt", "cat_id_trgt"), ("item_id_pos", "cat_id_pos")
USERS, EACH = 4, 23


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint"), sim_spec())


@pytest.fixture(scope="module")
def url(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    from serving.embedded import TritonServer

    models = tmp_path_factory.mktemp("models")
    options = ServingOptions(instances=1, max_batch_size=64, max_rank_users=3)
    export_checkpoint(checkpoint, models, "sim", options, ModelOptions(parity_rows=64))
    with TritonServer(models) as server:
        yield server.endpoints.grpc


@pytest.fixture(scope="module")
def rows(checkpoint: Path) -> dict[str, np.ndarray]:
    """USERS · EACH pointwise rows, user after user; the first user has no history."""
    inputs = parity_inputs(open_checkpoint(checkpoint).restore_model().served, USERS * EACH)
    first = np.repeat(np.arange(USERS), EACH)
    return {name: value if name in CANDIDATES else value[first] for name, value in inputs.items()}


def request_of(rows: dict[str, np.ndarray], user: int | None = None) -> tuple[dict, dict, dict]:
    """One user, or all of them."""
    users = {name: value.reshape(USERS, EACH, -1)[:, 0] for name, value in rows.items() if name not in CANDIDATES}
    items = {name: rows[name].reshape(USERS, EACH) for name in CANDIDATES}
    if user is not None:
        users = {name: value[user] for name, value in users.items()}
        items = {name: value[user] for name, value in items.items()}
    return {"user_id": users["user_id"]}, {name: users[name] for name in HISTORIES}, items


@pytest.mark.parametrize("candidates_per_request", [2000, 10])
def test_candidates_score_as_the_pointwise_models_rows(
    url: str, rows: dict[str, np.ndarray], candidates_per_request: int
) -> None:
    with Scorer(GrpcTransport(url), "sim") as scorer:
        expected = scorer.score(rows, "logit").reshape(USERS, EACH)
    with Scorer(GrpcTransport(url), "sim_rank", candidates_per_request=candidates_per_request) as scorer:
        together = scorer.rank(*request_of(rows), output="logit")
        alone = [scorer.rank(*request_of(rows, user), output="logit") for user in range(USERS)]
    np.testing.assert_allclose(together, expected, atol=1e-5)
    np.testing.assert_allclose(alone, expected, atol=1e-5)
    assert np.ptp(expected) > 1e-3


def test_a_short_history_is_sent_as_it_is(url: str, rows: dict[str, np.ndarray]) -> None:
    user, history, candidates = request_of(rows, 2)
    short = {name: value[-3:] for name, value in history.items()}
    padded = {name: np.r_[np.zeros(HISTORY - 3, np.int64), value[-3:]] for name, value in history.items()}
    repeated = {name: np.tile(value, (EACH, 1)) for name, value in {**user, **padded}.items()}
    with Scorer(GrpcTransport(url), "sim") as scorer:
        expected = scorer.score({**repeated, **candidates})
    with Scorer(GrpcTransport(url), "sim_rank") as scorer:
        np.testing.assert_allclose(scorer.rank(user, short, candidates), expected, atol=1e-5)


def test_the_command_writes_the_best_candidates_of_each_user(
    url: str, rows: dict[str, np.ndarray], recserve: Callable[..., str], tmp_path: Path
) -> None:
    """Candidates in the users' rows, and out of a file for all users."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with (tmp_path / "users.jsonl").open("w") as file:
        for user in range(USERS):
            scalars, history, items = request_of(rows, user)
            lists = {name: value.tolist() for name, value in {**history, **items}.items()}
            file.write(json.dumps({"user_id": int(scalars["user_id"][0]), **lists}) + "\n")
    with Scorer(GrpcTransport(url), "sim_rank") as scorer:
        scores = scorer.rank(*request_of(rows), output="logit")
    arguments = ("rank", "--data", tmp_path / "users.jsonl", "--url", url, "--output_file", tmp_path / "best.csv")
    output = recserve(*arguments, "--top", 3)
    assert f"{USERS}, with {USERS * EACH} candidates" in output
    written = list(csv.DictReader((tmp_path / "best.csv").open()))
    assert list(written[0]) == ["row", "user_id", "rank", *CANDIDATES, "probability", "logit"]
    for user in range(USERS):
        order = np.argsort(-scores[user], kind="stable")[:3]
        mine = written[3 * user : 3 * user + 3]
        assert [row["rank"] for row in mine] == ["1", "2", "3"]
        assert {row["row"] for row in mine} == {str(user + 1)}
        assert [int(row["item_id_trgt"]) for row in mine] == rows["item_id_trgt"].reshape(USERS, EACH)[
            user, order
        ].tolist()
        np.testing.assert_allclose([float(row["logit"]) for row in mine], scores[user, order], atol=1e-5)

    items = {name: rows[name].reshape(USERS, EACH)[1] for name in CANDIDATES}
    pq.write_table(pa.table(items), tmp_path / "items.parquet")
    recserve(*arguments, "--candidates", tmp_path / "items.parquet", "--top", 0, "--limit", 2)
    written = list(csv.DictReader((tmp_path / "best.csv").open()))
    assert len(written) == 2 * EACH
    mine = [float(row["logit"]) for row in written[EACH:]]
    np.testing.assert_allclose(mine, np.sort(scores[1])[::-1], atol=1e-5)
