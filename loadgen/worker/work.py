"""A load worker at work, whoever it works for."""

from __future__ import annotations

import os
import queue
import threading
import traceback
from typing import NoReturn

from loadgen.frames import Listener
from loadgen.pacing import HAS_TIMERFD
from loadgen.protocols.built import TargetError, WorkloadError
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
from loadgen.transport.exchange import is_local_limit
from loadgen.worker.rows import load_ahead
from loadgen.worker.sender import Orchestra, Sender, without_blocking
from loadgen.worker.stage_run import StageRun
from loadgen.worker.target import SendingTarget

_HINT_LIMIT = "Raise the limit on this machine (`ulimit -n` for open files), or lower the rate or the concurrency."

PACING = "timerfd" if HAS_TIMERFD else "sleep"


def failure(error: Exception) -> Failed:
    """What is wrong, as whoever gives the commands is told."""
    if isinstance(error, WorkloadError):
        return Failed(message=str(error), hint=error.hint, is_workload_wrong=True)
    if isinstance(error, TargetError):
        return Failed(message=str(error), error=error.error)
    traceback.print_exception(error)
    if isinstance(error, OSError) and error.errno is not None and is_local_limit(error):
        return Failed(message=f"the load worker failed: {os.strerror(error.errno)}", hint=_HINT_LIMIT)
    # not by its repr, which of some errors holds the text that they are about
    return Failed(message=f"the load worker failed: {type(error).__name__}: {error}")


class Worker:
    """`hear` belongs to one thread, which reads the commands; `work` to Locust's."""

    def __init__(self, sender: Sender, orchestra: Orchestra, listener: Listener) -> None:
        self._sender, self._orchestra, self._listener = sender, orchestra, listener
        self._commands: queue.SimpleQueue[Configure | Preflight | StageRun] = queue.SimpleQueue()
        self._running: StageRun | None = None
        self._target: SendingTarget | None = None
        self._loading = threading.Thread(target=load_ahead, name="loading", daemon=True)
        self._loading.start()

    @property
    def is_sending(self) -> bool:
        """Whether a stage is; from any thread."""
        running = self._running
        return running is not None and running.is_sending

    def hear(self, command: Command) -> None:
        """Obeyed in their order, but what a running stage is told is obeyed at once."""
        running = self._running
        match command:
            case RunStage():
                self._running = StageRun(command, self._sender, self._listener)
                self._commands.put(self._running)
            case StartStage(index=index, start_ns=start_ns):
                if running is not None and running.index == index:
                    running.start(start_ns)
            case StopStage(drain=drain):
                if running is not None:
                    running.stop(drain)
            case ChangeRate() | ExtendStage():
                if running is not None:
                    running.change(command)
            case Configure() | Preflight():
                self._commands.put(command)
            case Quit():
                os._exit(0)  # at once, whatever the other threads do: all that was told is on its way
            case _:
                raise RuntimeError(f"a load worker at work cannot obey {type(command).__name__}")

    def work(self) -> NoReturn:
        """Until the process ends. Raises what makes going on impossible."""
        while True:
            self._obey(without_blocking(self._commands.get))

    def _obey(self, command: Configure | Preflight | StageRun) -> None:
        if isinstance(command, Configure):
            without_blocking(self._sender.call(self._configure(command)).result)
            return
        target = self._target
        if target is None:
            raise RuntimeError("the load worker was told to send before it was told where")
        if isinstance(command, Preflight):
            self._listener.send(without_blocking(self._sender.call(target.preflight()).result))
        else:
            self._orchestra.play(lambda: self._conduct(command, target))

    def _conduct(self, stage: StageRun, target: SendingTarget) -> None:
        self._loading.join()
        stage.conduct(target)

    async def _configure(self, command: Configure) -> None:
        if self._target is not None:
            self._target.close()
        self._target = SendingTarget(self._sender.loop, command.endpoint, command.workload)
