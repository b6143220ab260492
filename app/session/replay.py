"""Earlier stages of a resumed run, handed out again in place of the stages that would measure them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from app.errors import UsageError
from app.records.interrupted import InterruptedRun, MeasuredStage
from app.session.spec import StageOrder


class Replay:
    """The session of a resumed run asks for the same stages again: for those that came to their end, it gets what was
    measured then."""

    def __init__(self, interrupted: InterruptedRun | None, now_ns: Callable[[], int]) -> None:
        self._left = deque(interrupted.stages if interrupted is not None else ())
        self._resumed_ns = 0 if interrupted is None else interrupted.started_ns
        self._now_ns = now_ns
        self._gap_ns = 0
        self.needs_warmup = any(one.facts.kind != "warmup" for one in self._left)
        """Whether stages were measured before, for which the target was warm: it may be cold by now."""

    @property
    def is_over(self) -> bool:
        return not self._left

    def clock_ns(self) -> int:
        """The run's time without the gap in which nobody measured; during the replay, that of the earlier stages."""
        return self._resumed_ns if self._left else self._now_ns() - self._gap_ns

    def take(self, order: StageOrder) -> tuple[list[MeasuredStage], MeasuredStage | None]:
        """The stage that was ordered, or None where it was not measured yet, and before it the warm-ups of an earlier
        resumption, which nobody orders. Raises UsageError where the stages are not those of this profile."""
        skipped: list[MeasuredStage] = []
        while self._left:
            facts = self._left[0].facts
            is_warmup = facts.kind == "warmup"
            if (facts.name, facts.repeat, is_warmup) == (order.name, order.repeat, order.kind == "warmup"):
                return skipped, self._next()
            if not is_warmup or order.kind == "warmup":
                raise UsageError(
                    f"the run cannot be resumed: stage {facts.name} was measured where {order.name} would be now",
                    hint="Its profile, or the version of Sizewise, is another. Run the profile again.",
                )
            skipped.append(self._next())
        return skipped, None

    def rest(self) -> list[MeasuredStage]:
        """What was measured and is not ordered any more, since the session ends."""
        return [self._next() for _ in range(len(self._left))]

    def _next(self) -> MeasuredStage:
        found = self._left.popleft()
        self._resumed_ns = found.facts.end_ns
        if not self._left:
            self._gap_ns = self._now_ns() - found.facts.end_ns
        return found
