"""Run batches on the model in a separate thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter_ns
from typing import Any

import numpy as np

from app.errors import MeasurementError, SizewiseError
from app.inference.rows import Feeds
from app.serving.batching import BatchResult, Outputs, QueuedRequest
from app.serving.counters import EndpointMetrics

RunModel = Callable[[Feeds], Outputs]


class Executor:
    """Executor that runs batches in a single thread. `submit` must be called on the event loop, on
    which `on_done` is then called with the results."""

    def __init__(self, run_model: RunModel, metrics: EndpointMetrics, loop: asyncio.AbstractEventLoop) -> None:
        self._run_model = run_model
        self._metrics = metrics
        self._loop = loop
        self._thread_pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")

    def submit(self, batch: list[QueuedRequest], on_done: Callable[[Sequence[BatchResult]], None]) -> None:
        self._thread_pool.submit(self._execute, batch, on_done)

    def close(self) -> None:
        """Shut down the thread without waiting for an inference in progress."""
        self._thread_pool.shutdown(wait=False, cancel_futures=True)

    def _execute(self, batch: list[QueuedRequest], on_done: Callable[[Sequence[BatchResult]], None]) -> None:
        start_ns = perf_counter_ns()
        results = run_batch(self._run_model, batch)
        duration_s = (perf_counter_ns() - start_ns) / 1e9
        row_count = sum(request.row_count for request in batch)
        self._loop.call_soon_threadsafe(self._finish, on_done, results, row_count, duration_s)

    def _finish(
        self,
        on_done: Callable[[Sequence[BatchResult]], None],
        results: list[BatchResult],
        row_count: int,
        duration_s: float,
    ) -> None:
        self._metrics.count_batch(row_count, duration_s)
        on_done(results)


def run_batch(run_model: RunModel, batch: list[QueuedRequest]) -> list[BatchResult]:
    """Run a batch, and return one result per request in order: the output rows of the request, or
    its error."""
    if len(batch) == 1:
        return [_run_single(run_model, batch[0])]
    row_ends = np.cumsum([request.row_count for request in batch])
    try:
        outputs = run_model(
            {name: np.concatenate([request.feeds[name] for request in batch]) for name in batch[0].feeds}
        )
    except Exception:  # run each request separately, so that each receives its own result or error
        outputs = ()
    if not outputs or any(output.shape[:1] != (row_ends[-1],) for output in outputs):
        # An invalid request must not fail the whole batch, and outputs without a batch axis cannot
        # be split.
        return [_run_single(run_model, request) for request in batch]
    split_outputs = [np.split(output, row_ends[:-1]) for output in outputs]
    return [[output_parts[index] for output_parts in split_outputs] for index in range(len(batch))]


def _run_single(run_model: RunModel, request: QueuedRequest) -> BatchResult:
    try:
        return run_model(request.feeds)
    except SizewiseError as error:
        return error
    except Exception as error:  # every request must receive a result, otherwise it would wait forever
        return MeasurementError(f"the inference failed: {error!r}")


def find_batch_key(feeds: dict[str, Any], *, is_batchable: bool) -> tuple[int, object]:
    """Return the number of rows of a request, and a key that is the same for requests that can run
    in one batch (None if the request cannot be batched)."""
    row_counts = {len(array) for array in feeds.values() if array.ndim}
    if not is_batchable or len(row_counts) != 1:
        return 1, None
    return row_counts.pop(), tuple((name, feeds[name].shape[1:]) for name in sorted(feeds))
