"""The engine's side of a load worker: start it, tell it, hear it, end it."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import TypeVar

import pyarrow as pa

from loadgen.child import Child, LoadError, SilenceError
from loadgen.records import (
    ChangeRate,
    Configure,
    Endpoint,
    ExtendStage,
    Gather,
    Joining,
    Preflight,
    PreflightDone,
    Progress,
    Ready,
    Report,
    RunStage,
    StageEnded,
    StagePlan,
    StagePrepared,
    StageStarted,
    StartStage,
    StopStage,
    Timeouts,
)
from loadgen.workloads import Workload

__all__ = ("LoadError", "LoadProcess")

_SILENCE_S = 30.0
_SILENCE_IN_STAGE_S = 3.0
"""Of a load worker that sends, which reports progress every 0.25 s; one that gets too little of the processor has
longer. A master of several workers watches them itself."""
_AGAIN_S = 0.25

_LEAD_NS = 50_000_000
"""From telling a prepared stage its start to the lead-in's first arrival, so that the first are on time too."""

T = TypeVar("T", bound=Report)


class LoadProcess:
    """One load worker, or the child that drives a user's Locust test (`module`), or with `gather` the master of several
    workers. One thread drives it; `stop`, `change_rate` and `extend` may come from any thread or a signal handler.

    While workers are gathered, `on_joining` hears of each that joins, and of the last again every 0.25 s, so that what
    it raises ends the waiting, and the child with it.

    Every method raises LoadError when the worker reports a failure, is lost, or says nothing for too long.
    """

    def __init__(
        self,
        module: str = "loadgen.worker",
        *,
        gather: Gather | None = None,
        on_joining: Callable[[Joining], None] = lambda _: None,
    ) -> None:
        self._child = Child(module if gather is None else "loadgen.master")
        self._timeouts = Timeouts()
        is_one_worker = module == "loadgen.worker" and gather is None
        self._silence_in_stage_s = _SILENCE_IN_STAGE_S if is_one_worker else _SILENCE_S
        self._is_running = self._is_asking = False
        self._stop_asked: StopStage | None = None
        try:
            ready = self._hear(Ready, _SILENCE_S) if gather is None else self._gathered(gather, on_joining)
        except BaseException:
            self.close()
            raise
        self.pid = self._child.pid
        self.pacing, self.event_loop, self.workers = ready.pacing, ready.event_loop, ready.workers

    def __enter__(self) -> LoadProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def configure(self, endpoint: Endpoint, workload: Workload) -> None:
        """Where to send, and what. What is wrong with either is told by the next call."""
        self._timeouts = endpoint.timeouts
        self._child.tell(Configure(endpoint, workload))

    def preflight(self) -> PreflightDone:
        """Raises LoadError, too, when `stop` gives up waiting for it; the worker is then of no more use."""
        self._child.tell(Preflight())
        self._is_asking = True
        if self._stop_asked is not None:
            self._child.interrupt(self._stop_asked)
        try:
            return self._hear(PreflightDone, self._preparing_s())
        finally:
            self._is_asking = False

    def run_stage(
        self,
        plan: StagePlan,
        on_rows: Callable[[pa.RecordBatch], None],
        on_started: Callable[[StageStarted], None],
        on_progress: Callable[[Progress], bool],
    ) -> StageEnded:
        """Blocks to the end of the stage; all its rows have been given to `on_rows` by then.

        The first False from `on_progress` cuts the stage: what is in flight ends as timed out.
        """
        self._child.tell(RunStage(plan))
        self._is_running = True
        if self._stop_asked is not None:  # since the last stage ended: whoever asked cannot know whether one runs
            self._child.tell(self._stop_asked)
        is_cut, patience_s, busy_patience_s = False, self._preparing_s(), 0.0
        while True:
            report = self._next(patience_s, busy_patience_s)
            match report:
                case pa.RecordBatch() as rows:
                    on_rows(rows)
                case StagePrepared():
                    patience_s, busy_patience_s = self._silence_in_stage_s, _SILENCE_S
                    start_ns = time.perf_counter_ns() + _LEAD_NS + round(plan.lead_in_s * 1e9)
                    self._child.tell(StartStage(plan.index, start_ns))
                case StageStarted() as started:
                    on_started(started)
                case Progress() as progress:
                    if not on_progress(progress) and not is_cut:
                        is_cut = True
                        self.stop(drain=False)
                case StageEnded() as ended:
                    self._is_running, self._stop_asked = False, None
                    return ended
                case other:
                    raise _out_of_turn(other)

    def stop(self, drain: bool) -> None:
        """Let the running stage start no more arrivals; without `drain`, cut what is in flight too. Where none runs, it
        is the next that is stopped."""
        self._stop_asked = StopStage(drain)
        if self._is_asking:
            self._child.interrupt(self._stop_asked)
        if self._is_running:
            with contextlib.suppress(OSError, ValueError):  # whoever waits for the stage hears that the worker is lost
                self._child.write(self._stop_asked)

    def change_rate(self, rate_per_s: float) -> None:
        """From now on the running stage's open arrivals come at this rate; of no effect on any other stage."""
        if not (0 < rate_per_s < math.inf):
            raise ValueError(f"a rate must be above 0 and finite, not {rate_per_s}")
        if self._is_running:
            with contextlib.suppress(OSError, ValueError):  # as above
                self._child.write(ChangeRate(rate_per_s, time.perf_counter_ns()))

    def extend(self, duration_s: float) -> None:
        """The running stage's measured part lasts so long from its start; of no effect on what has no arrivals left, or
        lasts longer."""
        if not (0 < duration_s < math.inf):
            raise ValueError(f"a stage lasts longer than 0 and not for ever, not {duration_s} s")
        if self._is_running:
            with contextlib.suppress(OSError, ValueError):  # as above
                self._child.write(ExtendStage(duration_s))

    def close(self) -> None:
        """End the worker, by force when it does not leave by itself."""
        self._child.close()

    def _gathered(self, gather: Gather, on_joining: Callable[[Joining], None]) -> Ready:
        self._child.tell(gather)
        until_s = time.monotonic() + gather.wait_s + _SILENCE_S
        last: Joining | None = None
        while True:
            try:
                report = self._next(_AGAIN_S)
            except SilenceError as silence:
                if time.monotonic() > until_s:
                    message = f"the workers were not gathered within {gather.wait_s:g} s, and their master says nothing"
                    raise LoadError(message, hint=silence.hint) from silence
            else:
                match report:
                    case Ready() as ready:
                        return ready
                    case Joining() as last:
                        pass
                    case other:
                        raise _out_of_turn(other)
            if last is not None:
                on_joining(last)

    def _preparing_s(self) -> float:
        """How long the worker may be silent while it asks for the metadata and sends one request."""
        return 2 * (self._timeouts.connect_s + self._timeouts.total_s) + _SILENCE_S

    def _hear(self, expected: type[T], patience_s: float) -> T:
        report = self._next(patience_s)
        if not isinstance(report, expected):
            raise _out_of_turn(report)
        return report

    def _next(self, patience_s: float, busy_patience_s: float = 0.0) -> Report | pa.RecordBatch:
        report = self._child.next(patience_s, busy_patience_s)
        if isinstance(report, StopStage):
            raise LoadError("the target's first answer was not waited for")
        return report


def _out_of_turn(report: object) -> LoadError:
    return LoadError(f"the load worker said {type(report).__name__} out of turn")
