"""Which compiled libraries are used: only those for the instructions of this processor."""

from __future__ import annotations

import pytest

from training.native import build


@pytest.mark.parametrize(
    ("target", "flags", "runs"),
    [
        ("x86-64-v3", "flags : fma avx2 bmi2", True),
        ("x86-64-v3", "flags : fma avx bmi2", False),
        ("x86-64-v4", "flags : fma avx2 bmi2", False),
        ("native", "flags : sse2", True),
    ],
)
def test_a_library_for_instructions_that_are_not_there_is_not_used(
    target: str, flags: str, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSERVE_MARCH", target)
    monkeypatch.setattr(build, "_processor_flags", lambda: flags)
    monkeypatch.setattr(build.json, "loads", lambda text: build._fingerprint())  # built for this very target
    assert build.is_current() == runs
