"""The measuring child: opens one model, times it batch by batch, and prints a LocalMeasurement as MessagePack."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from app.errors import UsageError
from app.inference.child import leave_with_parent, reported
from app.inference.measurement import Accuracy, BatchMeasurement, LocalMeasurement
from app.inference.rows import Feeds, LabelledRows, check_batch, load_rows, synthetic_feeds

if TYPE_CHECKING:
    from app.inference.session import ModelSession

_WARMUP_RUNS = 5
_WARMUP_NS = 300_000_000
_WARMUP_SHARE = 0.25
_DISTINCT_BATCHES = 16
"""A model is fed these in turn, so that no cache holds the answer."""


def main() -> None:
    leave_with_parent()
    arguments = _parsed()
    sys.stdout.buffer.write(msgspec.msgpack.encode(_measured(arguments)))


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m app.inference.worker")
    parser.add_argument("model", type=Path)
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=lambda text: [int(size) for size in text.split(",")], default=[1])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each batch size")
    parser.add_argument("--rows", type=Path, help=".npz with the model's inputs by name, and `label`")
    return parser.parse_args()


def _measured(arguments: argparse.Namespace) -> LocalMeasurement:
    start = perf_counter_ns()
    from app.inference.session import open_session, runtime_version

    loaded = perf_counter_ns()
    session = open_session(arguments.model, arguments.provider, arguments.threads)
    built = perf_counter_ns()
    for batch in arguments.batches:
        check_batch(session.inputs, batch)
    rows = load_rows(arguments.rows, session.inputs) if arguments.rows else None
    first_ns = _timed(session, _batches_fed(session, rows, arguments.batches[0])[0])
    return LocalMeasurement(
        name=arguments.model.stem,
        model_sha256=_sha256(arguments.model),
        size_bytes=arguments.model.stat().st_size,
        inputs=session.inputs,
        outputs=session.outputs,
        runtime_version=runtime_version(),
        provider_requested=session.provider_requested,
        provider_used=session.provider_used,
        provider_reason=session.provider_reason,
        nodes_elsewhere=session.nodes_elsewhere,
        threads=arguments.threads,
        library_load_ms=(loaded - start) / 1e6,
        session_build_ms=(built - loaded) / 1e6,
        first_inference_ms=first_ns / 1e6,
        batches=tuple(
            measured_batch(session, _batches_fed(session, rows, batch), batch, arguments.seconds)
            for batch in arguments.batches
        ),
        accuracy=_accuracy(session, rows, max(arguments.batches)) if rows else None,
    )


def _batches_fed(session: ModelSession, rows: LabelledRows | None, batch: int) -> list[Feeds]:
    if rows is None:
        return [synthetic_feeds(session.inputs, batch)]
    return [rows.batch(number * batch, batch) for number in range(_DISTINCT_BATCHES)]


def _timed(session: ModelSession, feeds: Feeds) -> int:
    start = perf_counter_ns()
    session.run(feeds)
    return perf_counter_ns() - start


def measured_batch(session: ModelSession, fed: Sequence[Feeds], batch: int, seconds: float) -> BatchMeasurement:
    """At least one call, then as many as start within the time."""
    warmup_runs = _warm_up(session, fed[0], min(_WARMUP_NS, int(seconds * 1e9 * _WARMUP_SHARE)))
    run, count = session.run, len(fed)
    latencies: list[int] = []
    keep = latencies.append
    start = before = perf_counter_ns()
    deadline = start + int(seconds * 1e9)
    while before < deadline or not latencies:
        feeds = fed[len(latencies) % count]
        before = perf_counter_ns()
        run(feeds)
        after = perf_counter_ns()
        keep(after - before)
        before = after
    return BatchMeasurement(batch, warmup_runs, start, before, tuple(latencies))


def _warm_up(session: ModelSession, feeds: Feeds, at_least_ns: int) -> int:
    deadline = perf_counter_ns() + at_least_ns
    runs = 0
    while runs < _WARMUP_RUNS or perf_counter_ns() < deadline:
        session.run(feeds)
        runs += 1
    return runs


def _accuracy(session: ModelSession, rows: LabelledRows, batch: int) -> Accuracy:
    """The model's first output is scores a class, whose largest answers, or the class itself."""
    fixed = session.inputs[0].shape[:1]
    size = batch if fixed in ((-1,), ()) else fixed[0]
    right = 0
    for start in range(0, len(rows), size):
        answer = session.run(rows.batch(start, size))[0]
        classes = answer if answer.ndim == 1 else answer.reshape(len(answer), -1).argmax(axis=1)
        labels = rows.labels[start : start + size]
        if len(classes) < len(labels):
            raise UsageError("the model's first output has not one answer a row, so labels cannot be held against it")
        right += int(np.count_nonzero(classes[: len(labels)] == labels))
    return Accuracy(right, len(rows))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(reported(main))
