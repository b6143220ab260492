"""Manage child processes of the engine: send commands, receive reports, and diagnose the loss of a
child. Commands and reports are frames on pipes."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO, BinaryIO, cast

import pyarrow as pa

from loadgen.frames import encode_message_frame, read_report
from loadgen.records import Command, Failed, Quit, Report, StopStage

_QUIT_TIMEOUT_S = 2.0
_POLL_INTERVAL_S = 0.25
_MAX_SUSPENDED_S = 3.0
"""Time in seconds after which a suspended child process counts as lost. Signals such as SIGSTOP
suspend a process; an overloaded machine only slows it down."""
SUSPENDED_HINT = (
    "A signal such as SIGSTOP suspended the process. Run again without suspending the processes of the run."
)
_MAX_STDERR_LINES = 20
_MAX_LINE_BYTES = 4096


class LoadError(Exception):
    """Error that is raised when the load worker cannot continue.

    `error` is one of ERROR_CLASSES if the target is at fault. `is_workload_invalid` is true if the
    settings of the endpoint or the workload are at fault. Otherwise the worker itself failed.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, error: str | None = None, is_workload_invalid: bool = False
    ) -> None:
        super().__init__(message)
        self.message, self.hint, self.error, self.is_workload_invalid = message, hint, error, is_workload_invalid


class ReportTimeoutError(LoadError):
    """Error that is raised when the child process sent no report within the timeout."""


class ProcessSuspendedError(LoadError):
    """Error that is raised when the child process has been suspended for too long, for example by
    SIGSTOP, and cannot send a report."""


