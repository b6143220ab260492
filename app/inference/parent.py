"""The parent's side of a child process: returns its output, or raises its error in our own words."""

from __future__ import annotations

import re
import signal
import subprocess
import tempfile
import threading

from app.errors import ExitCode, MeasurementError, SizewiseError, UnavailableError, UsageError
from app.inference.memory import MEMORY_HINT, tells_of_want
from loadgen.child import start_module

_MAX_MESSAGE_LENGTH = 500
_SIGKILL = getattr(signal, "SIGKILL", 9)
_UNINFORMATIVE = re.compile(
    r"\s*($|<no Python frame>|Current thread|Thread 0x|Extension modules:|Python runtime state:|File \""
    r"|Fatal Python error: (Aborted|Segmentation fault)$)"
)
"""Lines that Python prints when it is aborted: they say where it was, not why."""


class ChildKilledError(MeasurementError):
    """Raised if the child was ended from outside or by a fault in native code: a signal, a limit, or its timeout."""


def run_child(description: str, module: str, *arguments: str, timeout_s: float) -> bytes:
    """Run a child process and return what it writes to standard output; raise the error that it reported.

    `description` names the child in messages, as in "the measurement of digits.onnx".
    """
    overdue = threading.Event()
    with tempfile.TemporaryFile() as errors:
        process = start_module(module, *arguments, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdin is not None
        assert process.stdout is not None

        def kill_overdue() -> None:
            overdue.set()
            process.kill()

        timer = threading.Timer(timeout_s, kill_overdue)
        timer.start()
        try:
            output = process.stdout.read()
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
            f"{description} did not finish within {timeout_s:g} s and was stopped",
            hint="Use a smaller model, fewer batch sizes or a shorter duration.",
        )
    if code != 0:
        raise child_error(description, code, text, memory_hint="Free some memory, or use a smaller model.")
    return output


def child_error(description: str, code: int, text: str, *, memory_hint: str = MEMORY_HINT) -> SizewiseError:
    """Return the error of a child that ended with this exit code and this standard error output.

    `memory_hint` is the hint if it seems to have run out of memory.
    """
    message = _line(text, "error: ")
    hint = _line(text, "hint: ")
    if message is not None and code == ExitCode.USAGE:
        return UsageError(message, hint=hint)
    if message is not None and code == ExitCode.UNAVAILABLE:
        return UnavailableError(message, hint=hint)
    if message is not None:
        return MeasurementError(message, hint=hint)
    error_type = MeasurementError if code >= 0 else ChildKilledError
    is_out_of_memory = -code == _SIGKILL or tells_of_want(text)
    hint = memory_hint if is_out_of_memory else _last_line(text)
    return error_type(
        f"{description} {_ending(code)}{', possibly out of memory' if is_out_of_memory else ''}", hint=hint
    )


def _ending(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    if -code == _SIGKILL:
        return "was killed"
    if -code == getattr(signal, "SIGPROF", 27):
        return "took more CPU time than expected from the size of the model"
    return f"crashed ({signal.Signals(-code).name})"


def _line(text: str, prefix: str) -> str | None:
    matches = [line for line in text.splitlines() if line.startswith(prefix)]
    return matches[-1].removeprefix(prefix)[:_MAX_MESSAGE_LENGTH] if matches else None


def _last_line(text: str) -> str | None:
    """Return the last line that carries information, or `None`."""
    lines = [line for line in text.splitlines() if not _UNINFORMATIVE.match(line)]
    return lines[-1].strip()[:_MAX_MESSAGE_LENGTH] if lines else None
