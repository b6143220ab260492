"""A run held against a baseline: refused before it is measured where it cannot be, told in its result after."""

from __future__ import annotations

from collections.abc import Iterator

from app.analysis.comparison import compare_runs, regressions, undecided
from app.analysis.comparison_notes import in_words, regression_in_words
from app.analysis.environment_differences import Machine, differences_in_words, machine_differences, machine_of
from app.analysis.gating import Gating, with_comparison
from app.errors import ExitCode, UsageError
from app.records.comparison import Comparison
from app.records.result import Cause, Environment, Result
from app.session.local_spec import LocalSpec
from app.session.spec import BaselineSpec, RunSpec

_HINT = "Take a baseline of this machine and workload, or have it compared and stamped with --force."


def refuse_other_machine(spec: RunSpec | LocalSpec, environment: Environment) -> None:
    """Raises UsageError where what is known before the run forbids the comparison."""
    if spec.baseline is None or spec.baseline.is_forced:
        return
    here = Machine(environment, spec.target, spec.workload_hash)
    differences = machine_differences([machine_of(run) for run in spec.baseline.runs], [here])
    forbidding = [one for one in differences if one.forbids]
    if forbidding:
        raise UsageError(f"the baseline cannot be compared: {differences_in_words(forbidding)}", hint=_HINT)


def held_against(result: Result, baseline: BaselineSpec | None, gating: Gating) -> Result:
    """With the comparison, gates on changes judged by it, and the exit that follows. As it is without a baseline, and
    where the measurement is INVALID, no number of which is to be relied on."""
    if baseline is None or result.verdict.status == "INVALID":
        return result
    comparison = compare_runs(baseline.runs, [result], tolerance=baseline.tolerance, is_forced=baseline.is_forced)
    return with_comparison(result, comparison, gating, list(_causes(comparison, gating)))


def _causes(comparison: Comparison, gating: Gating) -> Iterator[Cause]:
    forbidding = [one for one in comparison.differences if one.forbids]
    if forbidding and not comparison.is_forced:
        text = f"the baseline cannot be compared: {differences_in_words(forbidding)}"
        yield Cause("baseline_refused", ExitCode.USAGE, text)
    elif not comparison.changes:
        yield Cause("baseline_refused", ExitCode.USAGE, "the baseline has no metric in common with this run")
    for change in regressions(comparison):
        yield Cause("baseline_regressed", ExitCode.REGRESSION, regression_in_words(change))
    if gating.on_inconclusive == "fail" and "regression" in gating.kinds:
        for change in undecided(comparison):
            text = f"{in_words(change)} is inconclusive against the baseline"
            yield Cause("baseline_inconclusive", ExitCode.INCONCLUSIVE, text)
