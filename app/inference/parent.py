"""Run child processes: return the output of a child process, or raise the error that it
reported."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import tempfile
import threading

import msgspec

from app.errors import ExitCode, MeasurementError, SizewiseError, UnavailableError, UsageError
from app.inference.memory import MEMORY_HINT, is_out_of_memory_message
from app.records.trial import Failure
from loadgen.child import start_module
from loadgen.decoding import decode_json
from reports.shortening import shorten

MODEL_TIMEOUT_HINT = "Use a smaller model."
_MAX_MESSAGE_LENGTH = 500
_SIGKILL = getattr(signal, "SIGKILL", 9)
_ERROR_CLASSES: dict[int, type[SizewiseError]] = {
    ExitCode.USAGE: UsageError,
    ExitCode.UNAVAILABLE: UnavailableError,
}
"""Error class by the exit code that a child process reports. All other exit codes map to MeasurementError."""
_UNINFORMATIVE_LINE = re.compile(
    r"\s*($|<no Python frame>|Current thread|Thread 0x|Extension modules:|Python runtime state:|File \""
    r"|Fatal Python error: (Aborted|Segmentation fault)$)"
)
"""Pattern of the lines that Python prints when it aborts, which state the position but not the
cause."""


class ChildKilledError(MeasurementError):
    """Error that is raised if a child process was ended by a signal, a resource limit, its timeout,
    or a fault in native code."""


class ChildTerminatedError(ChildKilledError):
    """Error that is raised if a child process was ended from outside by SIGKILL: by the operating
    system, which had no memory left, or by a user. The model is not the cause."""


def run_child(
    description: str, module: str, *arguments: str, timeout_s: float, timeout_hint: str | None = None
) -> bytes:
    """Run a child process and return its standard output. If the child process fails, raise the
    error that it reported.

    `description` identifies the child process in messages, such as "the measurement of
    digits.onnx". Raises ChildKilledError if the child process exceeds `timeout_s` or crashes."""
    has_timed_out = threading.Event()
    with tempfile.TemporaryFile() as error_file:
        process = start_module(module, *arguments, stdout=subprocess.PIPE, stderr=error_file)
        assert process.stdin is not None
        assert process.stdout is not None

        def kill_on_timeout() -> None:
            has_timed_out.set()
            process.kill()

        timer = threading.Timer(timeout_s, kill_on_timeout)
        timer.start()
        try:
            output = process.stdout.read()
            exit_code = process.wait()
        finally:
            timer.cancel()
            timer.join()
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
        error_file.seek(0)
        error_text = error_file.read().decode(errors="replace")
    if has_timed_out.is_set():
        raise ChildKilledError(
            f"{description} did not finish within {timeout_s:g} s and was stopped",
            hint=timeout_hint,
        )
    if exit_code != 0:
        raise build_child_error(description, exit_code, error_text, memory_hint="Free memory, or use a smaller model.")
    return output


def build_child_error(
    description: str, exit_code: int, error_text: str, *, memory_hint: str = MEMORY_HINT
) -> SizewiseError:
    """Return the error for a failed child process, given its exit code and the text of its standard
    error. `memory_hint` becomes the hint if the child process probably ran out of memory."""
    failure = _find_failure(error_text)
    if failure is not None:
        error_class = _ERROR_CLASSES.get(failure.exit_code, MeasurementError)
        hint = failure.hint and shorten(failure.hint, _MAX_MESSAGE_LENGTH)
        return error_class(shorten(failure.message, _MAX_MESSAGE_LENGTH), hint=hint)
    error_class = MeasurementError if exit_code >= 0 else ChildKilledError
    if -exit_code == _SIGKILL:
        error_class = ChildTerminatedError
    is_out_of_memory = -exit_code == _SIGKILL or is_out_of_memory_message(error_text)
    hint = memory_hint if is_out_of_memory else _find_last_line(error_text)
    return error_class(
        f"{description} {_describe_exit(exit_code)}{', possibly out of memory' if is_out_of_memory else ''}", hint=hint
    )


def _describe_exit(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exited with code {exit_code}"
    if -exit_code == _SIGKILL:
        return "was killed"
    if -exit_code == getattr(signal, "SIGPROF", 27):
        return "used more CPU time than expected from the size of the file"
    return f"crashed ({signal.Signals(-exit_code).name})"


def _find_failure(error_text: str) -> Failure | None:
    """Return the last failure in the standard error of a child process; `None` if there is none."""
    for line in reversed(error_text.splitlines()):
        with contextlib.suppress(msgspec.MsgspecError):
            return decode_json(line, Failure)
    return None


def _find_last_line(error_text: str) -> str | None:
    """Return the last informative line of the standard error of a child process; `None` if there is
    none."""
    lines = [line for line in error_text.splitlines() if not _UNINFORMATIVE_LINE.match(line)]
    return shorten(lines[-1].strip(), _MAX_MESSAGE_LENGTH) if lines else None
