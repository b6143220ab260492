"""Replay of a resumed run: returns the stages measured earlier instead of measuring them again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from app.errors import UsageError
from app.records.interrupted import CompletedStage, InterruptedRun
from app.session.spec import ResolvedStage


class Replay:
    """Stages of an interrupted run that the resumed session does not measure again.

    The session of a resumed run requests the same stages; completed ones are returned from storage."""

    def __init__(self, interrupted: InterruptedRun | None, now_ns: Callable[[], int]) -> None:
        self._left = deque(interrupted.stages if interrupted is not None else ())
        self._resumed_ns = 0 if interrupted is None else interrupted.started_ns
        self._now_ns = now_ns
        self._gap_ns = 0
        self.needs_warmup = any(stage.data.kind != "warmup" for stage in self._left)
        """Whether stages were measured earlier on a warm target, which may be cold by now."""

    @property
    def is_done(self) -> bool:
        return not self._left

    def clock_ns(self) -> int:
        """Return the run's clock in ns without the gap between interruption and resumption.

        During the replay it is the time of the earlier stages."""
        return self._resumed_ns if self._left else self._now_ns() - self._gap_ns

    def pop_stage(self, resolved_stage: ResolvedStage) -> tuple[list[CompletedStage], CompletedStage | None]:
        """Return the stored stage for `resolved_stage`, or `None` if it was not measured.

        The list holds warm-ups of an earlier resumption that come before it and that the session does not request.

        Raises UsageError if the stored stages are not those of this profile."""
        skipped: list[CompletedStage] = []
        while self._left:
            facts = self._left[0].data
            is_warmup = facts.kind == "warmup"
            if (facts.name, facts.repeat, is_warmup) == (
                resolved_stage.name,
                resolved_stage.repeat,
                resolved_stage.kind == "warmup",
            ):
                return skipped, self._next()
            if not is_warmup or resolved_stage.kind == "warmup":
                raise UsageError(
                    f"the run cannot be resumed: its stage {facts.name} does not match stage {resolved_stage.name} "
                    "of the "
                    "profile",
                    hint="The profile or the version of Sizewise has changed. Run the profile again.",
                )
            skipped.append(self._next())
        return skipped, None

    def pop_remaining(self) -> list[CompletedStage]:
        """Return the stored stages that the session did not request before it ended."""
        return [self._next() for _ in range(len(self._left))]

    def _next(self) -> CompletedStage:
        stage = self._left.popleft()
        self._resumed_ns = stage.data.end_ns
        if not self._left:
            self._gap_ns = self._now_ns() - stage.data.end_ns
        return stage
