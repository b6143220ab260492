"""Prepare the target of a run: start the target or scale it up from zero if the profile requests
this, and send a preflight request.

The preflight request shows whether the target is reachable and authorizes the client. For a target
that is started or scaled up, the cold-start times are measured: until the target is ready, until
its first response, and until its latency is steady."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import msgspec

from app.analysis.stage_checks import TARGET_PROCESS
from app.analysis.validity import check_execution_provider
from app.errors import UnavailableError, UsageError
from app.records import events
from app.records.result import Check, ColdStart, Estimate
from app.session.dependencies import LoadGenerator, SessionDependencies, StartedServer
from app.session.interruption import Interruption
from app.session.run_log import RunLog
from app.session.spec import RunSpec, StartSpec
from loadgen.process import LoadError
from loadgen.records import PreflightDone
from loadgen.workloads import HttpWorkload, LocustWorkload, OpenAiWorkload, Workload

_ERROR_HINTS: dict[str | int | None, str] = {
    "dns": "Check the host name in target.url.",
    "connect": "Check that the server is running, and check the port in target.url, or target.socket.",
    "tls": "Check the scheme in target.url, the server's certificate, and target.tls (ca_file, cert_file, key_file).",
    401: "Set a valid credential in target.headers, such as Authorization: env:API_KEY.",
    403: "The credential lacks permission for this request. Check target.headers.",
    404: "Check the path in target.url and the model name in target.model.",
    405: "Check the path in target.url, and that target.protocol is the server's protocol.",
    415: "Check that target.protocol is the server's protocol.",
    501: "Check the path in target.url, and that target.protocol is the server's protocol.",
    "local-limit": "The target was not reached. Raise the limit on this machine (`ulimit -n` for open files).",
    "bad-payload": "Check that target.protocol is the server's protocol, and that target.url is its base URL.",
}
_NO_RESPONSE_HINTS: dict[str, str] = {
    "send": "The server closed the connection without a response. Check the server log and any proxies.",
    "truncated": "The connection closed before the response was complete. Check the server log and any proxies.",
    "timeout": "The server may still be loading its model. Wait, raise target.timeouts.total, or set target.wake.",
}
"""Hints for a preflight request without a complete response."""
_EMPTY_RESPONSE_HINT = "Check the path, the method and the body of the request, and the server log."
_TEMPORARY_STATUSES = (408, 429)
"""Client errors that depend on the load and the time, and not on the content of the request."""
_MISSING_API_STATUSES = (404, 405, 501)
_MISSING_METADATA_HINT = "Requests are built from the model's metadata. Check target.model and the server log."


def find_unreachable_hint(report: PreflightDone, workload: Workload) -> str | None:
    """Return a hint if the target cannot be measured: no connection, no complete response, an empty
    response, no permission, a request that the server refuses, wrong protocol, or no metadata to
    build requests from.

    Return `None` if the preflight request succeeded, and for any other failure, such as status 429
    or 500: it may depend on the load, and is measured by the run."""
    if report.error is None:  # `workload.expect` accepts this status.
        return None
    hint = (
        _suggest_for_status(report.status, workload)
        or _ERROR_HINTS.get(report.status)
        or _ERROR_HINTS.get(report.error)
        or _NO_RESPONSE_HINTS.get(report.error)
        or (_EMPTY_RESPONSE_HINT if report.is_empty else None)
        or _suggest_for_refusal(report.status, workload)
    )
    return hint if report.can_send else hint or _MISSING_METADATA_HINT


def _suggest_for_status(status: int | None, workload: Workload) -> str | None:
    """Return a hint for a status that concerns the method, the API or the content type of the
    requests; `None` for any other status or workload."""
    match workload:
        case HttpWorkload() if status == 404:
            return "Check the path in target.url, and workload.path."
        case HttpWorkload() if status in _MISSING_API_STATUSES:
            return (
                f"The server does not accept {workload.method} at this path. Set workload.method, or correct the path."
            )
        case HttpWorkload() if status == 415:
            content_type = workload.content_type or "requests without a content type"
            return f"The server does not accept {content_type}. Set Content-Type in target.headers, or another body."
        case OpenAiWorkload() if status in _MISSING_API_STATUSES:
            return (
                f"The server may lack the {workload.api} API, or the model {workload.model!r}. "
                "Set target.protocol to an API that it has, check target.model, or correct the base URL in target.url."
            )
    return None


def _suggest_for_refusal(status: int | None, workload: Workload) -> str | None:
    """Return a hint for a client error without its own hint, which every request of the workload
    would get; `None` for any other status."""
    if status is None or not 400 <= status < 500 or status in _TEMPORARY_STATUSES:
        return None
    if isinstance(workload, HttpWorkload):
        return (
            "The server refuses this request. Check its body, method and headers; if this status is intended, set "
            f"workload.expect.status: {status}."
        )
    return "The server refuses this request. Check that workload matches the API of the server, and read its log."


def require_reachable_target(report: PreflightDone, url: str, workload: Workload) -> None:
    """Raise UnavailableError if the preflight request shows that the target cannot be measured."""
    hint = find_unreachable_hint(report, workload)
    if hint is not None:
        raise UnavailableError(f"{url} cannot be measured: {report.detail}", hint=hint)


def classify_load_error(error: LoadError, *, has_measured: bool) -> str | None:
    """Return the error message if the target was reached but the load failed; `None` if the worker
    itself failed.

    If nothing has been measured yet, raises UsageError for a workload that cannot be built, and
    UnavailableError for an unreachable target. Otherwise, the measured data is preserved and no
    error is raised."""
    if not has_measured and error.is_workload_invalid:
        raise UsageError(error.message, hint=error.hint) from error
    if not has_measured and error.error in _ERROR_HINTS:
        raise UnavailableError(error.message, hint=error.hint or _ERROR_HINTS[error.error]) from error
    return None if error.error is None else error.message


SCALE_UP_TIMEOUT_S = 600.0
"""Maximum time in s to wait for an endpoint that is scaled to zero. It exceeds the start time of
GPU nodes."""

_RETRY_PAUSE_S = 0.02
_RETRYABLE_ERRORS = ("connect", "send", "timeout", "truncated", "http-5xx")


class WaitContext(msgspec.Struct, frozen=True):
    """Clock, pause function and stop state that waiting loops need."""

    now_ns: Callable[[], int]
    pause: Callable[[float], None]
    interruption: Interruption


def wait_until_ready(server: StartedServer, start_spec: StartSpec, wait_context: WaitContext) -> None:
    """Wait until the readiness URL of the server responds with a 2xx status, or the user requests a
    stop.

    Raises UnavailableError if the start command ends before the server is ready, or if the timeout
    is exceeded."""
    name = start_spec.command[0]
    deadline_ns = wait_context.now_ns() + round(start_spec.timeout_s * 1e9)
    while not wait_context.interruption.is_requested:
        if server.is_ready():
            return
        if (end_reason := server.end_reason()) is not None:
            raise UnavailableError(
                f"target.start: {name} {end_reason} before it was ready", hint=_format_last_output_hint(server)
            )
        if wait_context.now_ns() >= deadline_ns:
            reason = (
                f"{name} was not ready within {start_spec.timeout_s:g} s: {start_spec.ready_url} returned no 2xx "
                "response"
            )
            raise UnavailableError(f"target.start: {reason}", hint=_format_last_output_hint(server))
        wait_context.pause(_RETRY_PAUSE_S)


def wait_for_response(
    generator: LoadGenerator,
    url: str,
    workload: Workload,
    timeout_s: float,
    get_end_reason: Callable[[], str | None],
    wait_context: WaitContext,
) -> PreflightDone:
    """Send preflight requests until one succeeds, and return its report. If none succeeds before
    the timeout or a stop, or if a failure cannot be retried, return the report of the last failure.

    Raises UnavailableError if the target cannot be measured, or if a process of the target has
    exited."""
    deadline_ns = wait_context.now_ns() + round(timeout_s * 1e9)
    while True:
        report = generator.preflight()
        if (end_text := get_end_reason()) is not None and report.error is not None:
            raise UnavailableError(f"{end_text} before its first response: {report.detail}")
        must_stop = wait_context.now_ns() >= deadline_ns or wait_context.interruption.is_requested
        if must_stop or not _is_retryable(report):
            require_reachable_target(report, url, workload)
            return report
        wait_context.pause(_RETRY_PAUSE_S)


def estimate_cold_start(
    start_ns: int,
    ready_ns: int | None,
    first_response_ns: int | None,
    steady_ns: int | None,
    *,
    has_warmup: bool = True,
) -> ColdStart:
    """Return the cold-start times since `start_ns`, in ms. A time is withheld if the target did not
    reach the state, or if the time cannot be measured."""
    unsteady_reason = "latency did not become stable during warm-up" if has_warmup else "load.warmup is 0s"
    return ColdStart(
        ready_ms=_estimate_elapsed(
            start_ns, ready_ns, "for an endpoint scaled to zero, readiness cannot be separated from the first response"
        ),
        first_response_ms=_estimate_elapsed(start_ns, first_response_ns, "the first request failed"),
        steady_ms=_estimate_elapsed(start_ns, steady_ns, unsteady_reason),
    )


def _estimate_elapsed(start_ns: int, end_ns: int | None, reason: str) -> Estimate:
    return Estimate(None, reason=reason) if end_ns is None else Estimate((end_ns - start_ns) / 1e6, n=1)


def _is_retryable(report: PreflightDone) -> bool:
    return report.error in _RETRYABLE_ERRORS or report.status == 429


def _format_last_output_hint(server: StartedServer) -> str | None:
    lines = server.last_lines()
    return "The last output was: " + "\n  ".join(lines) if lines else "The server printed no output."


_NO_KEEP_ALIVE_NOTE = (
    "The target closes the connection after each response despite keep-alive. Every request opened a new connection, "
    "which is included in its latency."
)


class TargetRunner:
    """Runner that starts and prepares the target of a run. Started resources are closed by
    `resources`."""

    def __init__(
        self,
        spec: RunSpec,
        dependencies: SessionDependencies,
        run_log: RunLog,
        wait_context: WaitContext,
        resources: ExitStack,
    ) -> None:
        self._spec, self._dependencies, self._run_log = spec, dependencies, run_log
        self._wait_context, self._resources = wait_context, resources
        self._server: StartedServer | None = None
        self._processes: list[tuple[str, Callable[[], str | None]]] = []
        """Name of each process started for the target, with a function that returns how the process
        ended."""
        self._start_ns = 0
        self._ready_ns: int | None = None
        self._first_response_ns: int | None = None
        self.endpoint = spec.endpoint
        self.preflight: PreflightDone | None = None

    @property
    def is_cold_start(self) -> bool:
        return self._spec.start is not None or self._spec.may_be_scaled_to_zero

    def start_built_in_server(self) -> None:
        """Start the embedded endpoint or the scripted server if the profile requests one of
        them."""
        if self._dependencies.start_scripted is not None:
            self._run_log.emit_phase("endpoint", "starting the scripted server")
            scripted_server = self._dependencies.start_scripted()
            self._resources.callback(scripted_server.close)
            self._processes.append(("the scripted server", scripted_server.end_reason))
            self._set_server(scripted_server.url, scripted_server.pid)
        if self._dependencies.start_endpoint is not None:
            self._run_log.emit_phase("endpoint", "starting the embedded endpoint")
            embedded_endpoint = self._dependencies.start_endpoint()
            self._resources.callback(embedded_endpoint.stop)
            self._processes.append(("the embedded endpoint", embedded_endpoint.end_reason))
            ready_report = embedded_endpoint.ready
            self._set_server(ready_report.base_url, embedded_endpoint.pid)
            if not any(check.id == "provider" for check in self._run_log.checks):
                self._run_log.add_check(
                    check_execution_provider(
                        ready_report.provider_requested,
                        ready_report.provider_used,
                        ready_report.fallback_nodes,
                        ready_report.provider_reason,
                    )
                )

    def send_preflight(self, generator: LoadGenerator) -> None:
        """Send the preflight request. Raises UnavailableError if the preflight request shows that
        the target cannot be measured."""
        is_locust = isinstance(self._spec.workload, LocustWorkload)
        self._run_log.emit_phase(
            "preflight", f"{'loading' if is_locust else 'sending one request to'} {self._display_name}"
        )
        generator.configure(self.endpoint, self._spec.workload)
        report = generator.preflight()
        require_reachable_target(report, self._display_name, self._spec.workload)
        self._dependencies.require_permission(report.hosts)
        self._apply_preflight(report, generator)

    def send_cold_preflight(self, generator: LoadGenerator) -> None:
        """Start the target's server or scale the endpoint up, and send preflight requests until one
        succeeds. Raises UnavailableError if the server does not start or the target cannot be
        measured."""
        generator.configure(self.endpoint, self._spec.workload)
        self._start_ns = self._dependencies.now_ns()
        timeout_s = SCALE_UP_TIMEOUT_S
        if self._spec.start is not None:
            timeout_s = self._spec.start.timeout_s
            self._start_server()
        self._run_log.emit_phase("preflight", f"sending requests to {self._display_name} until one succeeds")
        if self._wait_context.interruption.is_requested:
            return
        report = wait_for_response(
            generator, self._display_name, self._spec.workload, timeout_s, self.end_reason, self._wait_context
        )
        if report.error is None:
            self._first_response_ns = report.end_ns or self._dependencies.now_ns()
        self._apply_preflight(report, generator)
        cold_start = self.compute_cold_start(None)
        self._run_log.emit(
            events.TargetReady(
                self._dependencies.now_ns(), cold_start.ready_ms.value, cold_start.first_response_ms.value
            )
        )

    def end_reason(self) -> str | None:
        """Return which process of the target ended and how, such as "the scripted server was killed
        by SIGKILL"; `None` while all processes are running, or if the run started no process."""
        end_texts = ((name, get_end_reason()) for name, get_end_reason in self._processes)
        return next((f"{name} {end_text}" for name, end_text in end_texts if end_text is not None), None)

    def check_processes(self) -> Check | None:
        """Return an INVALID check if a process of the target exited during the run; `None`
        otherwise."""
        end_text = self.end_reason()
        if end_text is None:
            return None
        hint = "The target exited before the end of the measurement. Find the cause and measure again."
        if self._server is not None:
            lines = self._server.last_lines()
            hint += f" The last output was: {lines[-1]}" if lines else " The server printed no output."
        return Check(TARGET_PROCESS, end_text, None, None, "INVALID", hint)

    def compute_cold_start(self, steady_ns: int | None) -> ColdStart:
        has_warmup = self._spec.warmup_s > 0
        return estimate_cold_start(
            self._start_ns, self._ready_ns, self._first_response_ns, steady_ns, has_warmup=has_warmup
        )

    def _start_server(self) -> None:
        start_spec = self._spec.start
        assert start_spec is not None
        if self._dependencies.start_server is None:
            raise UsageError("target.start is not supported by this command", hint="Start the server before the run.")
        self._run_log.emit_phase("start", f"starting {start_spec.command[0]}")
        server = self._dependencies.start_server(start_spec)
        self._server, self._start_ns = server, server.started_ns
        self._processes.append(("target.start: the server", server.end_reason))
        self._resources.callback(server.stop)
        self._wait_context.interruption.set_exit_callback(server.kill)
        self._dependencies.telemetry.watch("endpoint", server.pid)
        wait_until_ready(server, start_spec, self._wait_context)
        if not self._wait_context.interruption.is_requested:
            self._ready_ns = self._dependencies.now_ns()

    def _set_server(self, url: str, pid: int) -> None:
        self._dependencies.telemetry.watch("endpoint", pid)
        self.endpoint = msgspec.structs.replace(self.endpoint, urls=(url,))

    def _apply_preflight(self, report: PreflightDone, generator: LoadGenerator) -> None:
        self.preflight = report
        if report.error is not None:
            self._run_log.emit_phase("preflight", f"the preflight request failed: {report.detail}")
            self._run_log.add_note(f"The preflight request failed: {report.detail}.")
        if not report.reuses_connection:
            self.endpoint = msgspec.structs.replace(self.endpoint, reuses_connections=False)
            generator.configure(self.endpoint, self._spec.workload)
            self._run_log.add_note(_NO_KEEP_ALIVE_NOTE)
        for note in report.notes:
            self._run_log.add_note(note)

    @property
    def _display_name(self) -> str:
        workload = self._spec.workload
        if isinstance(workload, LocustWorkload):
            return workload.file
        socket = self.endpoint.unix_socket
        return self.endpoint.urls[0] if socket is None else f"{self.endpoint.urls[0]} on {socket}"
