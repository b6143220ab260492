"""The engine's side of a load worker: start it, tell it, hear it, end it."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import IO, BinaryIO, TypeVar, cast

import pyarrow as pa

from loadgen.frames import message_frame, read_report
from loadgen.records import (
    ChangeRate,
    Command,
    Configure,
    Endpoint,
    Failed,
    Preflight,
    PreflightDone,
    Progress,
    Quit,
    Ready,
    Report,
    RunStage,
    StageEnded,
    StagePlan,
    StageStarted,
    StopStage,
    Timeouts,
    Workload,
)

_SILENCE_S = 30.0
_QUIT_S = 2.0
_STDERR_LINES = 20
_MOST_OF_A_LINE = 4096

T = TypeVar("T", bound=Report)


class LoadError(Exception):
    """The load worker cannot go on. `error` is one of ERROR_CLASSES when the target is at fault; `is_workload_wrong`
    when the endpoint's or workload's own settings are; with neither the worker itself failed."""

    def __init__(
        self, message: str, *, hint: str | None = None, error: str | None = None, is_workload_wrong: bool = False
    ) -> None:
        super().__init__(message)
        self.message, self.hint, self.error, self.is_workload_wrong = message, hint, error, is_workload_wrong


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


class LoadProcess:
    """One load worker, or the child that drives a user's Locust test (`module`). One thread drives it; `stop` and
    `change_rate` may come from any thread or a signal handler.

    Every method raises LoadError when the worker reports a failure, is lost, or says nothing for too long.
    """

    def __init__(self, module: str = "loadgen.worker") -> None:
        self._child = start_module(module, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._stdin = cast(IO[bytes], self._child.stdin)
        self._heard: queue.SimpleQueue[Report | pa.RecordBatch | StopStage | None] = queue.SimpleQueue()
        self._last_lines: deque[str] = deque(maxlen=_STDERR_LINES)
        self._timeouts = Timeouts()
        self._is_running = self._is_asking = False
        self._stop_asked: StopStage | None = None
        self._failure: Failed | None = None
        self._listeners = [
            threading.Thread(target=self._listen, name="load-reports", daemon=True),
            threading.Thread(target=self._keep_stderr, name="load-stderr", daemon=True),
        ]
        for listener in self._listeners:
            listener.start()
        try:
            ready = self._hear(Ready, _SILENCE_S)
        except BaseException:
            self.close()
            raise
        self.pid = self._child.pid
        self.pacing, self.event_loop = ready.pacing, ready.event_loop

    def __enter__(self) -> LoadProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def configure(self, endpoint: Endpoint, workload: Workload) -> None:
        """Where to send, and what. What is wrong with either is told by the next call."""
        self._timeouts = endpoint.timeouts
        self._tell(Configure(endpoint, workload))

    def preflight(self) -> PreflightDone:
        """Raises LoadError, too, when `stop` gives up waiting for it; the worker is then of no more use."""
        self._tell(Preflight())
        self._is_asking = True
        try:
            return self._hear(PreflightDone, self._preparing_s())
        finally:
            self._is_asking = False

    def run_stage(
        self,
        plan: StagePlan,
        on_rows: Callable[[pa.RecordBatch], None],
        on_started: Callable[[StageStarted], None],
        on_progress: Callable[[Progress], bool],
    ) -> StageEnded:
        """Blocks to the end of the stage; all its rows have been given to `on_rows` by then.

        The first False from `on_progress` cuts the stage: what is in flight ends as timed out.
        """
        self._stop_asked = None
        self._tell(RunStage(plan))
        self._is_running = True
        if self._stop_asked is not None:  # between the first line and the third
            self._tell(self._stop_asked)
        is_cut, patience_s = False, self._preparing_s()
        while True:
            report, patience_s = self._next(patience_s), _SILENCE_S
            match report:
                case pa.RecordBatch() as rows:
                    on_rows(rows)
                case StageStarted() as started:
                    on_started(started)
                case Progress() as progress:
                    if not on_progress(progress) and not is_cut:
                        is_cut = True
                        self.stop(drain=False)
                case StageEnded() as ended:
                    self._is_running = False
                    return ended
                case other:
                    raise self._out_of_turn(other)

    def stop(self, drain: bool) -> None:
        """Let the running stage start no more arrivals; without `drain`, cut what is in flight too."""
        self._stop_asked = StopStage(drain)
        if self._is_asking:
            self._heard.put(self._stop_asked)
        if self._is_running:
            with contextlib.suppress(OSError, ValueError):  # whoever waits for the stage hears that the worker is lost
                self._write(self._stop_asked)

    def change_rate(self, rate_per_s: float) -> None:
        """From now on the running stage's open arrivals come at this rate; of no effect on any other stage."""
        if not (0 < rate_per_s < math.inf):
            raise ValueError(f"a rate must be above 0 and finite, not {rate_per_s}")
        if self._is_running:
            with contextlib.suppress(OSError, ValueError):  # as above
                self._write(ChangeRate(rate_per_s))

    def close(self) -> None:
        """End the worker, by force when it does not leave by itself."""
        with contextlib.suppress(OSError, ValueError):  # it is gone already
            self._write(Quit())
        self._stdin.close()
        try:
            self._child.wait(_QUIT_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        for listener in self._listeners:
            listener.join()
        for pipe in (self._child.stdout, self._child.stderr):
            cast(IO[bytes], pipe).close()

    def _preparing_s(self) -> float:
        """How long the worker may be silent while it asks for the metadata and sends one request."""
        return 2 * (self._timeouts.connect_s + self._timeouts.total_s) + _SILENCE_S

    def _tell(self, command: Command) -> None:
        try:
            self._write(command)
        except (OSError, ValueError) as error:
            raise self._lost() from error

    def _write(self, command: Command) -> None:
        # past the buffer: a short frame is then one write, which a signal handler may do at any moment of a stage
        frame = memoryview(message_frame(command))
        while frame:
            frame = frame[os.write(self._stdin.fileno(), frame) :]

    def _hear(self, expected: type[T], patience_s: float) -> T:
        report = self._next(patience_s)
        if not isinstance(report, expected):
            raise self._out_of_turn(report)
        return report

    def _next(self, patience_s: float) -> Report | pa.RecordBatch:
        try:
            report = self._heard.get(timeout=patience_s)
        except queue.Empty:
            raise LoadError(f"the load worker has said nothing for {patience_s:g} s", hint=self._last_words()) from None
        if report is None:
            raise self._lost()
        if isinstance(report, StopStage):
            raise LoadError("the target's first answer was not waited for")
        if isinstance(report, Failed):
            raise self._told(report)
        return report

    def _told(self, failed: Failed) -> LoadError:
        is_explained = failed.is_workload_wrong or failed.error is not None  # then nobody needs the worker's last words
        return LoadError(
            failed.message,
            hint=failed.hint or (None if is_explained else self._last_words()),
            error=failed.error,
            is_workload_wrong=failed.is_workload_wrong,
        )

    def _lost(self) -> LoadError:
        try:
            code = self._child.wait(_QUIT_S)
        except subprocess.TimeoutExpired:
            return LoadError("the load worker has closed its pipe", hint=self._last_words())
        for listener in self._listeners:  # why it left and its last words may still be in the pipes
            listener.join(_QUIT_S)
        if self._failure is not None:
            return self._told(self._failure)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        return LoadError(f"the load worker {how}", hint=self._last_words())

    def _out_of_turn(self, report: object) -> LoadError:
        return LoadError(f"the load worker said {type(report).__name__} out of turn")

    def _last_words(self) -> str | None:
        return "\n".join(self._last_lines) or None

    def _listen(self) -> None:
        stream = cast(BinaryIO, self._child.stdout)
        while (report := read_report(stream)) is not None:
            if isinstance(report, Failed):
                self._failure = report
            self._heard.put(report)
        self._heard.put(None)

    def _keep_stderr(self) -> None:
        stderr = cast(BinaryIO, self._child.stderr)
        while line := stderr.readline(_MOST_OF_A_LINE):
            self._last_lines.append(line.decode(errors="replace").rstrip())
