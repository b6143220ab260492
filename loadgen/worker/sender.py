"""The sending thread, whose event loop is separate from Locust's hub, and the Locust user that
represents it.

Locust starts and monitors that user. The statistics of Locust are not used, because they are
rounded.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import gevent
from gevent.event import AsyncResult
from gevent.queue import Queue
from locust import User, runners, task
from locust.env import Environment

from loadgen.machine import read_cpu_wait_s

T = TypeVar("T")


class Sender:
    """The thread that sends requests. `event_loop` is the implementation of its event loop:
    "uvloop" if available, otherwise "asyncio"."""

    def __init__(self) -> None:
        self.event_loop, self.loop = _new_loop()
        self._thread = threading.Thread(target=self._run_loop, name="sender", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run the coroutine `work` on the sending thread, and return its future. May be called from
        any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def read_cpu_wait_s(self) -> float | None:
        """Return the seconds since the sending thread began in which it was ready to run but had no
        CPU core; None if not reported by the OS."""
        return None if self._thread.native_id is None else read_cpu_wait_s(self._thread.native_id)

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


def _new_loop() -> tuple[str, asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # not available on Windows
        return "asyncio", asyncio.new_event_loop()
    return "uvloop", uvloop.new_event_loop()


def run_in_thread(work: Callable[[], T]) -> T:
    """Run `work` on a native thread and return its result. Locust's greenlets continue during the
    wait."""
    done: Future[T] = Future()
    gevent.get_hub().threadpool.apply(_store_outcome, (work, done))
    return done.result()


def _store_outcome(work: Callable[[], T], done: Future[T]) -> None:
    try:
        done.set_result(work())
    except Exception as error:  # otherwise gevent would print it too
        done.set_exception(error)


class LocustRunner:
    """Locust runner with a single user, whose task runs the stages one after another.

    The user is started only once, because Locust orders the start and stop of users by the wall
    clock.
    """

    def __init__(self) -> None:
        # Suppress Locust's warnings, which are not meant for users of Sizewise: CPU usage is
        # evaluated separately.
        runners.CPU_WARNING_THRESHOLD = sys.maxsize
        logging.getLogger("locust").setLevel(logging.CRITICAL)
        self._stages: Queue[tuple[Callable[[], None], AsyncResult[None]]] = Queue()
        runner = self

        class ArrivalUser(User):  # the master starts the class by name
            @task
            def send_stages(self) -> None:
                runner._run_stages()

        self.environment = Environment(user_classes=[ArrivalUser])

    def start_local(self) -> None:
        """Start the user with a local runner."""
        self.environment.create_local_runner().start(user_count=1, spawn_rate=1)

    def run_task(self, work: Callable[[], None]) -> None:
        """Run `work` in the user's task and wait until it ends. Raises any exception that `work`
        raises."""
        outcome: AsyncResult[None] = AsyncResult()
        self._stages.put((work, outcome))
        outcome.get()

    def _run_stages(self) -> None:
        while True:
            work, outcome = self._stages.get()
            try:
                outcome.set(run_in_thread(work))
            except Exception as error:  # pass it to the caller of `run_task`; Locust would suppress it
                outcome.set_exception(error)
            except gevent.GreenletExit:
                outcome.set_exception(RuntimeError("Locust stopped the user that sends"))
                raise
