"""Run a user's Locust test: `python -m loadgen.locustfile`. Like a load worker, the process
exchanges frames with the engine.

The test runs in greenlets of one thread, monkey-patched as Locust requires. Only commands are read
on another thread.
"""

from __future__ import annotations

import os

os.environ.pop("LOCUST_SKIP_MONKEY_PATCH", None)

import locust  # noqa: F401  (first: it patches modules that the other imports use)  # isort: skip

import signal
import sys
import traceback
from typing import Any, BinaryIO

import gevent
from gevent.queue import Queue

from loadgen.frames import ReportWriter, read_command
from loadgen.locustfile.stage import LocustStage
from loadgen.locustfile.user_test import LocustTest, load_locust_test
from loadgen.machine import raise_descriptor_limit
from loadgen.protocols.prepared import WorkloadError
from loadgen.records import (
    Configure,
    ExtendStage,
    Failed,
    Preflight,
    PreflightDone,
    Quit,
    Ready,
    RunStage,
    StagePlan,
    StopStage,
)
from loadgen.workloads import LocustWorkload

_QUIT_EVENT_TIMEOUT_S = 1.0


class LocustProcess:
    def __init__(self, commands: BinaryIO, reports: ReportWriter) -> None:
        self._command_stream, self._reports = commands, reports
        self._commands: Queue[Configure | Preflight | RunStage] = Queue()
        self._configuration: Configure | None = None
        self._test: LocustTest | None = None
        self._stage: LocustStage | None = None
        self._stop_request: StopStage | None = None

    def run(self) -> None:
        """Execute commands until the process ends. Raises any error after which the process cannot
        continue."""
        gevent.spawn(self._read_commands)
        self._reports.send(Ready(pid=os.getpid(), pacing="locust", event_loop="gevent"))
        while True:
            match self._commands.get():
                case Configure() as configuration:
                    self._configuration = configuration
                case Preflight():
                    self._reports.send(self._preflight())
                case RunStage(plan=plan):
                    self._run_stage(plan)

    def _read_commands(self) -> None:
        run_in_thread = gevent.get_hub().threadpool.apply
        while True:
            match run_in_thread(read_command, (self._command_stream,)):
                case StopStage() as stop:
                    self._stop_request = stop
                    if self._stage is not None:
                        self._stage.stop(stop.drain)
                case ExtendStage(duration_s=duration_s):
                    if self._stage is not None:
                        self._stage.extend(duration_s)
                case Quit() | None:
                    self._exit()
                case Configure() | Preflight() as command:
                    self._commands.put(command)
                case RunStage() as command:
                    self._stop_request = None
                    self._commands.put(command)
                case _:  # the rate of closed-loop users cannot be changed
                    pass

    def _preflight(self) -> PreflightDone:
        test, workload = self._load_test()
        hosts_text = f"against {', '.join(test.hosts)}" if test.hosts else "without a host"
        detail = f"Locust test {os.path.basename(workload.file)}: {', '.join(test.names)}, {hosts_text}"  # noqa: PTH119
        return PreflightDone(
            error=None, status=None, detail=detail, service_ms=None, notes=test.notes, hosts=test.hosts
        )

    def _run_stage(self, plan: StagePlan) -> None:
        test, workload = self._load_test()
        self._stage = LocustStage(plan, workload.spawn_per_s, test.environment, self._reports)
        if self._stop_request is not None:
            self._stage.stop(self._stop_request.drain)
        self._stage.run()
        self._stage = None

    def _load_test(self) -> tuple[LocustTest, LocustWorkload]:
        configuration = self._configuration
        if configuration is None or not isinstance(configuration.workload, LocustWorkload):
            raise RuntimeError("the Locust process received a command before a Locust test was configured")
        if self._test is None:
            self._test = load_locust_test(configuration.workload, configuration.endpoint)
        return self._test, configuration.workload

    def _exit(self) -> None:
        if self._test is not None:
            quitting_event: Any = self._test.environment.events.quitting  # Locust has no types for it
            with gevent.Timeout(_QUIT_EVENT_TIMEOUT_S, False):
                quitting_event.fire(environment=self._test.environment, reverse=True)
        os._exit(0)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine decides when a run ends
    raise_descriptor_limit()
    # Detach the frames from standard input and output, so that the test may print and read standard
    # input.
    commands, reports = os.fdopen(os.dup(0), "rb"), ReportWriter(os.fdopen(os.dup(1), "wb"))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    try:
        LocustProcess(commands, reports).run()
    except WorkloadError as error:
        reports.send(Failed(message=str(error), hint=error.hint, is_workload_invalid=True))
    except Exception as error:
        traceback.print_exc()
        reports.send(Failed(message=f"the process that runs the Locust test failed: {type(error).__name__}: {error}"))
    sys.stderr.flush()
    os._exit(1)


main()
