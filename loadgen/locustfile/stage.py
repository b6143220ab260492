"""Run one stage of a user's Locust test: start users and report rows."""

from __future__ import annotations

import threading
import time
from typing import Any

import gevent
from gevent.event import Event
from locust import FastHttpUser, HttpUser
from locust.env import Environment
from locust.runners import STATE_CLEANUP

from loadgen.frames import ReportWriter
from loadgen.locustfile.requests import RequestLog
from loadgen.machine import read_cpu_wait_s, subtract_cpu_wait_s
from loadgen.protocols.prepared import WorkloadError
from loadgen.records import ClosedArrivals, Progress, StageEnded, StagePlan, StageStarted

_SEND_INTERVAL_S = 0.05
_PROGRESS_INTERVAL_NS = 250_000_000


class LocustStage:
    """Stage of a Locust test. The number of users is the concurrency of the stage, and users are
    spawned at `spawn_rate_per_s` from the start of the lead-in.

    At the end of the stage, users have `drain_s` seconds to finish their current task. Requests
    that are then interrupted have no row, because Locust does not report them.
    """

    def __init__(
        self, plan: StagePlan, spawn_rate_per_s: float, environment: Environment, reports: ReportWriter
    ) -> None:
        if not isinstance(plan.load.arrivals, ClosedArrivals):
            raise WorkloadError(
                "a Locust test controls its own request times, so its stages cannot have a rate or a trace",
                hint="Set a concurrency for the stages.",
            )
        self._plan, self._user_count, self._spawn_rate_per_s = plan, plan.load.arrivals.concurrency, spawn_rate_per_s
        self._environment, self._reports = environment, reports
        assert environment.runner is not None
        self._runner = environment.runner
        self._request_log = RequestLog()
        self._end_event = Event()
        self._was_stopped = False
        self._task_error: str | None = None
        self._next_progress_ns = 0
        self._duration_s = plan.load.duration_s

    def stop(self, drain: bool) -> None:
        """Stop the stage; if `drain` is false, also kill the users. This method may be called from
        any greenlet."""
        self._was_stopped = self._was_stopped or not self._end_event.is_set()
        self._end_event.set()
        if not drain:
            self._environment.stop_timeout = 0.0
            self._runner.user_greenlets.kill(block=False)

    def extend(self, duration_s: float) -> None:
        """Extend the measurement window of the stage to `duration_s` seconds, unless the stage has
        ended or its measurement window is already longer. This method may be called from any
        greenlet."""
        if not self._end_event.is_set():
            self._duration_s = max(self._duration_s, duration_s)

    def run(self) -> None:
        """Run the stage, and send its rows and reports. Raises WorkloadError if the test made no
        request because of an error in the test."""
        plan, log = self._plan, self._request_log
        events: Any = self._environment.events  # Locust has no types for it
        log.begin_stage(plan.index)
        listeners = (
            (events.request, log.on_request),
            (events.user_error, self._on_user_error),
            (events.test_stop, self._on_test_stop),
        )
        for event, listener in listeners:
            event.add_listener(listener)
        start_ns = time.perf_counter_ns() + round(plan.load.lead_in_s * 1e9)
        cpu_before_s, thread_id = time.process_time(), threading.get_native_id()
        cpu_wait_before_s = read_cpu_wait_s(thread_id)
        self._reports.send(StageStarted(index=plan.index, start_ns=start_ns, scheduled=None))
        try:
            self._run_users(start_ns)
        finally:
            for event, listener in listeners:
                event.remove_listener(listener)
        if log.completed_count + log.failed_count == 0:
            self._raise_no_request_error()
        self._reports.send(
            StageEnded(
                index=plan.index,
                start_ns=start_ns,
                end_ns=time.perf_counter_ns(),
                scheduled=None,
                never_started=0,
                cpu_s=time.process_time() - cpu_before_s,
                connections_opened=0,
                stopped_early=self._was_stopped,
                cpu_wait_s=subtract_cpu_wait_s(cpu_wait_before_s, read_cpu_wait_s(thread_id)),
                first_errors=log.first_errors,
                duration_s=self._duration_s,
            )
        )

    def _run_users(self, start_ns: int) -> None:
        self._environment.stop_timeout = self._plan.drain_s
        if not self._end_event.is_set():
            self._runner.start(self._user_count, self._spawn_rate_per_s)
        while not self._end_event.wait(_SEND_INTERVAL_S):
            self._send_updates()
            if time.perf_counter_ns() >= start_ns + round(self._duration_s * 1e9) or self._has_reached_max_requests():
                self._end_event.set()
        stop_greenlet = gevent.spawn(self._stop_users)
        while not stop_greenlet.ready():
            stop_greenlet.join(timeout=_SEND_INTERVAL_S)
            self._send_updates()
        stop_greenlet.get()
        self._send_updates()

    def _raise_no_request_error(self) -> None:
        if self._task_error is not None:
            raise WorkloadError(f"the Locust test made no request: {self._task_error}")
        for user_class in self._environment.user_classes:
            if issubclass(user_class, HttpUser | FastHttpUser) and (self._environment.host or user_class.host) is None:
                hint = "Set a host with --host or in the user class."
                raise WorkloadError(f"the Locust test made no request: {user_class.__name__} has no host", hint=hint)

    def _stop_users(self) -> None:
        while self._runner.state == STATE_CLEANUP:  # the test itself is stopping
            gevent.sleep(_SEND_INTERVAL_S)
        self._runner.stop()

    def _has_reached_max_requests(self) -> bool:
        return self._plan.load.max_requests is not None and self._count_finished() >= self._plan.load.max_requests

    def _count_finished(self) -> int:
        return self._request_log.completed_count + self._request_log.failed_count

    def _send_updates(self) -> None:
        while (batch := self._request_log.pop_batch()) is not None:
            self._reports.send_rows(batch)
        now_ns = time.perf_counter_ns()
        if now_ns >= self._next_progress_ns:
            self._next_progress_ns = now_ns + _PROGRESS_INTERVAL_NS
            finished_count = self._count_finished()
            self._reports.send(
                Progress(
                    index=self._plan.index,
                    at_ns=now_ns,
                    due=finished_count,
                    sent=finished_count,
                    completed=self._request_log.completed_count,
                    failed=self._request_log.failed_count,
                    in_flight=None,
                    max_lag_ms=0.0,
                    first_errors=self._request_log.first_errors,
                )
            )

    def _on_test_stop(self, **_: object) -> None:
        """Stop the stage because the test has stopped itself."""
        if not self._end_event.is_set():
            self.stop(drain=True)

    def _on_user_error(self, exception: BaseException, **_: object) -> None:
        self._task_error = self._task_error or f"a task raised {type(exception).__name__}: {exception}"
