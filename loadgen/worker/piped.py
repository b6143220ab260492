"""A load worker of the engine's own: commands and reports are frames on its pipes."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import BinaryIO, NoReturn

from loadgen.frames import Reports, read_command
from loadgen.records import Quit, Ready
from loadgen.worker.sender import Orchestra, Sender
from loadgen.worker.work import PACING, Worker, failure


def serve_engine(commands: BinaryIO, reports: Reports) -> NoReturn:
    try:
        sender, orchestra = Sender(), Orchestra()
        orchestra.start_alone()
        worker = Worker(sender, orchestra, reports)
        reports.send(Ready(pid=os.getpid(), pacing=PACING, event_loop=sender.event_loop))
        threading.Thread(target=_read, args=(commands, worker, reports), name="commands", daemon=True).start()
        worker.work()
    except Exception as error:
        _leave(error, reports)


def _read(commands: BinaryIO, worker: Worker, reports: Reports) -> None:
    try:
        while True:
            worker.hear(read_command(commands) or Quit())
    except Exception as error:
        _leave(error, reports)  # nobody else would hear that the engine has gone


def _leave(error: Exception, reports: Reports) -> NoReturn:
    with contextlib.suppress(OSError):
        reports.send(failure(error))
    sys.stderr.flush()
    os._exit(1)
