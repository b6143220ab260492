"""A child of the engine's that speaks in frames: written to, listened to, and heard out when it is lost."""

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

from loadgen.frames import message_frame, read_report
from loadgen.records import Command, Failed, Quit, Report, StopStage

_QUIT_S = 2.0
_SLICE_S = 0.25
_MAX_STOPPED_S = 3.0
"""How long a child's process may be stopped, as by SIGSTOP. A busy machine stops none, however slow it is."""
HINT_STOPPED = "A signal such as SIGSTOP suspended it. Run again, and leave the processes of the run alone."
_STDERR_LINES = 20
_MOST_OF_A_LINE = 4096


class LoadError(Exception):
    """The load worker cannot go on. `error` is one of ERROR_CLASSES when the target is at fault; `is_workload_wrong`
    when the endpoint's or workload's own settings are; with neither the worker itself failed."""

    def __init__(
        self, message: str, *, hint: str | None = None, error: str | None = None, is_workload_wrong: bool = False
    ) -> None:
        super().__init__(message)
        self.message, self.hint, self.error, self.is_workload_wrong = message, hint, error, is_workload_wrong


class SilenceError(LoadError):
    """Nothing was heard for as long as was to be waited."""


class StoppedError(LoadError):
    """The child's process is stopped, so that waiting is of no use."""


