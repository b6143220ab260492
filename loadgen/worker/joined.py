"""A load worker that serves a master, maybe on another machine."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import BinaryIO, NoReturn

import gevent

from loadgen.frames import Reports, read_command
from loadgen.machine import clock_id
from loadgen.plain import plain_text, shown_place
from loadgen.records import EXIT_MASTER_LOST, EXIT_NO_MASTER, EXIT_SENT_AWAY, WIRE, Command, Hello, Join, Quit, Ready
from loadgen.worker.master_line import MasterLine, NoMasterError
from loadgen.worker.sender import Orchestra, Sender
from loadgen.worker.work import PACING, Worker, failure

_UNHEARD_NS = 4_000_000_000
_UNHEARD_AT_REST_NS = 15_000_000_000
"""While it makes ready its interpreter may be too busy to read, for seconds, what the master says; nothing is sent then
that nobody would hear of."""

_LOOK_S, _LOOK_OFTEN_S = 0.25, 0.02
"""Often at first: the master may let it go soon, and whoever started it is to know whether it was taken in before."""

Heard = queue.SimpleQueue[Command | Exception]


def serve_master(commands: BinaryIO, reports: Reports) -> NoReturn:
    """Leaves when standard input ends, when the master says so or is gone, or when none is found. Reports `Ready` once
    the master has taken it in, and nothing else."""
    join = read_command(commands)
    if not isinstance(join, Join):
        os._exit(0 if join is None or isinstance(join, Quit) else 1)
    threading.Thread(target=_leave_at_the_end_of, args=(commands,), name="stdin", daemon=True).start()
    heard: Heard = queue.SimpleQueue()

    def hear(told: Command | Exception) -> None:
        if isinstance(told, Quit):  # at once, whatever the thread that obeys is busy with
            if told.why is None:
                os._exit(0)
            _leave(EXIT_SENT_AWAY, f"the master does without this worker: {plain_text(told.why)}")
        heard.put(told)

    sender, orchestra = Sender(), Orchestra()
    lost = f"the master at {shown_place(join.host, join.port)} is gone, so this worker stops sending and leaves"
    try:
        line = MasterLine(orchestra.environment, join, hear, lambda: _leave(EXIT_MASTER_LOST, lost))
    except NoMasterError as error:
        _leave(EXIT_NO_MASTER, str(error))
    ready = Ready(pid=os.getpid(), pacing=PACING, event_loop=sender.event_loop)
    worker = Worker(sender, orchestra, line)
    watched = (line, worker, lost, lambda: reports.send(ready))
    threading.Thread(target=_watch, args=watched, name="watch", daemon=True).start()
    line.send(_hello(join, sender.event_loop))
    threading.Thread(target=_hear, args=(heard, worker, line), name="commands", daemon=True).start()
    try:
        worker.work()
    except Exception as error:
        _fail(error, line)
    while True:  # until all that was told has left
        gevent.sleep(_LOOK_S)


def _hello(join: Join, event_loop: str) -> Hello:
    return Hello(
        wire=WIRE,
        host=socket.gethostname(),
        pid=os.getpid(),
        clock=clock_id(),
        pacing=PACING,
        event_loop=event_loop,
        ceiling_per_s=join.ceiling_per_s,
        chunk_ceiling_per_s=join.chunk_ceiling_per_s,
    )


def _hear(heard: Heard, worker: Worker, line: MasterLine) -> None:
    try:
        while True:
            told = heard.get()
            if isinstance(told, Exception):
                raise told
            worker.hear(told)
    except Exception as error:
        _fail(error, line)


def _watch(line: MasterLine, worker: Worker, lost: str, on_first_ping: Callable[[], None]) -> None:
    """Whatever Locust's thread does: a worker that nobody hears must not send."""
    pause, is_taken_in = threading.Event(), False
    while True:
        pause.wait(_LOOK_S if is_taken_in else _LOOK_OFTEN_S)
        # in this order: what makes it send is read after the pings that came before it
        most_ns = _UNHEARD_NS if worker.is_sending else _UNHEARD_AT_REST_NS
        pinged_ns = line.pinged_ns
        if pinged_ns is not None and not is_taken_in:
            is_taken_in = True
            with contextlib.suppress(OSError):  # nobody need listen
                on_first_ping()
        if pinged_ns is not None and time.perf_counter_ns() - pinged_ns > most_ns:
            _leave(EXIT_MASTER_LOST, lost)


def _leave_at_the_end_of(commands: BinaryIO) -> None:
    while commands.read(4096):
        """Nothing more is expected there."""
    os._exit(0)


def _fail(error: Exception, line: MasterLine) -> None:
    line.send(failure(error))
    sys.stderr.flush()
    line.close(lambda: os._exit(1))


def _leave(code: int, why: str) -> NoReturn:
    sys.stderr.write(f"{why}\n")
    sys.stderr.flush()
    os._exit(code)
