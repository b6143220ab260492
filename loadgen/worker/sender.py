"""The thread that sends: an event loop of its own, beside Locust's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from loadgen.run_delay import waited_s

T = TypeVar("T")


class Sender:
    """`event_loop` names what turns: uvloop where there is one."""

    def __init__(self) -> None:
        self.event_loop, self.loop = _new_loop()
        self._thread = threading.Thread(target=self._turn, name="sender", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `work` on the sending thread. From any other thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def waited_s(self) -> float | None:
        """That the sending thread was ready and had no core, since it began; None where the system does not tell."""
        return None if self._thread.native_id is None else waited_s(self._thread.native_id)

    def _turn(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


def _new_loop() -> tuple[str, asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # Windows has none
        return "asyncio", asyncio.new_event_loop()
    return "uvloop", uvloop.new_event_loop()
