"""How often a comparison reports a regression that is none, and how often it finds a real one.

`python -m tests.studies.regressions` prints the tables of the docs.

Runs are drawn from the model that the two-stage rule was chosen by: log-normal noise from run to run, and one run in
twenty slowed 1.5 times. All metrics of a run share that slowness and half the variance of their noise. They are
evaluated as by `sizewise compare`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np

from app.analysis.comparisons.comparison import TOLERANCE, can_fail_run, evaluate_changes, has_suspected_change
from app.analysis.comparisons.metric_pairs import MetricPair
from app.analysis.comparisons.repeats import Repeats
from app.records.comparison import MetricChange
from app.records.estimate import Estimate

PAIRS = 7
SLOW_SHARE, SLOWDOWN = 0.05, 1.5
FALSE_ALARMS, CAUGHT = 0.01, 0.75


class Case(NamedTuple):
    """`pairs` None is the two-stage rule of seven and seven more."""

    noise: float
    change: float
    metrics: int = 1
    pairs: int | None = None


class Outcome(NamedTuple):
    is_failed: bool
    is_extended: bool
    is_noisy: bool
    is_undecided: bool


def compare_case(seed: int, case: Case) -> Outcome:
    """Compare a baseline with a candidate that is slower by `case.change`."""
    generator = np.random.default_rng((seed, round(1e6 * case.noise), round(1e6 * case.change), case.metrics))
    first = case.pairs or PAIRS
    baseline = _runs(generator, case, first, 0.0)
    candidate = _runs(generator, case, first, case.change)
    changes = _evaluate(baseline, candidate)
    is_extended = case.pairs is None and has_suspected_change(changes, TOLERANCE)
    if is_extended:
        more = _runs(generator, case, PAIRS, 0.0), _runs(generator, case, PAIRS, case.change)
        changes = _evaluate(np.vstack([baseline, more[0]]), np.vstack([candidate, more[1]]))
    return Outcome(
        any(change.verdict == "worse" and can_fail_run(change) for change in changes),
        is_extended,
        any(not can_fail_run(change) for change in changes),
        any(change.verdict == "inconclusive" for change in changes),
    )


def outcomes(case: Case, draws: int, workers: int = 2) -> list[Outcome]:
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(partial(compare_case, case=case), range(draws), chunksize=100))


def _runs(generator: np.random.Generator, case: Case, count: int, change: float) -> np.ndarray:
    """A row per run, and a column per metric."""
    sigma = math.sqrt(math.log1p(case.noise**2))
    shared = generator.normal(0, 1, (count, 1))
    own = generator.normal(0, 1, (count, case.metrics))
    noise = own if case.metrics == 1 else (shared + own) / math.sqrt(2)
    slow = np.where(generator.random((count, 1)) < SLOW_SHARE, SLOWDOWN, 1.0)
    return 10 * (1 + change) * np.exp(sigma * noise) * slow


def _evaluate(baseline: np.ndarray, candidate: np.ndarray) -> tuple[MetricChange, ...]:
    pairs = [
        MetricPair(
            "latency_ms",
            "p95",
            "ms",
            "lower",
            f"stage {column}",
            True,
            Repeats(_build_estimates(before), _build_estimates(after)),
        )
        for column, (before, after) in enumerate(zip(baseline.T, candidate.T, strict=True))
    ]
    return evaluate_changes(pairs, TOLERANCE)


def _build_estimates(values: np.ndarray) -> tuple[Estimate, ...]:
    return tuple(Estimate(float(value)) for value in values)


def _row(case: Case, draws: int) -> str:
    results = outcomes(case, draws)
    failed, more, noisy, undecided = (sum(column) / draws for column in zip(*results, strict=True))
    rule = "two-stage 7 + 7" if case.pairs is None else f"{case.pairs} of each"
    numbers = (case.noise, case.change, failed, more, noisy, undecided)
    return f"{rule:16} {case.metrics:7}" + "".join(f"{number:11.2%}" for number in numbers)


def _cases() -> Sequence[Case]:
    two_stage = [Case(noise, change) for noise in (0.02, 0.05, 0.10) for change in (0.0, 0.10, 0.15)]
    many = [Case(0.05, 0.0, 6), Case(0.05, 0.10, 6)]
    fixed = [Case(0.05, change, 1, pairs) for pairs in (3, 5, 14) for change in (0.0, 0.10)]
    return [*two_stage, *many, *fixed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=10_000)
    draws = parser.parse_args().draws
    print(f"{draws:,} comparisons a row, tolerance {TOLERANCE:.0%}; 'fails' is a reported regression")
    header = ("noise", "change", "fails", "more runs", "too noisy", "undecided")
    print(f"{'rule':16} {'metrics':>7}" + "".join(f"{name:>11}" for name in header))
    for case in _cases():
        print(_row(case, draws), flush=True)


if __name__ == "__main__":
    main()
