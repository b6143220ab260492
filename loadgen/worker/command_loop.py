"""Execute the commands of a load worker, regardless of the channel on which they are received."""

from __future__ import annotations

import os
import queue
import threading
import traceback
from typing import NoReturn

from loadgen.frames import ReportSink
from loadgen.pacing import HAS_TIMERFD
from loadgen.protocols.prepared import TargetError, WorkloadError
from loadgen.records import (
    ChangeRate,
    Command,
    Configure,
    ExtendStage,
    Failed,
    Preflight,
    Quit,
    RunStage,
    StartStage,
    StopStage,
)
from loadgen.transport.exchange import is_local_limit_error
from loadgen.worker.rows import preload_imports
from loadgen.worker.sender import LocustRunner, Sender, run_in_thread
from loadgen.worker.stage_run import StageRun
from loadgen.worker.target import SendingTarget

_LOCAL_LIMIT_HINT = (
    "Raise the limit on this machine (`ulimit -n` for open files), or reduce the rate or the concurrency."
)

PACING_MECHANISM = "timerfd" if HAS_TIMERFD else "sleep"


def build_failure(error: Exception) -> Failed:
    """Build the report about an error after which the worker cannot continue."""
    if isinstance(error, WorkloadError):
        return Failed(message=str(error), hint=error.hint, is_workload_invalid=True)
    if isinstance(error, TargetError):
        return Failed(message=str(error), error=error.error)
    traceback.print_exception(error)
    if isinstance(error, OSError) and error.errno is not None and is_local_limit_error(error):
        return Failed(message=f"the load worker failed: {os.strerror(error.errno)}", hint=_LOCAL_LIMIT_HINT)
    # Do not use the repr: for some errors it contains the input, which may include a secret.
    return Failed(message=f"the load worker failed: {type(error).__name__}: {error}")


class Worker:
    """Executor of the commands of a load worker.

    `on_command` must be called on the thread that reads commands, and `run` on Locust's thread.
    """

    def __init__(self, sender: Sender, locust_runner: LocustRunner, listener: ReportSink) -> None:
        self._sender, self._locust_runner, self._listener = sender, locust_runner, listener
        self._commands: queue.SimpleQueue[Configure | Preflight | StageRun] = queue.SimpleQueue()
        self._stage_run: StageRun | None = None
        self._target: SendingTarget | None = None
        self._import_thread = threading.Thread(target=preload_imports, name="loading", daemon=True)
        self._import_thread.start()

    @property
    def is_sending(self) -> bool:
        """True while a stage is sending requests. The value may be read from any thread."""
        stage_run = self._stage_run
        return stage_run is not None and stage_run.is_sending

    def on_command(self, command: Command) -> None:
        """Accept a command. A command for the running stage is executed immediately; other commands
        are queued and executed in order."""
        stage_run = self._stage_run
        match command:
            case RunStage():
                self._stage_run = StageRun(command, self._sender, self._listener)
                self._commands.put(self._stage_run)
            case StartStage(index=index, start_ns=start_ns):
                if stage_run is not None and stage_run.index == index:
                    stage_run.start(start_ns)
            case StopStage(drain=drain):
                if stage_run is not None:
                    stage_run.stop(drain)
            case ChangeRate() | ExtendStage():
                if stage_run is not None:
                    stage_run.apply_change(command)
            case Configure() | Preflight():
                self._commands.put(command)
            case Quit():
                os._exit(0)  # immediately, without waiting for other threads: all reports have been written
            case _:
                raise RuntimeError(f"the load worker cannot execute the command {type(command).__name__}")

    def run(self) -> NoReturn:
        """Execute queued commands until the process ends. Raises any error after which the worker
        cannot continue."""
        while True:
            self._execute(run_in_thread(self._commands.get))

    def _execute(self, command: Configure | Preflight | StageRun) -> None:
        if isinstance(command, Configure):
            run_in_thread(self._sender.call(self._configure(command)).result)
            return
        target = self._target
        if target is None:
            raise RuntimeError("the load worker received a command to send requests before it was configured")
        if isinstance(command, Preflight):
            self._listener.send(run_in_thread(self._sender.call(target.preflight()).result))
        else:
            self._locust_runner.run_task(lambda: self._run_stage(command, target))

    def _run_stage(self, stage_run: StageRun, target: SendingTarget) -> None:
        self._import_thread.join()
        stage_run.run(target)

    async def _configure(self, command: Configure) -> None:
        if self._target is not None:
            self._target.close()
        self._target = SendingTarget(self._sender.loop, command.endpoint, command.workload)
