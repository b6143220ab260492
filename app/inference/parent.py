"""The parent's side of a child process: its answer, or in our words what went wrong."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
import threading

from app.errors import ExitCode, InstrumentError, SizewiseError, UnavailableError, UsageError
from app.inference.memory import MORE_MEMORY, tells_of_want
from loadgen.child import start_module

_SENTENCE_LIMIT = 500
_SIGKILL = getattr(signal, "SIGKILL", 9)
_SAYS_NOTHING = re.compile(
    r"\s*($|<no Python frame>|Current thread|Thread 0x|Extension modules:|Python runtime state:|File \""
    r"|Fatal Python error: (Aborted|Segmentation fault)$)"
)
"""What Python writes of itself when it is aborted: where it was, not why."""


class ChildKilledError(InstrumentError):
    """The child was ended from outside or by a fault in native code: a signal, a limit, its time."""


def answer_of(what: str, module: str, *arguments: str, timeout_s: float) -> bytes:
    """All that a child writes to standard output, once it has ended well; raises the error it told otherwise.

    `what` names the child in sentences, as in "the measurement of digits.onnx".
    """
    overdue = threading.Event()
    with tempfile.TemporaryFile() as errors:
        process = start_module(module, *arguments, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdin is not None
        assert process.stdout is not None

        def cut() -> None:
            overdue.set()
            process.kill()

        timer = threading.Timer(timeout_s, cut)
        timer.start()
        try:
            answer = process.stdout.read()
            code = process.wait()
        finally:
            timer.cancel()
            timer.join()
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
        errors.seek(0)
        text = errors.read().decode(errors="replace")
    if overdue.is_set():
        raise ChildKilledError(
            f"{what} did not end within {timeout_s:g} s and was stopped",
            hint="Use a smaller model, fewer batch sizes or a shorter time.",
        )
    if code != 0:
        raise error_told(what, code, text, more_memory="Free some memory, or use a smaller model.")
    return answer


def error_told(what: str, code: int, text: str, *, more_memory: str = MORE_MEMORY) -> SizewiseError:
    """The error of a child that ended with this code and wrote this to standard error.

    `more_memory` is the hint where it seems to have had too little.
    """
    told = _line(text, "error: ")
    hint = _line(text, "hint: ")
    if told is not None and code == ExitCode.USAGE:
        return UsageError(told, hint=hint)
    if told is not None and code == ExitCode.UNAVAILABLE:
        return UnavailableError(told, hint=hint)
    if told is not None:
        return InstrumentError(told, hint=hint)
    ended = InstrumentError if code >= 0 else ChildKilledError
    is_want = -code == _SIGKILL or tells_of_want(text)
    hint = more_memory if is_want else _last_line(text)
    return ended(f"{what} {_ending(code)}{', perhaps for want of memory' if is_want else ''}", hint=hint)


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    if -code == _SIGKILL:
        return "was killed"
    if -code == getattr(signal, "SIGPROF", 27):
        return "took more processor time than a model of its size needs"
    return f"crashed ({signal.Signals(-code).name})"


def _line(text: str, prefix: str) -> str | None:
    found = [line for line in text.splitlines() if line.startswith(prefix)]
    return found[-1].removeprefix(prefix)[:_SENTENCE_LIMIT] if found else None


def _last_line(text: str) -> str | None:
    """That says something."""
    lines = [line for line in text.splitlines() if not _SAYS_NOTHING.match(line)]
    return lines[-1].strip()[:_SENTENCE_LIMIT] if lines else None
