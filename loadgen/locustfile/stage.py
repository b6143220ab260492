"""One stage of a user's Locust test: users in, rows out."""

from __future__ import annotations

import threading
import time
from typing import Any

import gevent
from gevent.event import Event
from locust import FastHttpUser, HttpUser
from locust.env import Environment
from locust.runners import STATE_CLEANUP

from loadgen.frames import Reports
from loadgen.locustfile.requests import RequestLog
from loadgen.machine import waited_between_s, waited_s
from loadgen.protocols.built import WorkloadError
from loadgen.records import ClosedArrivals, Progress, StageEnded, StagePlan, StageStarted

_SHIP_S = 0.05
_PROGRESS_NS = 250_000_000


class LocustStage:
    """As many users as the stage has clients, spawned at the test's own rate from the lead-in's start on.

    At the end, users may finish the task they are in for `drain_s`; a request that is cut off then has no row, because
    Locust does not tell of it.
    """

    def __init__(self, plan: StagePlan, spawn_per_s: float, environment: Environment, reports: Reports) -> None:
        if not isinstance(plan.arrivals, ClosedArrivals):
            raise WorkloadError("a Locust test decides itself when it sends", hint="give its stages a concurrency")
        self._plan, self._users, self._spawn_per_s = plan, plan.arrivals.concurrency, spawn_per_s
        self._environment, self._reports = environment, reports
        assert environment.runner is not None
        self._runner = environment.runner
        self._log = RequestLog()
        self._over = Event()
        self._was_stopped = False
        self._raised: str | None = None
        self._next_progress_ns = 0
        self._duration_s = plan.duration_s

    def stop(self, drain: bool) -> None:
        """From any greenlet."""
        self._was_stopped = self._was_stopped or not self._over.is_set()
        self._over.set()
        if not drain:
            self._environment.stop_timeout = 0.0
            self._runner.user_greenlets.kill(block=False)

    def extend(self, duration_s: float) -> None:
        """From any greenlet."""
        if not self._over.is_set():
            self._duration_s = max(self._duration_s, duration_s)

    def conduct(self) -> None:
        """To the last report. Raises WorkloadError when the test asked for nothing because it fails itself."""
        plan, log = self._plan, self._log
        events: Any = self._environment.events  # Locust has no types for it
        log.begin(plan.index)
        listened = ((events.request, log.heard), (events.user_error, self._raise), (events.test_stop, self._end))
        for event, listener in listened:
            event.add_listener(listener)
        start_ns = time.perf_counter_ns() + round(plan.lead_in_s * 1e9)
        cpu_s, thread = time.process_time(), threading.get_native_id()
        had_waited_s = waited_s(thread)
        self._reports.send(StageStarted(index=plan.index, start_ns=start_ns, scheduled=None))
        try:
            self._play(start_ns)
        finally:
            for event, listener in listened:
                event.remove_listener(listener)
        if log.completed + log.failed == 0:
            self._refuse_to_ask_nothing()
        self._reports.send(
            StageEnded(
                index=plan.index,
                start_ns=start_ns,
                end_ns=time.perf_counter_ns(),
                scheduled=None,
                never_started=0,
                cpu_s=time.process_time() - cpu_s,
                connections_opened=0,
                stopped_early=self._was_stopped,
                waited_s=waited_between_s(had_waited_s, waited_s(thread)),
                first_errors=log.first_errors,
                duration_s=self._duration_s,
            )
        )

    def _play(self, start_ns: int) -> None:
        self._environment.stop_timeout = self._plan.drain_s
        if not self._over.is_set():
            self._runner.start(self._users, self._spawn_per_s)
        while not self._over.wait(_SHIP_S):
            self._tell()
            if time.perf_counter_ns() >= start_ns + round(self._duration_s * 1e9) or self._has_all():
                self._over.set()
        stopping = gevent.spawn(self._stop_users)
        while not stopping.ready():
            stopping.join(timeout=_SHIP_S)
            self._tell()
        stopping.get()
        self._tell()

    def _refuse_to_ask_nothing(self) -> None:
        if self._raised is not None:
            raise WorkloadError(f"the Locust test made no request: {self._raised}")
        for user in self._environment.user_classes:
            if issubclass(user, HttpUser | FastHttpUser) and (self._environment.host or user.host) is None:
                hint = "give the test a host, by --host or in its class"
                raise WorkloadError(f"the Locust test made no request: {user.__name__} has no host to ask", hint=hint)

    def _stop_users(self) -> None:
        while self._runner.state == STATE_CLEANUP:  # the test is ending itself
            gevent.sleep(_SHIP_S)
        self._runner.stop()

    def _has_all(self) -> bool:
        return self._plan.max_requests is not None and self._done() >= self._plan.max_requests

    def _done(self) -> int:
        return self._log.completed + self._log.failed

    def _tell(self) -> None:
        while (batch := self._log.take()) is not None:
            self._reports.send_rows(batch)
        now_ns = time.perf_counter_ns()
        if now_ns >= self._next_progress_ns:
            self._next_progress_ns = now_ns + _PROGRESS_NS
            done = self._done()
            self._reports.send(
                Progress(
                    index=self._plan.index,
                    at_ns=now_ns,
                    intended=done,
                    sent=done,
                    completed=self._log.completed,
                    failed=self._log.failed,
                    in_flight=None,
                    max_lag_ms=0.0,
                    first_errors=self._log.first_errors,
                )
            )

    def _end(self, **_: object) -> None:
        """The test has ended itself, unless it was us."""
        if not self._over.is_set():
            self.stop(drain=True)

    def _raise(self, exception: BaseException, **_: object) -> None:
        self._raised = self._raised or f"its task raised {type(exception).__name__}: {exception}"
