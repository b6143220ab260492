"""A variant's accuracy on labelled rows, held against the reference's on the same rows.

Rows are taken as drawn independently from those the model will meet.

Mean errors of the same rows compared, by drawing the rows again: what one row's two errors share
cancels out.

Two shares of the same rows compared: how many rows did only the one get right, and how many only
the other.

The intervals are score intervals: Tango's for the difference (Statistics in Medicine 17, 1998) and
Tang, Tang and Chan's for the ratio (ibid. 22, 2003), recommended by Fagerland, Lydersen and Laake
(ibid. 33, 2014). They have a width where no row differs at all, and so tell ten rows without a
difference from ten thousand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import special

from app.analysis.columns import Floats
from app.analysis.estimates import share
from app.analysis.sample_size import ALPHA
from app.errors import UsageError
from app.records.local import Accuracy
from app.records.result import Check, Estimate

_FEWEST_ROWS = 20
"""With fewer, what is drawn is too much the same for an interval."""
_DRAWS = 2_000
_SEED = 7
_MOST_DRAWN = 10_000
_DRAWN_AT_ONCE = 2**21


class PairedErrors(msgspec.Struct, frozen=True):
    """Intervals at 95 % of `now` less reference and of reference over `now`; the two-sided p-value of no difference.
    What is withheld is None, with the reason."""

    difference: tuple[float, float] | None
    ratio: tuple[float, float] | None
    p_value: float | None
    reason: str | None = None


def compared_errors(now: Floats, reference: Floats) -> PairedErrors:
    """Percentiles of 2,000 seeded draws, at levels that Student's factor widens for few rows (Hesterberg, The American
    Statistician 69, 2015): plain percentiles of 20 rows are as narrow as if the spread were known.

    More than 10,000 rows are first dealt into groups at random, which leaves a mean's spread as it is.
    """
    if now.size < _FEWEST_ROWS:
        return PairedErrors(None, None, None, f"no interval from fewer than {_FEWEST_ROWS} rows")
    generator = np.random.default_rng(_SEED)
    mean_now, mean_reference = _drawn_means(_dealt(now, reference, generator), generator)
    difference = mean_now - mean_reference
    below, above = np.count_nonzero(difference <= 0), np.count_nonzero(difference >= 0)
    has_ratio = bool(mean_now.min() > 0)
    return PairedErrors(
        difference=_interval(difference, now.size),
        ratio=_interval(mean_reference / mean_now, now.size) if has_ratio else None,
        p_value=float(min(1.0, 2 * (1 + min(below, above)) / (1 + _DRAWS))),
        reason=None if has_ratio else "no interval: hardly a row has an error",
    )


def _dealt(now: Floats, reference: Floats, generator: np.random.Generator) -> Floats:
    """Columns: error now, error of the reference, rows."""
    table: Floats = np.column_stack([now, reference, np.ones(now.size)])
    if now.size <= _MOST_DRAWN:
        return table
    starts = np.arange(_MOST_DRAWN // 2) * now.size // (_MOST_DRAWN // 2)
    return np.asarray(np.add.reduceat(generator.permutation(table), starts))


def _drawn_means(table: Floats, generator: np.random.Generator) -> tuple[Floats, Floats]:
    size = len(table)
    at_once = max(1, _DRAWN_AT_ONCE // size)
    totals: Floats = np.concatenate(
        [
            table[generator.integers(0, size, (min(at_once, _DRAWS - done), size))].sum(axis=1)
            for done in range(0, _DRAWS, at_once)
        ]
    )
    return totals[:, 0] / totals[:, 2], totals[:, 1] / totals[:, 2]


def _interval(drawn: Floats, rows: int) -> tuple[float, float]:
    t = float(special.stdtrit(rows - 1, 1 - ALPHA / 2))
    level = float(special.ndtr(-t * math.sqrt(rows / (rows - 1))))
    low, high = np.quantile(drawn, (level, 1 - level))
    return float(low), float(high)


_Z = float(special.ndtri(1 - ALPHA / 2))
_HALVINGS = 60


class PairedCounts(msgspec.Struct, frozen=True):
    """Of `rows`: right in both, right only now, right only in the reference."""

    rows: int
    both: int
    only_now: int
    only_reference: int

    @property
    def now(self) -> int:
        return self.both + self.only_now

    @property
    def reference(self) -> int:
        return self.both + self.only_reference

    @property
    def difference(self) -> float:
        return (self.only_now - self.only_reference) / self.rows


def difference_interval(counts: PairedCounts) -> tuple[float, float]:
    """Of the share now less the reference's."""

    def is_within(difference: float) -> bool:
        distance = counts.only_now - counts.only_reference - counts.rows * difference
        return distance**2 <= _Z**2 * _difference_variance(counts, difference)

    return _edge(is_within, counts.difference, -1.0), _edge(is_within, counts.difference, 1.0)


def ratio_interval(counts: PairedCounts) -> tuple[float, float]:
    """Of the share now over the reference's, which must have got a row right."""
    ratio = counts.now / counts.reference

    def is_within(supposed: float) -> bool:
        distance = counts.now - supposed * counts.reference
        return distance**2 <= _Z**2 * _ratio_variance(counts, supposed)

    beyond = max(1.0, 2 * ratio)
    while is_within(beyond):
        beyond *= 2
    return _edge(is_within, ratio, 0.0), _edge(is_within, ratio, beyond)


def mcnemar(counts: PairedCounts) -> float:
    """The two-sided mid-p value of McNemar's exact test: the binomial on the rows that only one side got right.

    The exact test errs far less often than it may, and so misses more; mid-p holds its level (Fagerland, Lydersen and
    Laake, BMC Medical Research Methodology 13, 2013).
    """
    fewer, differing = min(counts.only_now, counts.only_reference), counts.only_now + counts.only_reference
    at_most = float(special.bdtr(fewer, differing, 0.5))
    below = float(special.bdtr(fewer - 1, differing, 0.5)) if fewer else 0.0
    return at_most + below


def _difference_variance(counts: PairedCounts, difference: float) -> float:
    """Of the rows' sum of differences, by the likeliest shares that have this difference."""
    rows, only_now, only_reference = counts.rows, counts.only_now, counts.only_reference
    linear = -only_now - only_reference + (2 * rows - only_now + only_reference) * difference
    constant = -only_reference * difference * (1 - difference)
    likeliest = _upper_root(2 * rows, linear, constant)
    return max(0.0, rows * (2 * likeliest + difference * (1 - difference)))


def _ratio_variance(counts: PairedCounts, ratio: float) -> float:
    """Of the rows' sum of right now less `ratio` times right before, by the likeliest shares of that ratio."""
    right = counts.both + counts.only_now + counts.only_reference
    linear = counts.reference * ratio**2 - (counts.now + 2 * counts.only_reference)
    constant = counts.only_reference * (1 - ratio) * right / counts.rows
    likeliest = _upper_root(counts.rows * (1 + ratio), linear, constant)
    return max(0.0, counts.rows * (1 + ratio) * likeliest + right * (ratio - 1))


def _upper_root(square: float, linear: float, constant: float) -> float:
    return (math.sqrt(max(0.0, linear**2 - 4 * square * constant)) - linear) / (2 * square)


def _edge(is_within: Callable[[float], bool], inside: float, outside: float) -> float:
    """Where, on the way from one to the other, it ends; `outside` itself where it does not."""
    if is_within(outside):
        return outside
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if is_within(middle) else (inside, middle)
    return inside


Metric = Literal["top-1", "mean absolute error"]

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