def start_module(
    module: str,
    *args: str,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """`python -m module` as a child that leaves when its standard input closes, as every child of ours does.

    A group of its own keeps a terminal's Ctrl-C from it; -P keeps the working directory off its path.
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


def end_within(within_s: float, child: subprocess.Popen[bytes]) -> int:
    """The exit code of a child that was told to leave; by force, where it has not left by then. Blocks."""
    try:
        return child.wait(within_s)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # real-time signals between the first and the last have no name
        return f"was killed by signal {-code}"


def is_stopped(pid: int) -> bool:
    """Whether a signal such as SIGSTOP has suspended the process; False where the system does not report it, as only
    Linux does. A process that waits, or that gets no core, is not stopped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
    return stat.rpartition(b")")[2].split()[:1] == [b"T"]


def used_cpu_s(pid: int) -> float | None:
    """Processor time of the process and all its threads so far, in steps of 10 ms; None where the system does not
    report it, as only Linux does."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        user, system = stat.rpartition(b")")[2].split()[11:13]
    except (OSError, ValueError):
        return None
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


class Suspension:
    """Whether a process that is waited for has been stopped for longer than happens by the way."""

    def __init__(self, pid: int) -> None:
        self._pid, self._stopped_s = pid, 0.0
        self._looked_s = time.monotonic()

    def is_seen_to_last(self) -> bool:
        """To be asked again and again; of a pause between two questions, as of this process, little counts."""
        before_s, self._looked_s = self._looked_s, time.monotonic()
        return self.lasts(min(self._looked_s - before_s, 2 * _SLICE_S))

    def lasts(self, slice_s: float) -> bool:
        """To be asked after each `slice_s` in which nothing came."""
        self._stopped_s = self._stopped_s + slice_s if is_stopped(self._pid) else 0.0
        return self._stopped_s >= _MAX_STOPPED_S

    def end(self) -> None:
        """Something came."""
        self._stopped_s = 0.0

    @property
    def message(self) -> str:
        return f"has not responded for {_MAX_STOPPED_S:g} s: process {self._pid} is stopped"


class Ending:
    """How a child that is to run ended: `how()` is None while it runs."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self._child, self._suspension = child, Suspension(child.pid)
        self._was_stopped = False

    def how(self) -> str | None:
        """A child that stays stopped has ended for whoever waits for its responses, even if it is continued later."""
        code = self._child.poll()
        if code is not None:
            return how_it_ended(code)
        self._was_stopped = self._was_stopped or self._suspension.is_seen_to_last()
        return "was stopped by a signal such as SIGSTOP" if self._was_stopped else None


class LastWords:
    """The last lines on a child's standard error, read by a thread of its own, so that it never waits to be heard."""

    def __init__(self, stderr: IO[bytes]) -> None:
        self._stderr = stderr
        self._lines: deque[str] = deque(maxlen=_STDERR_LINES)
        self._reader = threading.Thread(target=self._read, name="last-words", daemon=True)
        self._reader.start()

    @property
    def text(self) -> str | None:
        return "\n".join(self._lines) or None

    def wait(self, within_s: float | None = None) -> None:
        """Until all has been read, which ends with the child, or for so long."""
        self._reader.join(within_s)

    def _read(self) -> None:
        while line := self._stderr.readline(_MOST_OF_A_LINE):
            self._lines.append(line.decode(errors="replace").rstrip())


class Child:
    """`write` may be called by a signal handler, `interrupt` by any thread; all else by the one that drives it."""

    def __init__(self, module: str) -> None:
        self._process = start_module(module, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.pid = self._process.pid
        self._stdin = cast(IO[bytes], self._process.stdin)
        if sys.platform != "win32":
            os.set_blocking(self._stdin.fileno(), False)
        self._heard: queue.SimpleQueue[Report | pa.RecordBatch | StopStage | None] = queue.SimpleQueue()
        self._last_words = LastWords(cast(IO[bytes], self._process.stderr))
        self._failure: Failed | None = None
        self._suspension = Suspension(self.pid)
        self._listener = threading.Thread(target=self._listen, name="load-reports", daemon=True)
        self._listener.start()

    def tell(self, command: Command) -> None:
        """Raises LoadError when nobody hears it."""
        try:
            self.write(command)
        except (OSError, ValueError) as error:
            raise self._lost() from error

    def write(self, command: Command) -> None:
        """Raises OSError or ValueError when nobody hears it."""
        # past the buffer: a short frame is then one write, which a signal handler may do at any moment of a stage
        frame = memoryview(message_frame(command))
        while frame:
            try:
                frame = frame[os.write(self._stdin.fileno(), frame) :]
            except BlockingIOError:
                self._wait_for_room()

    def _wait_for_room(self) -> None:
        """Raises BlockingIOError when the child is stopped and will read nothing."""
        poll = select.poll()
        poll.register(self._stdin.fileno(), select.POLLOUT)
        suspension = Suspension(self.pid)
        while not poll.poll(_SLICE_S * 1e3):
            if suspension.lasts(_SLICE_S):
                raise BlockingIOError

    def next(self, patience_s: float, busy_patience_s: float = 0.0) -> Report | pa.RecordBatch | StopStage:
        """What is told next. Raises LoadError for a failure and when the child is lost, SilenceError for nothing.

        A busy machine silences a child, too. Up to `busy_patience_s`, what counts of the time in which it used the
        processor is how long it used it; a child that used none waits for something else than the processor.
        """
        report = self._wait(patience_s, busy_patience_s)
        if report is None:
            raise self._lost()
        if isinstance(report, Failed):
            raise self._told(report)
        return report

    def _wait(self, patience_s: float, busy_patience_s: float) -> Report | pa.RecordBatch | StopStage | None:
        """In slices, so that a pause of this process is one slice of silence, and not the child's."""
        slice_s = min(patience_s, _SLICE_S)
        silent_s = counted_s = 0.0
        used_s = used_cpu_s(self.pid)
        while counted_s < patience_s:
            with contextlib.suppress(queue.Empty):
                report = self._heard.get(timeout=slice_s)
                self._suspension.end()
                return report
            if self._suspension.lasts(slice_s):
                raise self._stopped()
            silent_s += slice_s
            before_s, used_s = used_s, used_cpu_s(self.pid)
            spent_s = 0.0 if before_s is None or used_s is None else used_s - before_s
            counted_s += min(spent_s, slice_s) if spent_s > 0 and silent_s < busy_patience_s else slice_s
        message = f"the load worker has not responded for {silent_s:g} s"
        raise SilenceError(message, hint=self._last_words.text)

    def _stopped(self) -> StoppedError:
        return StoppedError(f"the load worker {self._suspension.message}", hint=HINT_STOPPED)

    def interrupt(self, stop: StopStage) -> None:
        """Have `next` give that back, after what was told before."""
        self._heard.put(stop)

    def close(self) -> None:
        """End it, by force when it does not leave by itself."""
        with contextlib.suppress(OSError, ValueError):  # it is gone already
            self.write(Quit())
        self._stdin.close()
        end_within(0.0 if is_stopped(self.pid) else _QUIT_S, self._process)
        self._listener.join()
        self._last_words.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            cast(IO[bytes], pipe).close()

    def _told(self, failed: Failed) -> LoadError:
        is_explained = failed.is_workload_wrong or failed.error is not None  # then nobody needs the worker's last words
        return LoadError(
            failed.message,
            hint=failed.hint or (None if is_explained else self._last_words.text),
            error=failed.error,
            is_workload_wrong=failed.is_workload_wrong,
        )

    def _lost(self) -> LoadError:
        try:
            code = self._process.wait(_QUIT_S)
        except subprocess.TimeoutExpired:
            if is_stopped(self.pid):
                return self._stopped()
            return LoadError("the load worker has closed its pipe", hint=self._last_words.text)
        self._listener.join(_QUIT_S)  # why it left and its last words may still be in the pipes
        self._last_words.wait(_QUIT_S)
        if self._failure is not None:
            return self._told(self._failure)
        return LoadError(f"the load worker {how_it_ended(code)}", hint=self._last_words.text)

    def _listen(self) -> None:
        stream = cast(BinaryIO, self._process.stdout)
        try:
            while (report := read_report(stream)) is not None:
                if isinstance(report, Failed):
                    self._failure = report
                self._heard.put(report)
        finally:
            self._heard.put(None)
