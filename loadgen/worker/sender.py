"""The thread that sends: an event loop of its own, beside Locust's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class Sender:
    """`event_loop` names what turns: uvloop where there is one."""

    def __init__(self) -> None:
        self.event_loop, self.loop = _new_loop()
        threading.Thread(target=self._turn, name="sender", daemon=True).start()

    def call(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `work` on the sending thread. From any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def _turn(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


def _new_loop() -> tuple[str, asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # Windows has none
        return "asyncio", asyncio.new_event_loop()
    return "uvloop", uvloop.new_event_loop()
