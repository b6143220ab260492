"""Run a load worker that serves a master, possibly on another machine."""

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

from loadgen.frames import ReportWriter, read_command
from loadgen.machine import get_clock_id
from loadgen.records import (
    EXIT_MASTER_LOST,
    EXIT_NO_MASTER,
    EXIT_REJECTED,
    WIRE_VERSION,
    Command,
    Hello,
    Join,
    Quit,
    Ready,
)
from loadgen.sanitizing import format_host_port, sanitize_text
from loadgen.worker.command_loop import PACING_MECHANISM, Worker, build_failure
from loadgen.worker.master_connection import MasterConnection, NoMasterError
from loadgen.worker.sender import LocustRunner, Sender

_MAX_SILENCE_NS = 4_000_000_000
_MAX_IDLE_SILENCE_NS = 15_000_000_000
"""Maximum time in ns between two pings of the master while the worker is not sending requests.
After a longer silence, the master counts as lost.

The limit is longer than during a stage, because preparing a stage can block the worker's
interpreter for seconds. A long wait does no harm while the worker sends no requests.
"""

_POLL_INTERVAL_S, _FIRST_POLL_INTERVAL_S = 0.25, 0.02
"""Polling intervals in seconds: after the first ping of the master, and before it. The interval
before the first ping is short, so that `Ready` is reported before the master can reject the
worker."""

CommandQueue = queue.SimpleQueue[Command | Exception]


def serve_master(commands: BinaryIO, reports: ReportWriter) -> NoReturn:
    """Serve a master until standard input ends, the master sends Quit or is lost, or no master is
    found.

    The only report on the pipe is `Ready`, which is sent when the master has accepted the worker.
    """
    join = read_command(commands)
    if not isinstance(join, Join):
        os._exit(0 if join is None or isinstance(join, Quit) else 1)
    threading.Thread(target=_exit_at_eof, args=(commands,), name="stdin", daemon=True).start()
    command_queue: CommandQueue = queue.SimpleQueue()

    def on_command(command: Command | Exception) -> None:
        if isinstance(command, Quit):  # immediately, even if the thread that executes commands is blocked
            if command.reason is None:
                os._exit(0)
            _exit(EXIT_REJECTED, f"the master rejected this worker: {sanitize_text(command.reason)}")
        command_queue.put(command)

    sender, locust_runner = Sender(), LocustRunner()
    lost_text = (
        f"the connection to the master at {format_host_port(join.host, join.port)} was lost, so this worker stops"
    )
    try:
        connection = MasterConnection(
            locust_runner.environment, join, on_command, lambda: _exit(EXIT_MASTER_LOST, lost_text)
        )
    except NoMasterError as error:
        _exit(EXIT_NO_MASTER, str(error))
    ready = Ready(pid=os.getpid(), pacing=PACING_MECHANISM, event_loop=sender.event_loop_name)
    worker = Worker(sender, locust_runner, connection)
    monitor_args = (connection, worker, lost_text, lambda: reports.send(ready))
    threading.Thread(target=_monitor_master, args=monitor_args, name="watch", daemon=True).start()
    connection.send(_build_hello(join, sender.event_loop_name))
    threading.Thread(
        target=_execute_commands, args=(command_queue, worker, connection), name="commands", daemon=True
    ).start()
    try:
        worker.run()
    except Exception as error:
        _fail(error, connection)
    while True:  # until all queued messages have been sent
        gevent.sleep(_POLL_INTERVAL_S)


def _build_hello(join: Join, event_loop: str) -> Hello:
    return Hello(
        protocol_version=WIRE_VERSION,
        host=socket.gethostname(),
        pid=os.getpid(),
        clock=get_clock_id(),
        pacing=PACING_MECHANISM,
        event_loop=event_loop,
        capacity_per_s=join.capacity_per_s,
        chunk_capacity_per_s=join.chunk_capacity_per_s,
    )


def _execute_commands(command_queue: CommandQueue, worker: Worker, connection: MasterConnection) -> None:
    try:
        while True:
            command = command_queue.get()
            if isinstance(command, Exception):
                raise command
            worker.on_command(command)
    except Exception as error:
        _fail(error, connection)


def _monitor_master(
    connection: MasterConnection, worker: Worker, lost_text: str, on_first_ping: Callable[[], None]
) -> None:
    """Exit when the master is lost, even if Locust's thread is blocked. Without a master, a worker
    must not send requests."""
    pause_event, is_accepted = threading.Event(), False
    while True:
        pause_event.wait(_POLL_INTERVAL_S if is_accepted else _FIRST_POLL_INTERVAL_S)
        # Read `is_sending` before `last_ping_ns`, so that the limit is never compared with an older
        # ping.
        limit_ns = _MAX_SILENCE_NS if worker.is_sending else _MAX_IDLE_SILENCE_NS
        last_ping_ns = connection.last_ping_ns
        if last_ping_ns is not None and not is_accepted:
            is_accepted = True
            with contextlib.suppress(OSError):  # the reader of the pipe may have exited
                on_first_ping()
        if last_ping_ns is not None and time.perf_counter_ns() - last_ping_ns > limit_ns:
            _exit(EXIT_MASTER_LOST, lost_text)


def _exit_at_eof(stdin: BinaryIO) -> None:
    while stdin.read(4096):
        """Ignore data on standard input, because no further commands are expected there."""
    os._exit(0)


def _fail(error: Exception, connection: MasterConnection) -> None:
    connection.send(build_failure(error))
    sys.stderr.flush()
    connection.close(lambda: os._exit(1))


def _exit(exit_code: int, reason: str) -> NoReturn:
    sys.stderr.write(f"{reason}\n")
    sys.stderr.flush()
    os._exit(exit_code)
