"""Measures a model in a child process, so that a crash or an out-of-memory kill costs the measurement only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.inference.measurement import LocalMeasurement
from app.inference.parent import answer_of


def measure_model(
    model: Path,
    provider: str = "cpu",
    *,
    threads: int,
    batches: Sequence[int],
    seconds: float,
    rows: Path | None,
    timeout_s: float,
) -> LocalMeasurement:
    """`seconds` is for each batch size, single stream. Raises UsageError, UnavailableError or InstrumentError."""
    arguments = [str(model.absolute()), "--provider", provider, "--threads", str(threads)]
    arguments += ["--batches", ",".join(map(str, batches)), "--seconds", str(seconds)]
    if rows is not None:
        arguments += ["--rows", str(rows.absolute())]
    answer = answer_of(f"the measurement of {model.name}", "app.inference.worker", *arguments, timeout_s=timeout_s)
    return msgspec.msgpack.decode(answer, type=LocalMeasurement)
