"""A load test of a served model over gRPC: users that score batch after batch, each with a connection of its own.

`recserve sweep` runs it; so does locust itself, with its web page:

    locust -f perf/locustfile.py --host 127.0.0.1:8001 --feature_spec model_repository/sim/1/feature_spec.yaml

locust rounds its percentiles, so with --requests_file every request is also written down as it was.
"""

from __future__ import annotations

import csv
import logging
import time
from argparse import Namespace
from pathlib import Path
from typing import Any, ClassVar

import gevent
import grpc.experimental.gevent
from locust import User, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import StopUser

grpc.experimental.gevent.init_gevent()  # before any channel opens, or the first call blocks every user

from client import GrpcTransport, RetryPolicy, Scorer, ScoringError, TlsFiles  # noqa: E402
from perf.errors import MeasureError  # noqa: E402
from perf.payloads import random_rows  # noqa: E402
from training.feature_spec import FeatureSpec  # noqa: E402

PAYLOAD_BATCHES = 64
TLS_FILES = {"tls_ca": "authorities of the server's certificate", "tls_cert": "our certificate", "tls_key": "its key"}
NO_RETRIES = RetryPolicy(attempts=1)  # a refused request is a failure to be counted
Request = tuple[float, float, str]  # start on the monotonic clock, latency in ms, error


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    parser.add_argument("--feature_spec", env_var="RECSERVE_FEATURE_SPEC", default="feature_spec.yaml",
                        help="the served version's specification; payloads are drawn from its tables")  # fmt: skip
    parser.add_argument("--model", env_var="RECSERVE_MODEL", default="sim", help="name of the model in the server")
    parser.add_argument("--model_version", env_var="RECSERVE_MODEL_VERSION", default="", help="empty: the newest")
    parser.add_argument("--batch_size", env_var="RECSERVE_BATCH_SIZE", type=int, default=16, help="rows of a request")
    parser.add_argument("--deadline_s", type=float, default=10.0, help="seconds for one request")
    parser.add_argument("--seed", type=int, default=0, help="of the payload")
    # The web page has no fields for paths. Locust takes them from a made-up request all the same: it is for loopback.
    no_field = {"include_in_web_ui": False}
    parser.add_argument("--tls", action="store_true", help="encrypt the connection", **no_field)
    for option, what in TLS_FILES.items():  # locust has a --tls-cert and a --tls-key of its own, for its web page
        parser.add_argument(f"--{option}", dest=f"grpc_{option}", type=Path, default=None, help=f"PEM file: {what}",
                            **no_field)  # fmt: skip
    parser.add_argument("--requests_file", default="", help="CSV of every request: start_s, latency_ms, error",
                        **no_field)  # fmt: skip


@events.test_start.add_listener
def prepare(environment: Environment, **_: Any) -> None:
    """One payload for all users, drawn before the clock starts. Without it the test ends, and says why."""
    ScoringUser.requests, ScoringUser.batches = [], []
    try:
        ScoringUser.batches = _payload(environment)
    except (OSError, ValueError, ScoringError, MeasureError) as error:
        _give_up(environment, "cannot start", error)


def _give_up(environment: Environment, what: str, error: Exception) -> None:
    logging.getLogger(__name__).error("%s: %s", what, error)
    environment.process_exit_code = 1
    if environment.runner and environment.parsed_options.headless:
        gevent.spawn(environment.runner.quit)  # once locust has finished starting


def _payload(environment: Environment) -> list[dict[str, Any]]:
    options = environment.parsed_options
    spec = FeatureSpec.load(options.feature_spec)
    transport = GrpcTransport(environment.host or options.host, _tls(options))
    scorer = Scorer(transport, options.model, options.model_version, in_flight=1)
    ScoringUser.scorers.append(scorer)
    inputs = scorer.description.inputs
    rows = random_rows(spec, inputs, options.batch_size * PAYLOAD_BATCHES, options.seed)
    return [
        {name: column[start : start + options.batch_size] for name, column in rows.items()}
        for start in range(0, options.batch_size * PAYLOAD_BATCHES, options.batch_size)
    ]


def _tls(options: Namespace) -> TlsFiles | None:
    files = (options.grpc_tls_ca, options.grpc_tls_cert, options.grpc_tls_key)
    return TlsFiles(*files) if options.tls else None


@events.quitting.add_listener
def write_requests(environment: Environment, **_: Any) -> None:
    for scorer in ScoringUser.scorers:  # of users who were cut off too: an open channel may hang the exit
        scorer.close()
    gevent.sleep(0.1)  # lets gRPC's worker thread see that no channel is left
    if environment.parsed_options and environment.parsed_options.requests_file:
        with Path(environment.parsed_options.requests_file).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("start_s", "latency_ms", "error"))
            writer.writerows(ScoringUser.requests)


class ScoringUser(User):
    """Sends the next batch as soon as the last one is answered."""

    wait_time = constant(0)
    batches: ClassVar[list[dict[str, Any]]] = []
    requests: ClassVar[list[Request]] = []
    scorers: ClassVar[list[Scorer]] = []
    _scorer: Scorer | None = None

    def on_start(self) -> None:
        if not self.batches:
            return  # the test is ending, see prepare
        options = self.environment.parsed_options
        scorer = Scorer(
            GrpcTransport(self.host, _tls(options)), options.model, options.model_version,
            in_flight=1, deadline_s=options.deadline_s, retries=NO_RETRIES,
        )  # fmt: skip
        self._next = len(self.scorers) * 7  # users are at different places of the payload
        self.scorers.append(scorer)
        try:
            _ = scorer.description  # connects before the first measured request
        except ScoringError as caught:  # with fewer users than asked for, the figures would be of another load
            _give_up(self.environment, "a user cannot start", caught)
            raise StopUser from caught
        self._scorer = scorer

    def on_stop(self) -> None:
        if self._scorer is not None:
            self._scorer.close()

    @task
    def score(self) -> None:
        scorer = self._scorer
        if scorer is None:
            raise StopUser
        batch = self.batches[self._next % len(self.batches)]
        self._next += 1
        error: ScoringError | None = None
        started, wall = time.perf_counter(), time.time()
        try:
            scorer.score(batch)
        except ScoringError as caught:
            error = caught
        latency_ms = (time.perf_counter() - started) * 1e3
        self.requests.append((started, latency_ms, "" if error is None else str(error)))
        self.environment.events.request.fire(
            request_type="gRPC", name=f"score {len(next(iter(batch.values())))} rows", response_time=latency_ms,
            response_length=0, exception=error, start_time=wall, context={},
        )  # fmt: skip
