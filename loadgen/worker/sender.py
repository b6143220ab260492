"""The sending thread, with its own event loop beside Locust's, and the Locust user that represents it.

Locust starts and watches that user. Its statistics are never read, because they are rounded.
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
    """The sending thread. `event_loop` is the name of its event loop's implementation: uvloop where available."""

    def __init__(self) -> None:
        self.event_loop, self.loop = _new_loop()
        self._thread = threading.Thread(target=self._run_loop, name="sender", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `work` on the sending thread. May be called from any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def cpu_wait_s(self) -> float | None:
        """Return the seconds that the sending thread was ready but had no CPU core, since it began; None if the system
        does not report it."""
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
    """Run `work` on a native thread and wait for it while Locust's greenlets continue."""
    done: Future[T] = Future()
    gevent.get_hub().threadpool.apply(_store_outcome, (work, done))
    return done.result()


def _store_outcome(work: Callable[[], T], done: Future[T]) -> None:
    try:
        done.set_result(work())
    except Exception as error:  # otherwise gevent would print it too
        done.set_exception(error)


class LocustRunner:
    """One Locust user whose task runs the stages one after another.

    It is started once, by any runner, because Locust orders what it starts and stops by the wall clock.
    """

    def __init__(self) -> None:
        # Locust's warnings are not meant for the users of Sizewise: CPU usage is measured and evaluated elsewhere.
        runners.CPU_WARNING_THRESHOLD = sys.maxsize
        logging.getLogger("locust").setLevel(logging.CRITICAL)
        self._stages: Queue[tuple[Callable[[], None], AsyncResult[None]]] = Queue()
        runner = self

        class ArrivalUser(User):  # a master starts it by this name
            @task
            def send_stages(self) -> None:
                runner._run_stages()

        self.environment = Environment(user_classes=[ArrivalUser])

    def start_local(self) -> None:
        """Start the user with a local runner."""
        self.environment.create_local_runner().start(user_count=1, spawn_rate=1)

    def run_task(self, work: Callable[[], None]) -> None:
        """Run `work` as a task of the user until it ends; an exception that it raises is raised here."""
        outcome: AsyncResult[None] = AsyncResult()
        self._stages.put((work, outcome))
        outcome.get()

    def _run_stages(self) -> None:
        while True:
            conduct, outcome = self._stages.get()
            try:
                outcome.set(run_in_thread(conduct))
            except Exception as error:  # Locust would swallow it; the caller that waits for the stage gets it
                outcome.set_exception(error)
            except gevent.GreenletExit:
                outcome.set_exception(RuntimeError("Locust stopped the user that sends"))
                raise
