"""Decide from a few requests without load whether an idle endpoint can meet the limits of an SLO on
latency percentiles and on the error rate."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from scipy import special

from app.analysis.columns import Floats
from app.analysis.max_rate import format_against_limit
from app.analysis.objectives import evaluate_objective, select_binding_objectives
from app.analysis.rows import StageRows
from app.analysis.spans import LIMIT_METRICS, compute_durations_ms, is_within_limit
from app.records.metrics import PERCENTILES, metric_label
from app.records.result import Estimate, Objective, ObjectiveResult

_SIGNIFICANCE = 1e-3
"""Probability below which the number of responses within a limit counts as impossible for an
endpoint that meets the objective. Ten responses suffice for a median, three for a p95. It is also
the probability below which a number of failures counts as impossible for a limit on the error rate:
three of ten requests exclude a limit of 1 %."""


class UnmetObjective(msgspec.Struct, frozen=True):
    """An objective on a latency percentile that the endpoint does not meet even without load, and
    the observed durations in ms: their number, their value at this percentile, and the lowest, the
    median and the highest."""

    objective: Objective
    count: int
    percentile_ms: float
    min_ms: float
    median_ms: float
    max_ms: float

    def evaluate(self) -> ObjectiveResult:
        """Return the objective as failed by the observed durations."""
        reason = f"{self.count} requests without load"
        return evaluate_objective(self.objective, Estimate(self.percentile_ms, n=self.count, reason=reason))

    def format_finding(self) -> str:
        """Format the finding as a sentence without a full stop."""
        value_text = format_against_limit(self.objective, self.median_ms)
        return (
            f"the SLO is below the idle latency: {metric_label(self.objective.metric)} was {value_text} without load "
            f"(objective: {self.objective.label})"
        )

    def format_note(self) -> str:
        """Format the observed durations and what the user can do."""
        low, median, high = (
            format_against_limit(self.objective, value) for value in (self.min_ms, self.median_ms, self.max_ms)
        )
        metric_text = metric_label(self.objective.metric)
        return (
            f"Idle latency: in {self.count} requests sent one at a time, {metric_text} was {low} to {high} (median "
            f"{median}), so no rate can meet {self.objective.label}. Raise this limit, or make single requests faster."
        )


class UnmetErrorLimit(msgspec.Struct, frozen=True):
    """A limit on the error rate that the endpoint does not meet even without load, and the number of
    observed requests and of failures among them."""

    objective: Objective
    count: int
    failed_count: int

    def evaluate(self) -> ObjectiveResult:
        """Return the objective as failed by the observed requests."""
        reason = f"{self.count} requests without load"
        estimate = Estimate(self.failed_count / self.count, n=self.count, reason=reason)
        return evaluate_objective(self.objective, estimate)

    def format_finding(self) -> str:
        """Format the finding as a sentence without a full stop."""
        return (
            f"the target fails without load: {self.failed_count} of {self.count} requests failed (objective: "
            f"{self.objective.label})"
        )

    def format_note(self) -> str:
        """Format what the finding means and what the user can do."""
        return (
            f"Errors without load: {self.failed_count} of {self.count} requests failed at a low rate, so there was no "
            f"search. Fix the errors, raise the target's rate limit, or set another limit than "
            f"{self.objective.label}."
        )


def find_unmet_error_limit(rows: StageRows, slo: Sequence[Objective]) -> UnmetErrorLimit | None:
    """Return the first limit of the SLO on the error rate that the endpoint certainly does not meet
    without load; `None` if there is no such limit, or if too few requests failed to be certain.

    The first request is ignored. A limit is not met if at least this number of failures would occur
    by chance in less than 1 of 1,000 measurements of an endpoint that meets it (binomial test)."""
    rows = rows.filter(np.arange(rows.is_success.size) > 0)
    for objective in select_binding_objectives(slo):
        if objective.metric != "error_rate" or objective.of is not None or objective.comparator not in ("<", "<="):
            continue
        class_rows = _select_class(rows, objective)
        count, failed_count = class_rows.is_success.size, int(np.count_nonzero(~class_rows.is_success))
        if failed_count and special.bdtrc(failed_count - 1, count, min(objective.limit, 1.0)) < _SIGNIFICANCE:
            return UnmetErrorLimit(objective, count, failed_count)
    return None


def find_unmet_objective(rows: StageRows, slo: Sequence[Objective]) -> UnmetObjective | None:
    """Return the first objective of the SLO that the endpoint certainly does not meet without load;
    `None` if there is no such objective, or if there are too few responses to be certain.

    `rows` are requests that were sent one at a time. The first one is ignored, because it may find
    caches empty and connections closed, and failed requests are ignored, because they have no
    latency. An objective of a percentile requires a share of the responses to be within its limit.
    It is not met if a number within the limit as small as the observed one would occur by chance in
    less than 1 of 1,000 measurements of an endpoint that meets it (binomial test)."""
    is_counted = rows.is_success & (np.arange(rows.is_success.size) > 0)
    counted_rows = rows.filter(is_counted)
    for objective in select_binding_objectives(slo):
        required_share = PERCENTILES.get(objective.aggregate or "") if objective.metric in LIMIT_METRICS else None
        if required_share is None or objective.of is not None or objective.comparator not in ("<", "<="):
            continue
        durations_ms = _select_durations_ms(counted_rows, objective)
        if not durations_ms.size:
            continue
        within_count = int(np.count_nonzero(is_within_limit(objective, durations_ms, durations_ms.size)))
        if special.bdtr(within_count, durations_ms.size, required_share) < _SIGNIFICANCE:
            percentile = np.percentile(durations_ms, 100 * required_share, method="inverted_cdf")
            low, median, high = (float(value) for value in np.percentile(durations_ms, (0, 50, 100)))
            return UnmetObjective(objective, durations_ms.size, float(percentile), low, median, high)
    return None


def _select_durations_ms(rows: StageRows, objective: Objective) -> Floats:
    """Return the known durations of the requests to which the objective applies, in ms."""
    durations_ms = compute_durations_ms(_select_class(rows, objective), objective.metric)
    return np.empty(0) if durations_ms is None else durations_ms[~np.isnan(durations_ms)]


def _select_class(rows: StageRows, objective: Objective) -> StageRows:
    """Return the rows of the class to which the objective applies; all rows if it applies to all
    classes."""
    if objective.request_class is None:
        return rows
    if rows.classes is None or objective.request_class not in rows.classes.categories:
        return rows.filter(np.zeros(rows.is_success.size, bool))
    return rows.filter(rows.classes.equals(objective.request_class))
