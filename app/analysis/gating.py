"""What of the judgements decides how a run ends: its causes, its exit code, its warnings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from app.analysis.gates import judge_change
from app.analysis.max_rate import shown_against
from app.errors import ExitCode, precedence
from app.records.comparison import Comparison
from app.records.result import Cause, Exit, Judged, Objective, Result, Verdict

OnInconclusive = Literal["pass", "warn", "fail"]
GateKind = Literal["slo", "regression"]
_OPEN = "the interval reaches past the limit"


class Gating(msgspec.Struct, frozen=True):
    """`kinds` decide: `slo` is the SLO and every gate on what was measured, `regression` every gate on a change. What
    decides nothing is judged and shown all the same."""

    on_inconclusive: OnInconclusive = "warn"
    kinds: tuple[GateKind, ...] = ("slo", "regression")


DEFAULT = Gating()


def exit_of(causes: Sequence[Cause]) -> Exit:
    """The causes in the order of their precedence: the exit code is that of the first."""
    ordered = tuple(sorted(causes, key=lambda cause: precedence(cause.code)))
    return Exit(ordered[0].code if ordered else ExitCode.OK, ordered)


def causes_of(judged: Iterable[Judged], gating: Gating) -> list[Cause]:
    return [cause for one in judged if _decides(one, gating) and (cause := _cause(one, gating)) is not None]


def invalid_cause(verdict: Verdict) -> Cause:
    return Cause("invalid", ExitCode.INVALID, f"the measurement is INVALID: {'; '.join(verdict.reasons)}")


def no_rate_cause(reason: str | None) -> Cause:
    return Cause("no_rate", ExitCode.GATE_FAILED, f"no rate held the SLO: {reason}")


def with_comparison(result: Result, comparison: Comparison, gating: Gating, found: Sequence[Cause] = ()) -> Result:
    """The result with its gates on changes judged by the comparison, and the exit that follows. `found` are causes
    that the comparison gives by itself."""
    gates = tuple(
        judge_change(one.objective, result.stages, comparison) if one.objective.is_change else one
        for one in result.gates
    )
    again = (ExitCode.REGRESSION, ExitCode.INCONCLUSIVE)
    kept = [cause for cause in result.exit.causes if cause.code not in again]
    judged = [cause for cause in causes_of((*result.slo, *gates), gating) if cause.code in again]
    judged += [cause for cause in found if cause.code != ExitCode.REGRESSION or "regression" in gating.kinds]
    return msgspec.structs.replace(result, gates=gates, comparison=comparison, exit=exit_of([*kept, *judged]))


def warnings_of(result: Result, gating: Gating) -> Iterator[str]:
    """Sentences on what missed its limit and decides nothing, and on what its interval leaves open."""
    for one in (*result.slo, *result.gates):
        if one.judgement == "FAIL" and not _decides(one, gating):
            yield f"{_failed(one)} (it only warns)"
        elif one.judgement == "INCONCLUSIVE" and gating.on_inconclusive == "warn":
            is_without = one.objective.is_change and result.comparison is None
            hint = "; --baseline RUN names one" if is_without else ""
            yield f"{_inconclusive(one)}{hint}"


def _decides(one: Judged, gating: Gating) -> bool:
    return one.objective.level == "fail" and kind_of(one.objective) in gating.kinds


def kind_of(objective: Objective) -> GateKind:
    return "regression" if objective.is_change else "slo"


def _cause(one: Judged, gating: Gating) -> Cause | None:
    if one.judgement == "FAIL":
        if one.objective.is_change:
            return Cause("change_failed", ExitCode.REGRESSION, _failed(one))
        return Cause("objective_failed", ExitCode.GATE_FAILED, _failed(one))
    if one.judgement == "INCONCLUSIVE" and gating.on_inconclusive == "fail":
        return Cause("objective_inconclusive", ExitCode.INCONCLUSIVE, _inconclusive(one))
    return None


def _failed(one: Judged) -> str:
    return f"{one.objective.text} failed{_where(one)}: {shown_against(one.objective, one.observed.value or 0.0)}"


def _inconclusive(one: Judged) -> str:
    return f"{one.objective.text} is inconclusive{_where(one)}: {one.observed.reason or _OPEN}"


def _where(one: Judged) -> str:
    return f" in {one.stage}" if one.stage else ""
