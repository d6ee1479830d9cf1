"""Scorer: rows in, scores out. Splits to the server's limit, keeps several requests in flight, retries, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from types import TracebackType
from typing import Any, Self

import numpy as np

from client.errors import InvalidInput, ServerError
from client.rank_request import RankLayout, RankRequest, checked_request
from client.ranking import Ranking, best
from client.retry import Deadline, RetryPolicy, call_with_retries
from client.transport import ModelDescription, Transport
from client.validation import checked_inputs

Arrays = dict[str, np.ndarray]


class Scorer:
    """Scores rows on one served model.

    Args:
        transport: where the model is; closed together with the scorer.
        model, version: name in the server; version "" is the newest at each request.
        batch_size: rows of one request; None is the server's max_batch_size, which also bounds it.
        in_flight: requests on their way at the same time; with 1 everything happens in the caller's thread.
        candidates_per_request: candidates of each user in one ranking request.
        deadline_s: seconds for one call in all: every request, every retry. Of a stream: for each request.
        retries: how often a refused request is sent again.
    """

    def __init__(
        self,
        transport: Transport,
        model: str = "sim",
        version: str = "",
        *,
        batch_size: int | None = None,
        in_flight: int = 4,
        candidates_per_request: int = 2000,
        deadline_s: float = 30.0,
        retries: RetryPolicy | None = None,
    ) -> None:
        limits = {"batch_size": batch_size, "in_flight": in_flight, "candidates_per_request": candidates_per_request}
        for name, value in limits.items():
            if value is not None and value < 1:
                raise InvalidInput(f"{name}: got {value}; expected at least 1")
        if not deadline_s > 0:
            raise InvalidInput(f"deadline_s: got {deadline_s}; expected more than 0 seconds")
        self._transport = transport
        self._model, self._version = model, version
        self._batch_size = batch_size
        self._in_flight = in_flight
        self._candidates_per_request = candidates_per_request
        self._deadline_s = deadline_s
        self._retries = retries or RetryPolicy()
        self._description: ModelDescription | None = None
        self._pool = ThreadPoolExecutor(in_flight, "scorer") if in_flight > 1 else None

    @property
    def description(self) -> ModelDescription:
        """What the server says of the model; asked once."""
        if self._description is None:
            self._description = call_with_retries(
                lambda timeout_s: self._transport.describe(self._model, self._version, timeout_s),
                Deadline(self._deadline_s),
                self._retries,
            )
        return self._description

    @property
    def rows_per_request(self) -> int | None:
        """The smaller one of batch_size and the server's limit; None if there is neither."""
        limits = [n for n in (self._batch_size, self.description.max_batch_size) if n is not None]
        return min(limits, default=None)

    def pinned(self) -> Self:
        """Keeps to the version that is the newest now, so that one dataset is not scored by two models."""
        self._version = self.description.version
        return self

    def score(self, features: Mapping[str, Any], output: str = "probability") -> np.ndarray:
        """{input name: [B] or [B, …]} -> [B], the named output of each row, in order; float32.

        Raises InvalidInput before anything is sent, or another ScoringError.
        """
        return self.score_outputs(features, (output,))[output]

    def score_outputs(self, features: Mapping[str, Any], outputs: Sequence[str]) -> Arrays:
        """The same for several outputs of one pass: {output name: [B]} (or [B, …] if a row has several values)."""
        self._check_outputs(outputs)
        inputs = checked_inputs(features, self.description)
        deadline = Deadline(self._deadline_s)
        parts = list(self._answers(((part, deadline) for part in self._split(inputs)), outputs))
        if not parts:
            return {name: self._empty(name) for name in outputs}
        return {name: np.concatenate([part[name] for part in parts]) for name in outputs}

    def score_stream(self, batches: Iterable[Mapping[str, Any]], outputs: Sequence[str]) -> Iterator[Arrays]:
        """Scores batch after batch without waiting in between; yields each request's outputs, rows in order.

        Reads ahead by `in_flight` requests at most, so memory stays bounded. Each request has deadline_s of its
        own from when it is sent; a caller that takes its answers slowly does not use it up.
        """
        self._check_outputs(outputs)
        requests = ((part, None) for batch in batches for part in self._split(checked_inputs(batch, self.description)))
        return self._answers(requests, outputs)

    def rank(
        self,
        user: Mapping[str, Any],
        history: Mapping[str, Any],
        candidates: Mapping[str, Any],
        output: str = "probability",
    ) -> np.ndarray:
        """Scores of many candidates for a user, on a rank model: [N] float32, in the order of the candidates.

        user {input name: value}, history {input name: [t], oldest step first}, candidates {input name: [N]}; or of
        several users: {name: [U]}, {name: U lists or [U, t]}, {name: [U, N]} -> [U, N]. More candidates than
        candidates_per_request go in several requests.
        Raises InvalidInput before anything is sent, or another ScoringError.
        """
        request = checked_request(user, history, candidates, RankLayout.of(self.description))
        return next(self._rank([request], (output,), Deadline(self._deadline_s)))[output]

    def rank_top(
        self,
        user: Mapping[str, Any],
        history: Mapping[str, Any],
        candidates: Mapping[str, Any],
        n: int | None = None,
        output: str = "logit",
    ) -> Ranking:
        """The n best of them, sorted, all by default. By the logit, since float32 probabilities near 1 tie."""
        return best(self.rank(user, history, candidates, output), n)

    def rank_stream(self, requests: Iterable[RankRequest], outputs: Sequence[str]) -> Iterator[Arrays]:
        """Ranks one request of `checked_request` after another without waiting in between: {output: [N] or [U, N]}.

        In order, and in bounded memory, as score_stream.
        """
        return self._rank(requests, outputs, None)

    def close(self) -> None:
        """Waits for requests on their way, then closes the transport."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        self._transport.close()  # first, since it ends the requests that threads of the pool wait for
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _rank(
        self, requests: Iterable[RankRequest], outputs: Sequence[str], deadline: Deadline | None
    ) -> Iterator[Arrays]:
        self._check_outputs(outputs)
        sent: deque[tuple[RankRequest, int]] = deque()
        answers = self._answers(self._rank_pieces(requests, sent, deadline), outputs, is_ranked=True)
        held: list[Arrays] = []
        for answer in chain(answers, [None]):  # None: no more answers, only requests of nothing are left
            held += [answer] if answer is not None else []
            while sent and len(held) >= sent[0][1]:
                request, count = sent.popleft()
                whole, held = held[:count], held[count:]
                yield {name: request.joined([a[name] for a in whole], name, self.rows_per_request) for name in outputs}

    def _rank_pieces(
        self, requests: Iterable[RankRequest], sent: deque[tuple[RankRequest, int]], deadline: Deadline | None
    ) -> Iterator[tuple[Arrays, Deadline | None]]:
        """Notes in `sent` how many pieces each request has."""
        for request in requests:
            parts = list(request.pieces(self.rows_per_request, self._candidates_per_request))
            sent.append((request, len(parts)))
            yield from ((part, deadline) for part in parts)

    def _split(self, inputs: Arrays) -> Iterator[Arrays]:
        rows = len(next(iter(inputs.values())))
        step = self.rows_per_request or max(rows, 1)
        for start in range(0, rows, step):
            yield {name: value[start : start + step] for name, value in inputs.items()}

    def _answers(
        self, requests: Iterable[tuple[Arrays, Deadline | None]], outputs: Sequence[str], is_ranked: bool = False
    ) -> Iterator[Arrays]:
        """deadline None: one of the request's own, from when it is submitted. is_ranked: answers stay [U, N]."""
        if self._pool is None:
            for inputs, deadline in requests:
                yield self._infer(inputs, outputs, deadline or Deadline(self._deadline_s), is_ranked)
            return
        window: deque[Future[Arrays]] = deque()
        try:
            for inputs, deadline in requests:
                if len(window) == self._in_flight:
                    yield window.popleft().result()
                own = deadline or Deadline(self._deadline_s)
                window.append(self._pool.submit(self._infer, inputs, outputs, own, is_ranked))
            while window:
                yield window.popleft().result()
        finally:  # after an error, what has not left yet need not
            for future in window:
                future.cancel()

    def _infer(self, inputs: Arrays, outputs: Sequence[str], deadline: Deadline, is_ranked: bool) -> Arrays:
        answer = call_with_retries(
            lambda timeout_s: self._transport.infer(self._model, self._version, inputs, outputs, timeout_s),
            deadline,
            self._retries,
        )
        if is_ranked:
            return {name: answer[name] for name in outputs}
        rows = len(next(iter(inputs.values())))
        return {name: self._row_values(name, answer[name], rows) for name in outputs}

    def _row_values(self, name: str, value: np.ndarray, rows: int) -> np.ndarray:
        if value.shape[:1] != (rows,):
            raise ServerError(f"output {name}: got the shape {list(value.shape)}; expected {rows} rows, as were sent")
        return value.reshape(rows) if value.shape == (rows, 1) else value

    def _empty(self, name: str) -> np.ndarray:
        output = self.description.outputs[name]
        shape = () if output.shape == (1,) else tuple(max(size, 0) for size in output.shape)
        return np.empty((0, *shape), output.dtype)

    def _check_outputs(self, outputs: Sequence[str]) -> None:
        for name in outputs:
            if name not in self.description.outputs:
                known = ", ".join(self.description.outputs)
                raise InvalidInput(f"output {name!r} is not served; model {self._model} has: {known}")
