"""Replay of a resumed run: returns stages that were measured earlier instead of measuring them
again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from app.errors import UsageError
from app.records.interrupted import CompletedStage, InterruptedRun
from app.session.spec import ResolvedStage


class Replay:
    """Completed stages of an interrupted run, which the resumed session does not measure again.

    The session of a resumed run requests the same stages as before; completed stages are returned
    from storage."""

    def __init__(self, interrupted: InterruptedRun | None, now_ns: Callable[[], int]) -> None:
        self._remaining = deque(interrupted.stages if interrupted is not None else ())
        self._replay_time_ns = 0 if interrupted is None else interrupted.started_ns
        self._now_ns = now_ns
        self._gap_ns = 0
        self.needs_warmup = any(stage.data.kind != "warmup" for stage in self._remaining)
        """True if stages were measured earlier on a warm target, which may be cold now."""

    @property
    def is_done(self) -> bool:
        return not self._remaining

    def read_clock_ns(self) -> int:
        """Return the run time clock in ns, without the gap between interruption and resume. During
        the replay, it returns the end of the last replayed stage."""
        return self._replay_time_ns if self._remaining else self._now_ns() - self._gap_ns

    def pop_stage(self, resolved_stage: ResolvedStage) -> tuple[list[CompletedStage], CompletedStage | None]:
        """Return the stored stage for `resolved_stage` (`None` if it was not measured), preceded by
        the stored warm-up stages of an earlier resume, which this session skips.

        Raises UsageError if the stored stages are not those of this profile."""
        skipped_stages: list[CompletedStage] = []
        while self._remaining:
            stage_data = self._remaining[0].data
            is_warmup = stage_data.kind == "warmup"
            if (stage_data.name, stage_data.repeat, is_warmup) == (
                resolved_stage.name,
                resolved_stage.repeat,
                resolved_stage.kind == "warmup",
            ):
                return skipped_stages, self._pop_next()
            if not is_warmup or resolved_stage.kind == "warmup":
                raise UsageError(
                    f"the run cannot be resumed: its stage {stage_data.name} does not match stage "
                    f"{resolved_stage.name} of the profile",
                    hint="The profile or the version of Sizewise has changed. Run the profile again.",
                )
            skipped_stages.append(self._pop_next())
        return skipped_stages, None

    def pop_remaining(self) -> list[CompletedStage]:
        """Return the stored stages that the session did not request before it ended."""
        return [self._pop_next() for _ in range(len(self._remaining))]

    def _pop_next(self) -> CompletedStage:
        stage = self._remaining.popleft()
        self._replay_time_ns = stage.data.end_ns
        if not self._remaining:
            self._gap_ns = self._now_ns() - stage.data.end_ns
        return stage
