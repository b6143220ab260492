"""A variant in a process of its own, from the engine's side: returns its reports, or raises how it ended."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import threading
from collections.abc import Callable
from time import perf_counter_ns
from typing import BinaryIO, TypeVar, cast

import msgspec

from app.errors import ExitCode, MeasurementError, SizewiseError, UnavailableError, UsageError
from app.inference.job import (
    CallRows,
    Command,
    ComputeOutputs,
    Measure,
    MeasurementStarted,
    Opened,
    Outputs,
    Report,
    Score,
    Scored,
    VariantFailed,
    VariantJob,
    VariantMeasured,
    read_report,
    write_message,
)
from app.inference.parent import ChildKilledError, child_error
from loadgen.child import SUSPENDED_HINT, StderrTail, SuspensionMonitor, start_module, terminate_within

_EXIT_LIMIT_S = 5.0
_POLL_S = 0.25
_GRACE_S = 60.0
"""Extra seconds beyond the maximum time of a stage: a call that takes longer is considered hung."""
_ERRORS = {ExitCode.USAGE: UsageError, ExitCode.UNAVAILABLE: UnavailableError}

_Reply = TypeVar("_Reply", Opened, VariantMeasured, Outputs, Scored)


class VariantProcess:
    """A variant in a child process.

    `kill` may be called by any thread and by a signal handler; everything else only by the thread that drives it.
    Methods raise UsageError, UnavailableError or InstrumentError for what ended the variant, whose process is then
    gone.
    """

    def __init__(self, description: str, job: VariantJob, *, environment: dict[str, str] | None = None) -> None:
        """Start the process. `description` names it in messages; `environment` is added to that of this process."""
        self._name = description
        self._started_ns = perf_counter_ns()
        self._process = start_module(
            "app.inference.worker",
            msgspec.json.encode(job).decode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if environment is None else os.environ | environment,
        )
        self.pid = self._process.pid
        self._stdin = cast(BinaryIO, self._process.stdin)
        self._stdout = cast(BinaryIO, self._process.stdout)
        self._last_words = StderrTail(cast(BinaryIO, self._process.stderr))
        self._reports: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, name="variant reports", daemon=True)
        self._listener.start()

    def wait_until_open(self, timeout_s: float) -> Opened:
        """Return the report of the opened variant; must be called first. Start times count from the start of the
        process.
        """
        return self._next(Opened, timeout_s)

    @property
    def started_ns(self) -> int:
        return self._started_ns

    def measure(self, plan: Measure, on_report: Callable[[MeasurementStarted | CallRows], None]) -> VariantMeasured:
        """Run one scenario. `on_report` receives packed rows as they arrive, and a report when the warm-up is over."""
        self._send(plan)
        limit_s = plan.max_warmup_s + 2 * plan.max_duration_s + _GRACE_S
        return self._next(VariantMeasured, limit_s, on_report)

    def compute_outputs(self, rows: int, timeout_s: float) -> Outputs:
        self._send(ComputeOutputs(rows=rows))
        return self._next(Outputs, timeout_s)

    def score(self, timeout_s: float) -> Scored:
        self._send(Score())
        return self._next(Scored, timeout_s)

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """End the process, and wait until it has exited and its memory is released."""
        with contextlib.suppress(OSError):  # It has already exited, with a command still unread.
            self._stdin.close()
        terminate_within(_EXIT_LIMIT_S, self._process)
        self._listener.join()
        self._last_words.wait()
        self._stdout.close()
        cast(BinaryIO, self._process.stderr).close()

    def _send(self, command: Command) -> None:
        try:
            write_message(self._stdin, command)
        except (OSError, ValueError) as error:
            raise self._end_error() from error

    def _next(
        self,
        kind: type[_Reply],
        within_s: float,
        on_told: Callable[[MeasurementStarted | CallRows], None] | None = None,
    ) -> _Reply:
        deadline_ns = perf_counter_ns() + round(within_s * 1e9)
        suspension = SuspensionMonitor(self.pid)
        while True:
            left_s = max(0.0, (deadline_ns - perf_counter_ns()) / 1e9)
            try:
                report = self._reports.get(timeout=min(left_s, _POLL_S))
                suspension.reset()
            except queue.Empty:
                if suspension.add_silence(_POLL_S):
                    self.kill()
                    raise ChildKilledError(f"{self._name} {suspension.message}", hint=SUSPENDED_HINT) from None
                if left_s > _POLL_S:
                    continue
                self.kill()
                message = f"{self._name} did not finish within {within_s:g} s and was stopped"
                raise ChildKilledError(message, hint="Use a smaller model, a smaller batch or more time.") from None
            match report:
                case MeasurementStarted() | CallRows() if on_told is not None:
                    on_told(report)
                case VariantFailed(message=message, hint=hint, exit_code=code):
                    raise _ERRORS.get(ExitCode(code), MeasurementError)(message, hint=hint)
                case None:
                    raise self._end_error()
                case _ if isinstance(report, kind):
                    return report

    def _end_error(self) -> SizewiseError:
        code = terminate_within(_EXIT_LIMIT_S, self._process)
        self._last_words.wait(_EXIT_LIMIT_S)
        return child_error(self._name, code, self._last_words.text or "")

    def _listen(self) -> None:
        try:
            while (report := read_report(self._stdout)) is not None:
                self._reports.put(report)
        except (
            msgspec.DecodeError,
            UnicodeDecodeError,
        ):  # Native code has overwritten a message, so nothing after it can be read.
            self._process.kill()
        finally:
            self._reports.put(None)
