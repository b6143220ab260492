"""Replay of a resumed run, which returns the stages that were measured before the interruption
instead of measuring them again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from app.errors import UsageError
from app.records.interrupted import CompletedStage, InterruptedRun
from app.records.stage_kinds import STAGE_KINDS
from app.session.spec import ResolvedStage


class Replay:
    """Completed stages of an interrupted run. The resumed session requests the same stages as the
    interrupted session; completed stages are returned from storage and not measured again."""

    def __init__(self, interrupted_run: InterruptedRun | None, now_ns: Callable[[], int]) -> None:
        self._remaining_stages = deque(interrupted_run.stages if interrupted_run is not None else ())
        self._replay_time_ns = 0 if interrupted_run is None else interrupted_run.started_ns
        self._now_ns = now_ns
        self._gap_ns = 0
        self.needs_warmup = any(STAGE_KINDS[stage.data.kind].is_measured for stage in self._remaining_stages)
        """True if stages were measured before the interruption. The target was warm then, but may
        be cold now."""

    @property
    def is_done(self) -> bool:
        return not self._remaining_stages

    def read_clock_ns(self) -> int:
        """Return the current time in ns on a clock that omits the gap between interruption and
        resume. During the replay, return the end of the last replayed stage."""
        return self._replay_time_ns if self._remaining_stages else self._now_ns() - self._gap_ns

    def pop_stage(self, resolved_stage: ResolvedStage) -> tuple[list[CompletedStage], CompletedStage | None]:
        """Return the stored stage for `resolved_stage`, or `None` if this stage was not measured
        before the interruption. Also return the stored warm-up stages that precede this stage,
        which an earlier resume added and this session skips.

        Raises UsageError if the stored stages do not match the stages of the profile."""
        skipped_stages: list[CompletedStage] = []
        while self._remaining_stages:
            stage_data = self._remaining_stages[0].data
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

    def pop_remaining_stages(self) -> list[CompletedStage]:
        """Return the stored stages that the resumed session did not request before it ended."""
        return [self._pop_next() for _ in range(len(self._remaining_stages))]

    def _pop_next(self) -> CompletedStage:
        stage = self._remaining_stages.popleft()
        self._replay_time_ns = stage.data.end_ns
        if not self._remaining_stages:
            self._gap_ns = self._now_ns() - stage.data.end_ns
        return stage
