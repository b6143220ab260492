"""Run a load worker that serves the engine directly, without a master. Commands and reports are
frames on pipes."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import BinaryIO, NoReturn

from loadgen.frames import ReportWriter, read_command
from loadgen.records import Quit, Ready
from loadgen.worker.command_loop import PACING_MECHANISM, Worker, build_failure
from loadgen.worker.sender import LocustRunner, Sender


def serve_engine(commands: BinaryIO, reports: ReportWriter) -> NoReturn:
    try:
        sender, locust_runner = Sender(), LocustRunner()
        locust_runner.start_local()
        worker = Worker(sender, locust_runner, reports)
        reports.send(Ready(pid=os.getpid(), pacing=PACING_MECHANISM, event_loop=sender.event_loop_name))
        threading.Thread(
            target=_execute_commands, args=(commands, worker, reports), name="commands", daemon=True
        ).start()
        worker.run()
    except Exception as error:
        _exit(error, reports)


def _execute_commands(commands: BinaryIO, worker: Worker, reports: ReportWriter) -> None:
    try:
        while True:
            worker.on_command(read_command(commands) or Quit())
    except Exception as error:
        _exit(error, reports)  # a failed write is the only sign that the engine has exited


def _exit(error: Exception, reports: ReportWriter) -> NoReturn:
    with contextlib.suppress(OSError):
        reports.send(build_failure(error))
    sys.stderr.flush()
    os._exit(1)
