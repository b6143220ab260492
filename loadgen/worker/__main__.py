"""The load worker: `python -m loadgen.worker`, commands on standard input, reports on standard output.

Threads: Locust's hub (this one), the sender, a reader of commands, and the hub's pool, which ships a stage's rows.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import traceback

# before anything imports Locust: patched threads would be greenlets, and the sender must be a real one
os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"

from loadgen.frames import Reports, read_command
from loadgen.pacing import HAS_TIMERFD
from loadgen.protocols.asking import TargetError
from loadgen.protocols.built import WorkloadError
from loadgen.records import ChangeRate, Configure, Failed, Preflight, Quit, Ready, RunStage, StopStage
from loadgen.worker.orchestration import Orchestra, without_blocking
from loadgen.worker.sender import Sender
from loadgen.worker.stage_run import StageRun
from loadgen.worker.target import Target

_SWITCH_S = 0.0001
"""How long shipping may keep the sender from running; Python's own 5 ms would be the send lag's p99."""


def failure(error: Exception) -> Failed:
    traceback.print_exc()
    # not by its repr, which of some errors holds the text that they are about
    return Failed(message=f"the load worker failed: {type(error).__name__}: {error}")


class Worker:
    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self._sender = Sender()
        self._orchestra = Orchestra()
        self._commands: queue.SimpleQueue[Configure | Preflight | StageRun] = queue.SimpleQueue()
        self._target: Target | None = None

    def work(self) -> None:
        """Until the process ends, which the reader of commands sees to. Raises what makes going on impossible."""
        pacing = "timerfd" if HAS_TIMERFD else "sleep"
        self._reports.send(Ready(pid=os.getpid(), pacing=pacing, event_loop=self._sender.event_loop))
        threading.Thread(target=self._read_commands, name="commands", daemon=True).start()
        while True:
            self._obey(without_blocking(self._commands.get))

    def _read_commands(self) -> None:
        try:
            self._hear_commands()
        except Exception as error:
            with contextlib.suppress(OSError):
                self._reports.send(failure(error))
            os._exit(1)  # nobody else would hear that the engine has gone

    def _hear_commands(self) -> None:
        running: StageRun | None = None
        while True:
            match read_command(sys.stdin.buffer):
                case RunStage(plan=plan):
                    running = StageRun(plan, self._sender, self._reports)
                    self._commands.put(running)
                case StopStage(drain=drain):
                    if running is not None:
                        running.stop(drain)
                case ChangeRate(rate_per_s=rate_per_s):
                    if running is not None:
                        running.change_rate(rate_per_s)
                case Quit() | None:
                    os._exit(0)  # at once, whatever the other threads do: all that was shipped is in the pipe
                case command:
                    self._commands.put(command)

    def _obey(self, command: Configure | Preflight | StageRun) -> None:
        if isinstance(command, Configure):
            without_blocking(self._sender.call(self._configure(command)).result)
            return
        target = self._target
        if target is None:
            raise RuntimeError("the load worker was told to send before it was told where")
        if isinstance(command, Preflight):
            self._reports.send(without_blocking(self._sender.call(target.preflight()).result))
        else:
            self._orchestra.play(lambda: command.conduct(target))

    async def _configure(self, command: Configure) -> None:
        if self._target is not None:
            self._target.close()
        self._target = Target(self._sender.loop, command.endpoint, command.workload)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine decides when a run ends
    sys.setswitchinterval(_SWITCH_S)
    # what prints by mistake prints to standard error, and cannot break a frame
    reports = Reports(os.fdopen(os.dup(sys.stdout.fileno()), "wb"))
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        Worker(reports).work()
    except WorkloadError as error:
        reports.send(Failed(message=str(error), hint=error.hint, is_workload_wrong=True))
    except TargetError as error:
        reports.send(Failed(message=str(error), error=error.error))
    except Exception as error:
        reports.send(failure(error))
    sys.stderr.flush()
    os._exit(1)


main()
