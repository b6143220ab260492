"""Run a variant in a child process: return its reports, or raise the error that ended it."""

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
    Outputs,
    Report,
    Score,
    ScoreText,
    TextScored,
    VariantFailed,
    VariantJob,
    VariantMeasured,
    VariantOpened,
    VariantScored,
    read_report,
    write_message,
)
from app.inference.parent import ChildKilledError, build_child_error
from loadgen.child import SUSPENDED_HINT, StderrTail, SuspensionMonitor, start_module, wait_or_kill

_EXIT_TIMEOUT_S = 5.0
_POLL_S = 0.25
_GRACE_S = 60.0
"""Margin in s in the timeout of a scenario. After the timeout, the variant is considered hung."""
_WARMUP_FACTOR = 3
"""Factor applied to the duration of the warm-up of a test, which has at least one repetition, in the
timeout of its measurement."""
_TEST_HINT = "Use a shorter test, a smaller batch, or a smaller model."
_ERROR_CLASSES = {ExitCode.USAGE: UsageError, ExitCode.UNAVAILABLE: UnavailableError}

_AwaitedReport = TypeVar(
    "_AwaitedReport", VariantOpened, MeasurementStarted, VariantMeasured, Outputs, VariantScored, TextScored
)


class VariantProcess:
    """A variant that runs in a child process.

    `kill` may be called by any thread and by a signal handler, all other methods only by the thread
    that drives the variant. Methods raise UsageError, UnavailableError or MeasurementError if the
    variant has failed or its process has exited."""

    def __init__(self, description: str, job: VariantJob, *, environment: dict[str, str] | None = None) -> None:
        """Start the child process. `description` identifies the variant in messages; `environment`
        is added to the environment variables of this process."""
        self._description = description
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
        self._stderr_tail = StderrTail(cast(BinaryIO, self._process.stderr))
        self._reports: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, name="variant reports", daemon=True)
        self._listener.start()

    def wait_until_open(self, timeout_s: float) -> VariantOpened:
        """Wait until the variant is open, and return its report. This method must be called
        first."""
        return self._await_report(VariantOpened, timeout_s)

    @property
    def started_ns(self) -> int:
        return self._started_ns

    def measure(self, plan: Measure, on_report: Callable[[MeasurementStarted | CallRows], None]) -> VariantMeasured:
        """Run one scenario. `on_report` receives new calls as packed rows, and one report when the
        warm-up has finished."""
        self._send(plan)
        if plan.test is not None:
            return self._measure_test(plan, plan.test.name, on_report)
        timeout_s = plan.max_warmup_s + 2 * plan.max_duration_s + _GRACE_S
        return self._await_report(VariantMeasured, timeout_s, on_report)

    def _measure_test(
        self, plan: Measure, name: str, on_report: Callable[[MeasurementStarted | CallRows], None]
    ) -> VariantMeasured:
        """Run one test of a language model. How long a repetition takes is unknown until the first
        has ended, so the time that the warm-up took extends the timeout of the measurement."""
        sent_ns = perf_counter_ns()
        timeout_s = plan.max_warmup_s + plan.max_repetition_s
        started = self._await_report(MeasurementStarted, timeout_s, on_report, f"the warm-up of {name}", _TEST_HINT)
        warmup_s = (perf_counter_ns() - sent_ns) / 1e9
        on_report(started)
        timeout_s = 2 * plan.max_duration_s + _WARMUP_FACTOR * warmup_s + _GRACE_S
        return self._await_report(VariantMeasured, timeout_s, on_report, name, _TEST_HINT)

    def compute_outputs(self, rows: int, timeout_s: float) -> Outputs:
        self._send(ComputeOutputs(rows=rows))
        return self._await_report(Outputs, timeout_s)

    def score(self, timeout_s: float) -> VariantScored:
        self._send(Score())
        return self._await_report(VariantScored, timeout_s)

    def score_text(self, command: ScoreText, timeout_s: float) -> TextScored:
        self._send(command)
        return self._await_report(TextScored, timeout_s)

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """End the child process, and wait until it has exited and its memory is released."""
        with contextlib.suppress(OSError):  # The process has already exited, with a command still unread.
            self._stdin.close()
        wait_or_kill(_EXIT_TIMEOUT_S, self._process)
        self._listener.join()
        self._stderr_tail.wait()
        self._stdout.close()
        cast(BinaryIO, self._process.stderr).close()

    def _send(self, command: Command) -> None:
        try:
            write_message(self._stdin, command)
        except (OSError, ValueError) as error:
            raise self._build_exit_error() from error

    def _await_report(
        self,
        report_type: type[_AwaitedReport],
        timeout_s: float,
        on_report: Callable[[MeasurementStarted | CallRows], None] | None = None,
        work: str | None = None,
        timeout_hint: str = "Use a smaller model, a smaller batch, or a longer duration.",
    ) -> _AwaitedReport:
        """Wait for a report, and pass other reports to `on_report`. `work` names what the report
        ends, and `timeout_hint` what to change if it does not end in time."""
        deadline_ns = perf_counter_ns() + round(timeout_s * 1e9)
        suspension_monitor = SuspensionMonitor(self.pid)
        while True:
            remaining_s = max(0.0, (deadline_ns - perf_counter_ns()) / 1e9)
            try:
                report = self._reports.get(timeout=min(remaining_s, _POLL_S))
                suspension_monitor.reset()
            except queue.Empty:
                if suspension_monitor.add_silent_time(_POLL_S):
                    self.kill()
                    raise ChildKilledError(
                        f"{self._description} {suspension_monitor.message}", hint=SUSPENDED_HINT
                    ) from None
                if remaining_s > _POLL_S:
                    continue
                self.kill()
                work_text = "" if work is None else f" {work}"
                message = f"{self._description} did not finish{work_text} within {timeout_s:,.6g} s and was stopped"
                raise ChildKilledError(message, hint=timeout_hint) from None
            match report:
                case _ if isinstance(report, report_type):
                    return report
                case MeasurementStarted() | CallRows() if on_report is not None:
                    on_report(report)
                case VariantFailed(message=message, hint=hint, exit_code=exit_code):
                    raise _ERROR_CLASSES.get(ExitCode(exit_code), MeasurementError)(message, hint=hint)
                case None:
                    raise self._build_exit_error()

    def _build_exit_error(self) -> SizewiseError:
        exit_code = wait_or_kill(_EXIT_TIMEOUT_S, self._process)
        self._stderr_tail.wait(_EXIT_TIMEOUT_S)
        return build_child_error(self._description, exit_code, self._stderr_tail.text or "")

    def _listen(self) -> None:
        try:
            while (report := read_report(self._stdout)) is not None:
                self._reports.put(report)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Native code has overwritten a message, so the stream is unreadable.
            self._process.kill()
        finally:
            self._reports.put(None)
