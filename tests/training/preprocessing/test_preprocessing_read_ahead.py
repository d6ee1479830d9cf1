"""One block ahead, in order, with errors where they belong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from training.preprocessing.read_ahead import read_ahead


def test_the_blocks_come_in_order_with_one_in_advance() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for number in range(1, 6):
            made.append(number)
            yield number

    seen = []
    for number in read_ahead(source()):
        seen.append(number)
        assert len(made) <= number + 1
    assert seen == [1, 2, 3, 4, 5]


def test_an_error_comes_after_the_blocks_before_it() -> None:
    def source() -> Iterator[str]:
        yield "good"
        raise ValueError("broken")

    seen = []
    with pytest.raises(ValueError, match="broken"):
        for block in read_ahead(source()):
            seen.append(block)
    assert seen == ["good"]


def test_it_may_be_left_early() -> None:
    for number in read_ahead(iter(range(10**9))):
        if number == 3:
            break
