"""A target that is started or woken for the run: how long until it is ready, until it answers, until it is steady."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from app.errors import UnavailableError
from app.records.result import ColdStart, Estimate
from app.session.interruption import Interruption
from app.session.parts import Load, StartedServer
from app.session.preflight import require_reachable
from app.session.spec import StartSpec
from loadgen.records import PreflightDone

WAKE_LIMIT_S = 600.0
"""How long a sleeping endpoint is asked: more than nodes with accelerators take to come up."""

_PAUSE_S = 0.02
_NOT_YET = ("connect", "send", "timeout", "truncated", "http-5xx")


class Waiting(msgspec.Struct, frozen=True):
    """The clock to wait by, and the user's wish not to."""

    now_ns: Callable[[], int]
    pause: Callable[[float], None]
    interruption: Interruption


def await_ready(server: StartedServer, start: StartSpec, waiting: Waiting) -> None:
    """Returns when the readiness URL answers with 2xx, or when the user wishes to stop.

    Raises UnavailableError when the command ends before that, or takes too long.
    """
    name = start.command[0]
    deadline_ns = waiting.now_ns() + round(start.timeout_s * 1e9)
    while not waiting.interruption.is_requested:
        if server.is_ready():
            return
        if (ending := server.ending()) is not None:
            raise UnavailableError(f"target.start: {name} {ending} before it was ready", hint=_last(server))
        if waiting.now_ns() >= deadline_ns:
            why = f"{name} was not ready within {start.timeout_s:g} s: {start.ready_url} did not answer with 2xx"
            raise UnavailableError(f"target.start: {why}", hint=_last(server))
        waiting.pause(_PAUSE_S)


def await_answer(
    load: Load, url: str, limit_s: float, ending: Callable[[], str | None], waiting: Waiting
) -> PreflightDone:
    """The first success, or the last failure when none came in time or waiting would not help.

    Raises UnavailableError when there is nothing to measure in the end, or when the server's command has ended.
    """
    deadline_ns = waiting.now_ns() + round(limit_s * 1e9)
    while True:
        report = load.preflight()
        if (how := ending()) is not None and report.error is not None:
            raise UnavailableError(f"{how} before its first response: {report.detail}")
        is_over = waiting.now_ns() >= deadline_ns or waiting.interruption.is_requested
        if is_over or not _may_come(report):
            require_reachable(report, url)
            return report
        waiting.pause(_PAUSE_S)


def estimate_cold_start(
    began_ns: int, ready_ns: int | None, answered_ns: int | None, steady_ns: int | None, *, warms_up: bool = True
) -> ColdStart:
    """Milliseconds from `began_ns`; None where it never came to it, or where nothing tells."""
    unsteady = "no three warm-up windows in a row agreed" if warms_up else "load.warmup is 0s"
    return ColdStart(
        ready_ms=_since(began_ns, ready_ns, "an endpoint that is woken tells no readiness apart from its first answer"),
        first_answer_ms=_since(began_ns, answered_ns, "the first request was not answered with success"),
        steady_ms=_since(began_ns, steady_ns, unsteady),
    )


def _since(began_ns: int, at_ns: int | None, reason: str) -> Estimate:
    return Estimate(None, reason=reason) if at_ns is None else Estimate((at_ns - began_ns) / 1e6, n=1)


def _may_come(report: PreflightDone) -> bool:
    return report.error in _NOT_YET or report.status == 429


def _last(server: StartedServer) -> str | None:
    lines = server.last_lines()
    return "It said: " + "\n  ".join(lines) if lines else "It printed nothing."
