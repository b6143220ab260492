"""Runs batches on the model in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter_ns
from typing import Any

import numpy as np

from app.errors import MeasurementError, SizewiseError
from app.inference.rows import Feeds
from app.serving.batching import BatchResult, Outputs, WaitingRequest
from app.serving.counters import Counters

RunModel = Callable[[Feeds], Outputs]


class Executor:
    """Runs batches in one thread. `submit` is called on the event loop, and calls back on it."""

    def __init__(self, run: RunModel, counters: Counters, loop: asyncio.AbstractEventLoop) -> None:
        self._run = run
        self._counters = counters
        self._loop = loop
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")

    def submit(self, batch: list[WaitingRequest], done: Callable[[Sequence[BatchResult]], None]) -> None:
        self._thread.submit(self._execute, batch, done)

    def close(self) -> None:
        """Shut down the thread without waiting for an inference in progress."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _execute(self, batch: list[WaitingRequest], done: Callable[[Sequence[BatchResult]], None]) -> None:
        start_ns = perf_counter_ns()
        results = run_batch(self._run, batch)
        took_s = (perf_counter_ns() - start_ns) / 1e9
        rows = sum(request.rows for request in batch)
        self._loop.call_soon_threadsafe(self._finish, done, results, rows, took_s)

    def _finish(
        self, done: Callable[[Sequence[BatchResult]], None], results: list[BatchResult], rows: int, took_s: float
    ) -> None:
        self._counters.count_batch(rows, took_s)
        done(results)


def run_batch(run: RunModel, batch: list[WaitingRequest]) -> list[BatchResult]:
    """Return one response per request, in order: its rows of the outputs, or its own error."""
    if len(batch) == 1:
        return [_run_single(run, batch[0])]
    row_ends = np.cumsum([request.rows for request in batch])
    try:
        outputs = run({name: np.concatenate([request.feeds[name] for request in batch]) for name in batch[0].feeds})
    except Exception:  # Each request then runs by itself and receives its own error.
        outputs = ()
    if not outputs or any(output.shape[:1] != (row_ends[-1],) for output in outputs):
        # One bad request must not fail the others, and rows that the model has mixed cannot be separated.
        return [_run_single(run, request) for request in batch]
    parts = [np.split(output, row_ends[:-1]) for output in outputs]
    return [[part[index] for part in parts] for index in range(len(batch))]


def _run_single(run: RunModel, request: WaitingRequest) -> BatchResult:
    try:
        return run(request.feeds)
    except SizewiseError as error:
        return error
    except Exception as error:  # Every request must receive a response, otherwise it would wait forever.
        return MeasurementError(f"the inference failed: {error!r}")


def find_batch_key(feeds: dict[str, Any], *, is_batchable: bool) -> tuple[int, object]:
    """Return the number of rows of a request, and a key that is equal for requests that can run in one batch."""
    lengths = {len(array) for array in feeds.values() if array.ndim}
    if not is_batchable or len(lengths) != 1:
        return 1, None
    return lengths.pop(), tuple((name, feeds[name].shape[1:]) for name in sorted(feeds))
