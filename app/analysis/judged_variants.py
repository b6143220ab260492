"""Which variant is best: the one that carries most of those that met every objective; and what it says of each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from app.analysis.call_stages import fastest
from app.analysis.gates import judge_gate, tagged
from app.analysis.objectives import judge
from app.analysis.variant_slo import answer_of, headline_of_variant, is_beyond, is_endless, missed_of
from app.errors import ExitCode
from app.records.estimate import Estimate, Variant
from app.records.local import NoBestReason, VariantFacts
from app.records.result import Cause, Judged, Objective, Stage

NO_BEST_TEXTS: dict[NoBestReason, str] = {
    "not_trusted": "no variant was measured whose numbers can be relied on",
    "open": "no variant could be shown to meet every objective",
    "missed": "no variant met every objective",
    "cut_short": "the engine ended before it had judged the run",
}
NO_VARIANT = Cause("no_variant", ExitCode.GATE_FAILED, NO_BEST_TEXTS["missed"])


class Judgeable(msgspec.Struct, frozen=True):
    """A variant with its stages, whole."""

    facts: VariantFacts
    stages: tuple[Stage, ...]

    def answering(self, slo: Sequence[Objective]) -> tuple[Stage, ...]:
        """Without the rates of a search that failed."""
        return headline_of_variant(slo, self.stages)

    def misses(self, slo: Sequence[Objective]) -> tuple[tuple[Objective, Estimate], ...]:
        return missed_of(slo, self.answering(slo))

    def is_trusted(self, slo: Sequence[Objective]) -> bool:
        """Whether it was measured to its end, and nothing makes it INVALID."""
        is_valid = all(stage.verdict.status != "INVALID" for stage in self.answering(slo))
        return bool(self.stages) and is_valid and self.facts.failure is None


def best_of(variants: Sequence[Judgeable], slo: Sequence[Objective]) -> tuple[Judgeable | None, NoBestReason | None]:
    """The variant with the most throughput of those that met every objective, by point estimates; with none, why."""
    trusted = [one for one in variants if one.is_trusted(slo)]
    if not trusted:
        return None, "not_trusted"
    meeting = [one for one in trusted if not one.misses(slo)]
    if not meeting:
        is_open = any(not is_beyond(slo, one.stages) for one in trusted)
        return None, "open" if is_open else "missed"
    return max(meeting, key=lambda one: _carried(one).value or 0.0), None


def _carried(one: Judgeable) -> Estimate:
    """Inferences a second: as they arrive, where that was searched, else the most."""
    searched, batch = one.facts.server_per_s, one.facts.variant.batch
    if searched is None or searched.value is None:
        return fastest(one.stages)
    interval = None if searched.ci95 is None else (searched.ci95[0] * batch, searched.ci95[1] * batch)
    return Estimate(searched.value * batch, interval)


def as_fast_as(best: Judgeable, variants: Sequence[Judgeable], slo: Sequence[Objective]) -> tuple[Variant, ...]:
    """Of the others that met every objective, those whose interval reaches into the best's."""
    least = (_carried(best).ci95 or (math.inf, math.inf))[0]
    others = [one for one in variants if one is not best and one.is_trusted(slo) and not one.misses(slo)]
    return tuple(one.facts.variant for one in others if (_carried(one).ci95 or (0.0, 0.0))[1] >= least)


def nearest_of(variants: Sequence[Judgeable], slo: Sequence[Objective]) -> Judgeable | None:
    """The one that missed the fewest objectives, and of those the fastest."""

    def badness(one: Judgeable) -> tuple[int, float]:
        return len(one.misses(slo)), -(_carried(one).value or 0.0)

    return min((one for one in variants if one.stages), key=badness, default=None)


def judge_by_answer(objective: Objective, stages: Sequence[Stage]) -> Judged:
    """In the stage of a variant that answers it."""
    stage, estimate = answer_of(objective, stages)
    judged = msgspec.structs.replace(judge(objective, estimate), stage=None if stage is None else stage.name)
    is_over = stage is not None and is_endless(objective, stage) and objective.comparator in ("<", "<=")
    return msgspec.structs.replace(judged, judgement="FAIL") if is_over else judged


def judge_gate_by_answer(gate: Objective, judged_on: Sequence[Stage], stages: Sequence[Stage]) -> Judged:
    """Of the answering variant, or of those that the gate's tags choose."""
    if gate.is_change or (gate.tags and not (chosen := tagged(stages, gate.tags))):
        return judge_gate(gate, judged_on, stages, {})
    return judge_by_answer(gate, chosen if gate.tags else judged_on)
