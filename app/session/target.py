"""The target of a run, made ready to be measured: started or woken when the profile says so, and asked once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import msgspec

from app.analysis.stage_checks import TARGET_PROCESS
from app.analysis.validity import provider_check
from app.errors import UsageError
from app.records import events
from app.records.result import Check, ColdStart
from app.session.cold_start import WAKE_LIMIT_S, Waiting, await_answer, await_ready, estimate_cold_start
from app.session.parts import Load, Parts, StartedServer
from app.session.preflight import require_reachable
from app.session.spec import RunSpec
from app.session.telling import Telling
from loadgen.records import PreflightDone
from loadgen.workloads import LocustWorkload

_CLOSES = (
    "The target closes a connection after each answer, though it promises to keep it: every request opened its own, "
    "and its latency holds the opening."
)


class TargetRunner:
    """Starts what the profile wants started; `parts_running` closes it. `ending` reports a process of the target that
    ended by itself."""

    def __init__(
        self, spec: RunSpec, parts: Parts, telling: Telling, waiting: Waiting, parts_running: ExitStack
    ) -> None:
        self._spec, self._parts, self._telling = spec, parts, telling
        self._waiting, self._parts_running = waiting, parts_running
        self._server: StartedServer | None = None
        self._processes: list[tuple[str, Callable[[], str | None]]] = []
        """The name of each process that was started to be measured, and how it ended."""
        self._began_ns = 0
        self._ready_ns: int | None = None
        self._answered_ns: int | None = None
        self.endpoint = spec.endpoint
        self.preflight: PreflightDone | None = None

    @property
    def starts_cold(self) -> bool:
        return self._spec.start is not None or self._spec.wakes

    def start_built_in(self) -> None:
        """The embedded endpoint or the scripted server, when the profile asks for one of them."""
        if self._parts.start_scripted is not None:
            self._telling.phase("endpoint", "starting the scripted server")
            scripted = self._parts.start_scripted()
            self._parts_running.callback(scripted.close)
            self._processes.append(("the scripted server", scripted.ending))
            self._take(scripted.url, scripted.pid)
        if self._parts.start_endpoint is not None:
            self._telling.phase("endpoint", "starting the embedded endpoint")
            served = self._parts.start_endpoint()
            self._parts_running.callback(served.stop)
            self._processes.append(("the embedded endpoint", served.ending))
            ready = served.ready
            self._take(ready.url, served.pid)
            if not any(check.id == "provider" for check in self._telling.checks):
                self._telling.check(
                    provider_check(
                        ready.provider_requested, ready.provider_used, ready.nodes_elsewhere, ready.provider_reason
                    )
                )

    def ask(self, load: Load) -> None:
        """One request. Raises UnavailableError where no load could tell anything."""
        is_locust = isinstance(self._spec.workload, LocustWorkload)
        self._telling.phase("preflight", f"{'loading' if is_locust else 'sending one request to'} {self._shown}")
        load.configure(self.endpoint, self._spec.workload)
        report = load.preflight()
        require_reachable(report, self._shown)
        self._parts.require_permission(report.hosts)
        self._heed(report, load)

    def ask_cold(self, load: Load) -> None:
        """Start the server or wake the endpoint, and ask until the first success. Raises UnavailableError."""
        load.configure(self.endpoint, self._spec.workload)
        self._began_ns = self._parts.now_ns()
        limit_s = WAKE_LIMIT_S
        if self._spec.start is not None:
            limit_s = self._spec.start.timeout_s
            self._start_server()
        self._telling.phase("preflight", f"asking {self._shown} until it answers")
        if self._waiting.interruption.is_requested:
            return
        report = await_answer(load, self._shown, limit_s, self.ending, self._waiting)
        if report.error is None:
            self._answered_ns = report.end_ns or self._parts.now_ns()
        self._heed(report, load)
        told = self.cold_start(None)
        self._telling.emit(events.ColdStarted(self._parts.now_ns(), told.ready_ms.value, told.first_answer_ms.value))

    def ending(self) -> str | None:
        """Which process of the target ended and how, as in "the scripted server was killed by SIGKILL"; None while all
        run, and where the run started none."""
        ended = ((name, ending()) for name, ending in self._processes)
        return next((f"{name} {how}" for name, how in ended if how is not None), None)

    def end_check(self) -> Check | None:
        """INVALID with the process of the target that ended during the run; None where all still run."""
        how = self.ending()
        if how is None:
            return None
        hint = "The target did not run to the end of the measurement: find out why it ended, and measure again."
        if self._server is not None:
            lines = self._server.last_lines()
            hint += f" Its last output: {lines[-1]}" if lines else " It printed nothing."
        return Check(TARGET_PROCESS, how, None, None, "INVALID", hint)

    def cold_start(self, steady_ns: int | None) -> ColdStart:
        warms_up = self._spec.warmup_s > 0
        return estimate_cold_start(self._began_ns, self._ready_ns, self._answered_ns, steady_ns, warms_up=warms_up)

    def _start_server(self) -> None:
        start = self._spec.start
        assert start is not None
        if self._parts.start_server is None:
            raise UsageError("a server cannot be started here")
        self._telling.phase("start", f"starting {start.command[0]}")
        server = self._parts.start_server(start)
        self._server, self._began_ns = server, server.started_ns
        self._processes.append(("target.start: the server", server.ending))
        self._parts_running.callback(server.stop)
        self._waiting.interruption.before_leaving(server.kill)
        self._parts.telemetry.watch("endpoint", server.pid)
        await_ready(server, start, self._waiting)
        if not self._waiting.interruption.is_requested:
            self._ready_ns = self._parts.now_ns()

    def _take(self, url: str, pid: int) -> None:
        self._parts.telemetry.watch("endpoint", pid)
        self.endpoint = msgspec.structs.replace(self.endpoint, urls=(url,))

    def _heed(self, report: PreflightDone, load: Load) -> None:
        self.preflight = report
        if report.error is not None:
            self._telling.phase("preflight", f"it failed: {report.detail}")
            self._telling.note(f"The request that was sent before the load failed: {report.detail}.")
        if not report.keeps_connection:
            self.endpoint = msgspec.structs.replace(self.endpoint, reuses_connections=False)
            load.configure(self.endpoint, self._spec.workload)
            self._telling.note(_CLOSES)
        for sentence in report.notes:
            self._telling.note(sentence)

    @property
    def _shown(self) -> str:
        workload = self._spec.workload
        if isinstance(workload, LocustWorkload):
            return workload.file
        socket = self.endpoint.unix_socket
        return self.endpoint.urls[0] if socket is None else f"{self.endpoint.urls[0]} on {socket}"
