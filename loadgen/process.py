"""Start, control and end the child process that generates load. The engine uses this module to send
commands to the child process and to receive its reports."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from typing import TypeVar

import pyarrow as pa

from loadgen.child import Child, LoadError, ReportTimeoutError
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

_SILENCE_TIMEOUT_S = 30.0
_STAGE_SILENCE_TIMEOUT_S = 3.0
"""Maximum time in s between two reports of a load worker that runs a stage. After a longer silence,
the worker counts as lost.

Workers report progress every 0.25 s. A worker that gets too little CPU time is given more time. The
limit does not apply to a master, which monitors its workers itself.
"""
_JOINING_INTERVAL_S = 0.25

_START_LEAD_NS = 50_000_000
"""Lead time in ns between the command that starts a prepared stage and the first arrival of the
lead-in. It is long enough for the first arrivals to be on time."""

T = TypeVar("T", bound=Report)


class LoadProcess:
    """Child process that generates load: a single load worker or a user's Locust test, depending on
    `module`, or the master of several workers if `gather` is set.

    All methods must be called from the same thread, except `stop`, `change_rate` and `extend`,
    which may be called from any thread or a signal handler.

    While the master waits for workers, `on_joining` is called for each worker that joins, and every
    0.25 s with the latest report. If `on_joining` raises an exception, the wait is aborted and the
    child process is ended.

    Every method raises LoadError if the worker reports a failure, is lost, or sends no report
    within the time limit.
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
        is_single_worker = module == "loadgen.worker" and gather is None
        self._stage_silence_timeout_s = _STAGE_SILENCE_TIMEOUT_S if is_single_worker else _SILENCE_TIMEOUT_S
        self._is_stage_running = self._is_in_preflight = False
        self._stop_request: StopStage | None = None
        try:
            ready = (
                self._expect_report(Ready, _SILENCE_TIMEOUT_S) if gather is None else self._gather(gather, on_joining)
            )
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
        """Set the endpoint and the workload. If one of them is invalid, the next call of a method
        raises LoadError."""
        self._timeouts = endpoint.timeouts
        self._child.send(Configure(endpoint, workload))

    def preflight(self) -> PreflightDone:
        """Send one request of the workload and return the result.

        Raises LoadError if `stop` is called while waiting for the response. The worker can then no
        longer be used.
        """
        self._child.send(Preflight())
        self._is_in_preflight = True
        if self._stop_request is not None:
            self._child.interrupt(self._stop_request)
        try:
            return self._expect_report(PreflightDone, self._compute_preparation_timeout_s())
        finally:
            self._is_in_preflight = False

    def run_stage(
        self,
        plan: StagePlan,
        on_rows: Callable[[pa.RecordBatch], None],
        on_started: Callable[[StageStarted], None],
        on_progress: Callable[[Progress], bool],
    ) -> StageEnded:
        """Run a stage and block until the stage has ended and all of its rows have been passed to
        `on_rows`.

        If `on_progress` returns False, the stage is interrupted. Requests in flight then end with
        the error `timeout`.
        """
        self._child.send(RunStage(plan))
        self._is_stage_running = True
        # A stop may have been requested since the last stage ended: its caller cannot know whether
        # a stage is running.
        if self._stop_request is not None:
            self._child.send(self._stop_request)
        is_interrupted, timeout_s, busy_timeout_s = False, self._compute_preparation_timeout_s(), 0.0
        while True:
            report = self._receive(timeout_s, busy_timeout_s)
            match report:
                case pa.RecordBatch() as rows:
                    on_rows(rows)
                case StagePrepared():
                    timeout_s, busy_timeout_s = self._stage_silence_timeout_s, _SILENCE_TIMEOUT_S
                    start_ns = time.perf_counter_ns() + _START_LEAD_NS + round(plan.load.lead_in_s * 1e9)
                    self._child.send(StartStage(plan.index, start_ns))
                case StageStarted() as started:
                    on_started(started)
                case Progress() as progress:
                    if not on_progress(progress) and not is_interrupted:
                        is_interrupted = True
                        self.stop(drain=False)
                case StageEnded() as stage_ended:
                    self._is_stage_running, self._stop_request = False, None
                    return stage_ended
                case other_report:
                    raise _build_unexpected_report_error(other_report)

    def stop(self, drain: bool) -> None:
        """Stop the arrivals of the running stage; if `drain` is false, also interrupt the requests
        in flight.

        If no stage is running, the next stage is stopped as soon as it starts.
        """
        self._stop_request = StopStage(drain)
        if self._is_in_preflight:
            self._child.interrupt(self._stop_request)
        if self._is_stage_running:
            with contextlib.suppress(OSError, ValueError):  # the loop that waits for the stage reports a lost worker
                self._child.write(self._stop_request)

    def change_rate(self, rate_per_s: float) -> None:
        """Change the rate of open arrivals of the running stage from now on, in requests per
        second. Closed-loop and trace arrivals are unaffected.

        Raises ValueError unless the rate is positive and finite.
        """
        if not (0 < rate_per_s < math.inf):
            raise ValueError(f"a rate must be finite and greater than 0 req/s (got {rate_per_s} req/s)")
        if self._is_stage_running:
            with contextlib.suppress(OSError, ValueError):  # the loop that waits for the stage reports a lost worker
                self._child.write(ChangeRate(rate_per_s, time.perf_counter_ns()))

    def extend(self, duration_s: float) -> None:
        """Extend the measurement window of the running stage to `duration_s` seconds.

        A stage without remaining arrivals, or with a longer measurement window, is unaffected.
        Raises ValueError unless the duration is positive and finite.
        """
        if not (0 < duration_s < math.inf):
            raise ValueError(f"the duration of a stage must be finite and greater than 0 s (got {duration_s} s)")
        if self._is_stage_running:
            with contextlib.suppress(OSError, ValueError):  # the loop that waits for the stage reports a lost worker
                self._child.write(ExtendStage(duration_s))

    def close(self) -> None:
        """End the child process. Kill the process if it does not exit within two seconds."""
        self._child.close()

    def _gather(self, gather: Gather, on_joining: Callable[[Joining], None]) -> Ready:
        self._child.send(gather)
        deadline_s = time.monotonic() + gather.wait_s + _SILENCE_TIMEOUT_S
        last_joining: Joining | None = None
        while True:
            try:
                report = self._receive(_JOINING_INTERVAL_S)
            except ReportTimeoutError as timeout_error:
                if time.monotonic() > deadline_s:
                    message = (
                        f"the workers did not join within {gather.wait_s:g} s, and the master process does not respond"
                    )
                    raise LoadError(message, hint=timeout_error.hint) from timeout_error
            else:
                match report:
                    case Ready() as ready:
                        return ready
                    case Joining() as last_joining:
                        pass
                    case other_report:
                        raise _build_unexpected_report_error(other_report)
            if last_joining is not None:
                on_joining(last_joining)

    def _compute_preparation_timeout_s(self) -> float:
        """Return the time limit in seconds for the worker to request the metadata of the model and
        send one request."""
        return 2 * (self._timeouts.connect_s + self._timeouts.total_s) + _SILENCE_TIMEOUT_S

    def _expect_report(self, report_class: type[T], timeout_s: float) -> T:
        report = self._receive(timeout_s)
        if not isinstance(report, report_class):
            raise _build_unexpected_report_error(report)
        return report

    def _receive(self, timeout_s: float, busy_timeout_s: float = 0.0) -> Report | pa.RecordBatch:
        report = self._child.receive_report(timeout_s, busy_timeout_s)
        if isinstance(report, StopStage):
            raise LoadError("the run was interrupted while waiting for the target's first response")
        return report


def _build_unexpected_report_error(report: object) -> LoadError:
    return LoadError(f"the load worker sent an unexpected {type(report).__name__} report")