def start_module(
    module: str,
    *args: str,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `python -m module` as a child process with a pipe as standard input. The child is
    expected to exit when the pipe is closed.

    The child has its own process group, so that Ctrl-C in a terminal does not reach the child. The
    option -P removes the working directory from the child's import path.
    """
    is_windows = sys.platform == "win32"
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, *args],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        env=env,
        start_new_session=not is_windows,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def wait_or_kill(timeout_s: float, child: subprocess.Popen[bytes]) -> int:
    """Wait for a child process to exit, and return its exit code. Kill the child if it has not
    exited within `timeout_s` seconds."""
    try:
        return child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def describe_exit(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # real-time signals between the first and the last have no name
        return f"was killed by signal {-code}"


def is_suspended(pid: int) -> bool:
    """Return True if a signal such as SIGSTOP has suspended the process.

    Return False if the OS does not report the process state; only Linux reports it. A process that
    waits, or that gets no CPU time, is not suspended.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[:1] == [b"T"]


def read_cpu_s(pid: int) -> float | None:
    """Return the total CPU time of the process and all of its threads in seconds, with a resolution
    of 10 ms.

    Return None if the OS does not report the CPU time; only Linux reports it.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        user_ticks, system_ticks = stat.rpartition(b")")[2].split()[11:13]
    except (OSError, ValueError):
        return None
    return (int(user_ticks) + int(system_ticks)) / os.sysconf("SC_CLK_TCK")


class SuspensionMonitor:
    """Monitor that detects when a process, from which a message is expected, has been suspended for
    too long, for example by SIGSTOP."""

    def __init__(self, pid: int) -> None:
        self._pid, self._suspended_s = pid, 0.0
        self._last_poll_s = time.monotonic()

    def poll(self) -> bool:
        """Update the time for which the process has been suspended. Return True if this time has
        reached the limit.

        If the process is suspended, add the time since the last call, otherwise reset the
        suspension time to 0. Call `poll` several times per second. A longer gap between two calls,
        for example because this process paused, counts as 0.5 s.
        """
        previous_poll_s, self._last_poll_s = self._last_poll_s, time.monotonic()
        return self.add_silent_time(min(self._last_poll_s - previous_poll_s, 2 * _POLL_INTERVAL_S))

    def add_silent_time(self, duration_s: float) -> bool:
        """Add `duration_s` seconds without a message to the suspension time if the process is
        suspended, otherwise reset the suspension time to 0. Return True if the suspension time has
        reached the limit."""
        self._suspended_s = self._suspended_s + duration_s if is_suspended(self._pid) else 0.0
        return self._suspended_s >= _MAX_SUSPENDED_S

    def reset(self) -> None:
        """Reset the suspension time to 0, because a message has been received."""
        self._suspended_s = 0.0

    @property
    def message(self) -> str:
        return f"has not responded for {_MAX_SUSPENDED_S:g} s: process {self._pid} is suspended"


class ChildExit:
    """Observer of how a child process ends: by exiting, by a signal, or by a long suspension."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child, self._suspension = child, SuspensionMonitor(child.pid)
        self._was_suspended = False

    def describe(self) -> str | None:
        """Return how the child process exited, such as "exited with code 1"; None while the process
        runs.

        A child that has been suspended for too long counts as ended, even if the child is resumed
        later.
        """
        code = self._child.poll()
        if code is not None:
            return describe_exit(code)
        self._was_suspended = self._was_suspended or self._suspension.poll()
        return "was suspended by a signal such as SIGSTOP" if self._was_suspended else None


class StderrTail:
    """Last lines of a child's standard error. A separate thread reads the standard error, so that
    the child never blocks on writing."""

    def __init__(self, stderr: IO[bytes]) -> None:
        self._stderr = stderr
        self._lines: deque[str] = deque(maxlen=_MAX_STDERR_LINES)
        self._reader_thread = threading.Thread(target=self._read, name="stderr-tail", daemon=True)
        self._reader_thread.start()

    @property
    def text(self) -> str | None:
        return "\n".join(self._lines) or None

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the child has closed its standard error and all lines have been read, but at
        most `timeout_s` seconds."""
        self._reader_thread.join(timeout_s)

    def _read(self) -> None:
        while line := self._stderr.readline(_MAX_LINE_BYTES):
            self._lines.append(line.decode(errors="replace").rstrip())


class Child:
    """A child process that receives commands and sends reports.

    `write` may be called from a signal handler, and `interrupt` from any thread. All other methods
    must be called from a single thread.
    """

    def __init__(self, module: str) -> None:
        self._process = start_module(module, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.pid = self._process.pid
        self._stdin = cast(IO[bytes], self._process.stdin)
        if sys.platform != "win32":
            os.set_blocking(self._stdin.fileno(), False)
        self._received_reports: queue.SimpleQueue[Report | pa.RecordBatch | StopStage | None] = queue.SimpleQueue()
        self._stderr_tail = StderrTail(cast(IO[bytes], self._process.stderr))
        self._failure: Failed | None = None
        self._suspension = SuspensionMonitor(self.pid)
        self._reader_thread = threading.Thread(target=self._read_reports, name="load-reports", daemon=True)
        self._reader_thread.start()

    def send(self, command: Command) -> None:
        """Send a command. Raises LoadError if the child can no longer receive commands."""
        try:
            self.write(command)
        except (OSError, ValueError) as error:
            raise self._build_lost_error() from error

    def write(self, command: Command) -> None:
        """Send a command, also from a signal handler. Raises OSError or ValueError if the child can
        no longer receive commands."""
        # Bypass the buffer: a short frame is then a single write, which a signal handler may do at
        # any point of a stage.
        frame = memoryview(encode_message_frame(command))
        while frame:
            try:
                frame = frame[os.write(self._stdin.fileno(), frame) :]
            except BlockingIOError:
                self._wait_until_writable()

    def _wait_until_writable(self) -> None:
        """Wait until the pipe accepts data. Raises BlockingIOError if the child is suspended and
        does not read from the pipe."""
        poller = select.poll()
        poller.register(self._stdin.fileno(), select.POLLOUT)
        suspension = SuspensionMonitor(self.pid)
        while not poller.poll(_POLL_INTERVAL_S * 1e3):
            if suspension.add_silent_time(_POLL_INTERVAL_S):
                raise BlockingIOError

    def receive_report(self, timeout_s: float, busy_timeout_s: float = 0.0) -> Report | pa.RecordBatch | StopStage:
        """Return the next report. Raises LoadError if the child fails or is lost, and
        ReportTimeoutError if no report is received within `timeout_s`.

        An overloaded machine can delay a child. During the first `busy_timeout_s` seconds, a time
        slice in which the child used the CPU therefore counts toward the timeout only by the CPU
        time used. A time slice in which the child used no CPU time counts in full.
        """
        report = self._wait_for_report(timeout_s, busy_timeout_s)
        if report is None:
            raise self._build_lost_error()
        if isinstance(report, Failed):
            raise self._build_load_error(report)
        return report

    def _wait_for_report(self, timeout_s: float, busy_timeout_s: float) -> Report | pa.RecordBatch | StopStage | None:
        """Wait for a report in short time slices; return None if the child has closed its pipe.

        A pause of this process counts as one time slice and is therefore not attributed to the
        child.
        """
        slice_s = min(timeout_s, _POLL_INTERVAL_S)
        silent_s = counted_s = 0.0
        cpu_s = read_cpu_s(self.pid)
        while counted_s < timeout_s:
            with contextlib.suppress(queue.Empty):
                report = self._received_reports.get(timeout=slice_s)
                self._suspension.reset()
                return report
            if self._suspension.add_silent_time(slice_s):
                raise self._build_suspended_error()
            silent_s += slice_s
            previous_cpu_s, cpu_s = cpu_s, read_cpu_s(self.pid)
            slice_cpu_s = 0.0 if previous_cpu_s is None or cpu_s is None else cpu_s - previous_cpu_s
            counted_s += min(slice_cpu_s, slice_s) if slice_cpu_s > 0 and silent_s < busy_timeout_s else slice_s
        message = f"the load worker has not responded for {silent_s:g} s"
        raise ReportTimeoutError(message, hint=self._stderr_tail.text)

    def _build_suspended_error(self) -> ProcessSuspendedError:
        return ProcessSuspendedError(f"the load worker {self._suspension.message}", hint=SUSPENDED_HINT)

    def interrupt(self, stop: StopStage) -> None:
        """Make `receive_report` return `stop` after all reports that have already been received."""
        self._received_reports.put(stop)

    def close(self) -> None:
        """Send Quit to the child process, and kill the child if it does not exit within two
        seconds."""
        with contextlib.suppress(OSError, ValueError):  # the child has exited already
            self.write(Quit())
        self._stdin.close()
        wait_or_kill(0.0 if is_suspended(self.pid) else _QUIT_TIMEOUT_S, self._process)
        self._reader_thread.join()
        self._stderr_tail.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            cast(IO[bytes], pipe).close()

    def _build_load_error(self, failed: Failed) -> LoadError:
        is_explained = (
            failed.is_workload_invalid or failed.error is not None
        )  # the worker's standard error has no further information
        return LoadError(
            failed.message,
            hint=failed.hint or (None if is_explained else self._stderr_tail.text),
            error=failed.error,
            is_workload_invalid=failed.is_workload_invalid,
        )

    def _build_lost_error(self) -> LoadError:
        try:
            code = self._process.wait(_QUIT_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            if is_suspended(self.pid):
                return self._build_suspended_error()
            return LoadError("the load worker closed its pipe", hint=self._stderr_tail.text)
        # The reason for the exit and the standard error may still be in the pipes.
        self._reader_thread.join(_QUIT_TIMEOUT_S)
        self._stderr_tail.wait(_QUIT_TIMEOUT_S)
        if self._failure is not None:
            return self._build_load_error(self._failure)
        return LoadError(f"the load worker {describe_exit(code)}", hint=self._stderr_tail.text)

    def _read_reports(self) -> None:
        stream = cast(BinaryIO, self._process.stdout)
        try:
            while (report := read_report(stream)) is not None:
                if isinstance(report, Failed):
                    self._failure = report
                self._received_reports.put(report)
        finally:
            self._received_reports.put(None)
