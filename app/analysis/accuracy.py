"""A variant's accuracy on labelled rows, held against the reference's on the same rows.

Rows are taken as drawn independently from those the model will meet.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from app.analysis.columns import Floats
from app.analysis.estimates import share
from app.analysis.paired_bootstrap import compared_errors
from app.analysis.paired_shares import PairedCounts, difference_interval, mcnemar, ratio_interval
from app.analysis.sample_size import ALPHA
from app.errors import UsageError
from app.records.local import Accuracy
from app.records.result import Check, Estimate, Judgement

Metric = Literal["top-1", "mean absolute error"]

_Z = float(special.ndtri(1 - ALPHA / 2))
_POWER_Z = float(special.ndtri(0.8))


def accuracy_of(scores: npt.ArrayLike, reference: npt.ArrayLike | None, metric: Metric) -> Accuracy:
    """From one score a row: 1 or 0 of `top-1`, else the absolute error. Raises UsageError for other rows than the
    reference's.

    A share has Wilson's interval, its change Tango's, what is kept of it Tang's, and McNemar's test is mid-p. A mean
    error has Student's interval, and draws of the rows tell the rest. Where a row has no finite error there is no mean,
    and nothing of the reference is kept.
    """
    now = np.asarray(scores, dtype=np.float64)
    before = None if reference is None else np.asarray(reference, dtype=np.float64)
    if before is not None and before.shape != now.shape:
        raise UsageError(f"the reference has scores of {before.size} rows, the variant of {now.size}")
    return _of_shares(now, before) if metric == "top-1" else _of_errors(now, before)


def chance_of(labels: npt.NDArray[Any]) -> float | None:
    """The share of labels that a model would get right which always gives the most frequent class; None of amounts,
    or where there is but one class."""
    if labels.dtype.kind not in "iu":
        return None
    _, counts = np.unique(labels, return_counts=True)
    return float(counts.max() / counts.sum()) if len(counts) > 1 else None


def chance_check(accuracy: Estimate | None, chance: float | None, whose: str = "") -> Check | None:
    """WARN where an accuracy is no better than that of one class for every row, which a wrong output or wrong labels
    give too. None where there is nothing to compare."""
    if accuracy is None or accuracy.value is None or chance is None:
        return None
    low = accuracy.value if accuracy.ci95 is None else accuracy.ci95[0]
    if low > chance:
        return Check("accuracy_above_chance", accuracy.value, chance, "share", "VALID", None)
    hint = (
        f"{whose}No better than the most frequent class for every row: do workload.labels belong to the model, and is "
        "its answer read from the right output (workload.output)?"
    )
    return Check("accuracy_above_chance", accuracy.value, chance, "share", "WARN", hint)


def keeps(accuracy: Accuracy, limit: float) -> Judgement:
    """Whether at least this share of the reference's metric is kept, such as 0.99.

    PASS where the whole interval is at or above the limit, FAIL where it is wholly below; INCONCLUSIVE where it
    straddles it, or where nothing says what is kept.
    """
    if accuracy.kept is None or accuracy.kept.ci95 is None:
        return "INCONCLUSIVE"
    low, high = accuracy.kept.ci95
    return "PASS" if low >= limit else "FAIL" if high < limit else "INCONCLUSIVE"


def rows_to_settle(accuracy: Accuracy, limit: float) -> int | None:
    """About how many rows, all told, would settle in four cases of five whether the limit is kept, if they showed what
    these did: (1.96 + 0.84)² p / d², p the rows' discordance and d the distance from the limit.

    None where no number of rows would, or none is known. Where hardly a row differs, the second term rules: it is what
    a score interval is wide without any difference, which shrinks with the rows and not with their root.
    """
    kept = accuracy.kept
    if kept is None or kept.value is None or kept.ci95 is None or kept.n is None or kept.value == limit:
        return None
    toward = kept.value - kept.ci95[0] if kept.value > limit else kept.ci95[1] - kept.value
    scale = accuracy.reference.value if accuracy.metric == "top-1" and accuracy.reference is not None else None
    floor = 0.0 if scale is None else (_Z**2 / scale) ** 2
    variance = max(0.0, kept.n * toward**2 - floor / kept.n) / _Z**2
    spread, distance = (_Z + _POWER_Z) ** 2 * variance, abs(kept.value - limit)
    return math.ceil((spread + math.sqrt(spread**2 + 4 * distance**2 * floor)) / (2 * distance**2))


def _of_shares(now: Floats, before: Floats | None) -> Accuracy:
    value = share(round(float(now.sum())), now.size)
    if before is None or not now.size:
        return _alone("top-1", value)
    is_right, was_right = now > 0, before > 0
    counts = PairedCounts(
        rows=now.size,
        both=int(np.count_nonzero(is_right & was_right)),
        only_now=int(np.count_nonzero(is_right & ~was_right)),
        only_reference=int(np.count_nonzero(~is_right & was_right)),
    )
    nothing_to_keep = Estimate(None, n=now.size, reason="the reference has no row right")
    return Accuracy(
        metric="top-1",
        value=value,
        reference=share(counts.reference, now.size),
        change=Estimate(counts.difference, difference_interval(counts), now.size),
        kept=Estimate(counts.now / counts.reference, ratio_interval(counts), now.size)
        if counts.reference
        else nothing_to_keep,
        p_value=mcnemar(counts),
        test="McNemar",
    )


def _of_errors(now: Floats, before: Floats | None) -> Accuracy:
    value = _mean(now)
    if before is None or not now.size:
        return _alone("mean absolute error", value)
    reference = _mean(before)
    if value.value is None or reference.value is None:
        return _without_mean(value, reference)
    compared, rows = compared_errors(now, before), now.size
    return Accuracy(
        metric="mean absolute error",
        value=value,
        reference=reference,
        change=Estimate(
            value.value - reference.value,
            compared.difference,
            rows,
            reason=None if compared.difference else compared.reason,
        ),
        kept=Estimate(reference.value / value.value, compared.ratio, rows, reason=compared.reason)
        if value.value
        else Estimate(None, n=rows, reason="no row has an error"),
        p_value=compared.p_value,
        test=None if compared.p_value is None else "paired bootstrap",
    )


def _without_mean(value: Estimate, reference: Estimate) -> Accuracy:
    reason = value.reason or reference.reason
    is_lost = value.value is None and reference.value is not None
    return Accuracy(
        metric="mean absolute error",
        value=value,
        reference=reference,
        change=Estimate(None, n=value.n, reason=reason),
        kept=Estimate(0.0 if is_lost else None, (0.0, 0.0) if is_lost else None, value.n, reason=reason),
        p_value=None,
        test=None,
    )


def _alone(metric: Metric, value: Estimate) -> Accuracy:
    return Accuracy(metric=metric, value=value, reference=None, change=None, kept=None, p_value=None, test=None)


def _mean(errors: Floats) -> Estimate:
    """Student's interval; not widened by the order of rows, for a file sorted by label is no drift."""
    rows = errors.size
    lost = rows - int(np.count_nonzero(np.isfinite(errors)))
    if not rows or lost:
        return Estimate(None, n=rows, reason=f"{lost} of {rows} rows have no finite error" if lost else "no values")
    value = float(errors.mean())
    if rows == 1:
        return Estimate(value, n=1, reason="no interval from one value")
    half = float(special.stdtrit(rows - 1, 1 - ALPHA / 2)) * float(errors.std(ddof=1)) / math.sqrt(rows)
    return Estimate(value, (max(0.0, value - half), value + half), rows)
