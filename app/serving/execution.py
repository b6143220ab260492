"""Runs batches on the model, in one thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter_ns
from typing import Any

import numpy as np

from app.errors import InstrumentError, SizewiseError
from app.inference.rows import Feeds
from app.serving.batching import Answer, Outputs, WaitingRequest
from app.serving.counters import Counters

Run = Callable[[Feeds], Outputs]


class Executor:
    """`submit` is called on the event loop; so is what it is given to call."""

    def __init__(self, run: Run, counters: Counters, loop: asyncio.AbstractEventLoop) -> None:
        self._run = run
        self._counters = counters
        self._loop = loop
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")

    def submit(self, batch: list[WaitingRequest], done: Callable[[Sequence[Answer]], None]) -> None:
        self._thread.submit(self._execute, batch, done)

    def close(self) -> None:
        """Does not wait for an inference that still runs."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _execute(self, batch: list[WaitingRequest], done: Callable[[Sequence[Answer]], None]) -> None:
        start_ns = perf_counter_ns()
        answers = answers_of(self._run, batch)
        took_s = (perf_counter_ns() - start_ns) / 1e9
        rows = sum(request.rows for request in batch)
        self._loop.call_soon_threadsafe(self._finish, done, answers, rows, took_s)

    def _finish(
        self, done: Callable[[Sequence[Answer]], None], answers: list[Answer], rows: int, took_s: float
    ) -> None:
        self._counters.count_batch(rows, took_s)
        done(answers)


def answers_of(run: Run, batch: list[WaitingRequest]) -> list[Answer]:
    """One answer a request, in order: its own rows of the outputs, or its own error."""
    if len(batch) == 1:
        return [_alone(run, batch[0])]
    ends = np.cumsum([request.rows for request in batch])
    try:
        outputs = run({name: np.concatenate([request.feeds[name] for request in batch]) for name in batch[0].feeds})
    except Exception:  # each request then runs by itself, and is answered with its own error
        outputs = ()
    if not outputs or any(output.shape[:1] != (ends[-1],) for output in outputs):
        # one bad request must not spoil the others, nor rows be told apart that the model has mixed
        return [_alone(run, request) for request in batch]
    parts = [np.split(output, ends[:-1]) for output in outputs]
    return [[part[number] for part in parts] for number in range(len(batch))]


def _alone(run: Run, request: WaitingRequest) -> Answer:
    try:
        return run(request.feeds)
    except SizewiseError as error:
        return error
    except Exception as error:  # an answer must come whatever happens, or the request would wait for ever
        return InstrumentError(f"the inference failed: {error!r}")


def joins_of(feeds: dict[str, Any], *, is_batchable: bool) -> tuple[int, object]:
    """How many rows a request has, and what must be equal in another for the two to run together."""
    lengths = {len(array) for array in feeds.values() if array.ndim}
    if not is_batchable or len(lengths) != 1:
        return 1, None
    return lengths.pop(), tuple((name, feeds[name].shape[1:]) for name in sorted(feeds))
