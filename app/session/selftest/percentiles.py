"""Percentiles of distributions whose quantiles are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from app.records.metrics import PERCENTILES
from app.records.result import Estimate
from app.records.selftest import Finding, finding

Values = npt.NDArray[np.float64]

_N = 100_000
_ERROR_LIMIT = 0.001
_SAMPLES, _SAMPLE_N, _COVERED = 400, 1_000, "p95"
_COVERAGE = (0.93, 0.99)
"""Of intervals meant to hold the truth in 95 of 100 cases, four standard errors of 400 around what they do (order
statistics are whole numbers, so it is a little more)."""

_QUANTILES: dict[str, Callable[[Values], Values]] = {
    "uniform": lambda share: 1 + 99 * share,
    "exponential": lambda share: -20 * np.log1p(-share),
    "Pareto": lambda share: 5 * (1 - share) ** (-1 / 1.5),
    "logistic": lambda share: 500 + 40 * np.log(share / (1 - share)),
    "Weibull": lambda share: 10 * (-np.log1p(-share)) ** (1 / 0.6),
    "two points": lambda share: np.where(share < 0.97, 10.0, 900.0),
    "one point": lambda share: np.full_like(share, 12.5),
}


def check_percentiles(distribution: Callable[[Values], dict[str, Estimate]]) -> Iterator[Finding]:
    rng = np.random.default_rng(1)
    worst = 0.0
    for quantile in _QUANTILES.values():
        ordered = quantile((np.arange(_N) + 0.5) / _N)
        found = distribution(rng.permutation(ordered))
        for name, q in PERCENTILES.items():
            true, value = float(ordered[math.ceil(_N * q - 1e-9) - 1]), found[name].value
            worst = max(worst, math.inf if value is None else abs(value / true - 1))
    yield finding(
        "percentiles",
        f"largest error, of {len(_QUANTILES)} distributions of {_N:,} values",
        100 * worst if math.isfinite(worst) else None,
        high=100 * _ERROR_LIMIT,
        unit="%",
    )
    yield finding(
        "percentiles",
        f"95 % intervals of a {_COVERED} that hold it, of {_SAMPLES}",
        100 * _covered(distribution, rng),
        low=100 * _COVERAGE[0],
        high=100 * _COVERAGE[1],
        unit="%",
    )


def _covered(distribution: Callable[[Values], dict[str, Estimate]], rng: np.random.Generator) -> float:
    true = -math.log1p(-PERCENTILES[_COVERED])
    intervals = (distribution(rng.exponential(1.0, _SAMPLE_N))[_COVERED].ci95 for _ in range(_SAMPLES))
    return sum(one is not None and one[0] <= true <= one[1] for one in intervals) / _SAMPLES
