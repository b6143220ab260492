"""A variant in a process of its own, from the engine's side: what it answers, or in our words how it ended."""

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

from app.errors import ExitCode, InstrumentError, SizewiseError, UnavailableError, UsageError
from app.inference.job import (
    Began,
    Calls,
    Command,
    GiveOutputs,
    Measure,
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
from app.inference.parent import ChildKilledError, error_told
from loadgen.child import HINT_STOPPED, LastWords, Suspension, end_within, start_module

_LEAVE_S = 5.0
_SLICE_S = 0.25
_PATIENCE_S = 60.0
"""Beyond the time that a stage may take: a call that has not ended by then never will, or nobody would wait for it."""
_ERRORS = {ExitCode.USAGE: UsageError, ExitCode.UNAVAILABLE: UnavailableError}

_Answer = TypeVar("_Answer", Opened, VariantMeasured, Outputs, Scored)


class VariantProcess:
    """`kill` may be called by any thread and by a signal handler; all else by the one that drives it.

    Methods raise UsageError, UnavailableError or InstrumentError for what ended the variant; the process is then gone.
    """

    def __init__(self, what: str, job: VariantJob, *, environment: dict[str, str] | None = None) -> None:
        """`what` names it in sentences; `environment` is added to this process's."""
        self._what = what
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
        self._last_words = LastWords(cast(BinaryIO, self._process.stderr))
        self._heard: queue.SimpleQueue[Report | None] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, name="variant reports", daemon=True)
        self._listener.start()

    def opened(self, within_s: float) -> Opened:
        """To be asked for first. Times of the start are counted from when this process was made."""
        return self._next(Opened, within_s)

    @property
    def started_ns(self) -> int:
        return self._started_ns

    def measure(self, plan: Measure, on_told: Callable[[Began | Calls], None]) -> VariantMeasured:
        """`on_told` takes packed rows as they come, and in between that the warm-up is over."""
        self._tell(plan)
        limit_s = plan.warmup_most_s + 2 * plan.most_s + _PATIENCE_S
        return self._next(VariantMeasured, limit_s, on_told)

    def give_outputs(self, rows: int, within_s: float) -> Outputs:
        self._tell(GiveOutputs(rows=rows))
        return self._next(Outputs, within_s)

    def score(self, within_s: float) -> Scored:
        self._tell(Score())
        return self._next(Scored, within_s)

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        """End it, and wait until it is gone and its memory is back with the system."""
        with contextlib.suppress(OSError):  # it is gone already, with a command still to be read
            self._stdin.close()
        end_within(_LEAVE_S, self._process)
        self._listener.join()
        self._last_words.wait()
        self._stdout.close()
        cast(BinaryIO, self._process.stderr).close()

    def _tell(self, command: Command) -> None:
        try:
            write_message(self._stdin, command)
        except (OSError, ValueError) as error:
            raise self._ended() from error

    def _next(
        self,
        kind: type[_Answer],
        within_s: float,
        on_told: Callable[[Began | Calls], None] | None = None,
    ) -> _Answer:
        deadline_ns = perf_counter_ns() + round(within_s * 1e9)
        suspension = Suspension(self.pid)
        while True:
            left_s = max(0.0, (deadline_ns - perf_counter_ns()) / 1e9)
            try:
                report = self._heard.get(timeout=min(left_s, _SLICE_S))
                suspension.end()
            except queue.Empty:
                if suspension.lasts(_SLICE_S):
                    self.kill()
                    raise ChildKilledError(f"{self._what} {suspension.message}", hint=HINT_STOPPED) from None
                if left_s > _SLICE_S:
                    continue
                self.kill()
                message = f"{self._what} did not end within {within_s:g} s and was stopped"
                raise ChildKilledError(message, hint="Use a smaller model, a smaller batch or more time.") from None
            match report:
                case Began() | Calls() if on_told is not None:
                    on_told(report)
                case VariantFailed(message=message, hint=hint, exit_code=code):
                    raise _ERRORS.get(ExitCode(code), InstrumentError)(message, hint=hint)
                case None:
                    raise self._ended()
                case _ if isinstance(report, kind):
                    return report

    def _ended(self) -> SizewiseError:
        code = end_within(_LEAVE_S, self._process)
        self._last_words.wait(_LEAVE_S)
        return error_told(self._what, code, self._last_words.text or "")

    def _listen(self) -> None:
        try:
            while (report := read_report(self._stdout)) is not None:
                self._heard.put(report)
        except (
            msgspec.DecodeError,
            UnicodeDecodeError,
        ):  # native code has written over a message: nothing after it can be read
            self._process.kill()
        finally:
            self._heard.put(None)
