"""Run the engine on a thread of its own.

The engine releases Python's global lock while it computes a step, so the event loop handles
connections meanwhile. The thread sleeps while there are no requests.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import perf_counter_ns
from typing import Protocol

from app.errors import MeasurementError, SizewiseError
from app.inference.generation.engine import FinishReason, GenerationTask, TokenEvent
from app.serving.generation.scheduling import ScheduledRequest, Scheduler

_CLOSE_TIMEOUT_S = 5.0


class StepEngine(Protocol):
    """Engine that generates one step at a time."""

    def start(self, request_id: int, task: GenerationTask) -> None: ...

    def cancel(self, request_id: int) -> None: ...

    def step(self) -> list[TokenEvent]: ...


class EngineLoop:
    """Thread that admits requests and generates their tokens, step by step.

    `open_engine` is called on the thread, because an engine must be used on the thread on which it
    was created. `on_events` is called on the thread with all events of a step. `on_failure` is
    called on the thread, as its last action, if the engine fails."""

    def __init__(
        self,
        open_engine: Callable[[], StepEngine],
        scheduler: Scheduler,
        on_events: Callable[[list[TokenEvent]], object],
        on_failure: Callable[[SizewiseError], object],
    ) -> None:
        self._open_engine = open_engine
        self._scheduler = scheduler
        self._on_events, self._on_failure = on_events, on_failure
        self._changed = threading.Condition()
        """Lock of the scheduler and of all fields below, notified when there is work."""
        self._tasks: dict[int, GenerationTask] = {}
        self._admitted: list[ScheduledRequest] = []
        self._cancelled: list[int] = []
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, daemon=True, name="engine")

    def start(self) -> None:
        self._thread.start()

    def submit(self, request_id: int, task: GenerationTask) -> None:
        """Queue a request, or start it if it fits into the batch. Raises QueueFullError if the
        queue is full."""
        with self._changed:
            self._scheduler.add(ScheduledRequest(request_id, task.max_length, perf_counter_ns()))
            self._tasks[request_id] = task
            self._admit()

    def cancel(self, request_id: int) -> bool:
        """Cancel a request. Return True if the request was removed from the queue; otherwise, the
        events of its last step and its end follow."""
        with self._changed:
            if self._scheduler.withdraw(request_id):
                del self._tasks[request_id]
                return True
            self._cancelled.append(request_id)
            return False

    def count_requests(self) -> tuple[int, int]:
        """Return the numbers of running and of waiting requests."""
        with self._changed:
            return self._scheduler.running_count, self._scheduler.waiting_count

    def close(self) -> None:
        """Stop the thread after the current step."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join(_CLOSE_TIMEOUT_S)

    def _admit(self) -> None:
        if admitted := self._scheduler.admit():
            self._admitted += admitted
            self._changed.notify()

    def _run(self) -> None:
        try:
            engine = self._open_engine()
            while self._run_step(engine):
                pass
        except SizewiseError as error:
            self._on_failure(error)
        except Exception as error:  # without the thread, every request would wait forever
            self._on_failure(MeasurementError(f"the engine failed: {error!r}"))

    def _run_step(self, engine: StepEngine) -> bool:
        """Wait for work and process one step. Return False if the loop has been closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._scheduler.running_count)
            if self._is_closed:
                return False
            admitted, self._admitted = self._admitted, []
            cancelled, self._cancelled = self._cancelled, []
            tasks = [(request.id, self._tasks.pop(request.id)) for request in admitted]
        events = [event for request_id, task in tasks if (event := _start(engine, request_id, task)) is not None]
        events += [event for request_id in cancelled if (event := _cancel(engine, request_id)) is not None]
        events += engine.step()
        with self._changed:
            for event in events:
                if event.finish_reason is not None:
                    self._scheduler.finish(event.request_id)
            self._admit()
        if events:
            self._on_events(events)
        return True


def _cancel(engine: StepEngine, request_id: int) -> TokenEvent | None:
    """Cancel a request. Return its end if the engine cannot cancel it, so that only this request
    fails."""
    try:
        engine.cancel(request_id)
    except SizewiseError:
        return TokenEvent(request_id, None, FinishReason.FAILED)
    return None


def _start(engine: StepEngine, request_id: int, task: GenerationTask) -> TokenEvent | None:
    try:
        engine.start(request_id, task)
    except SizewiseError:
        return TokenEvent(request_id, None, FinishReason.FAILED)
    return None
