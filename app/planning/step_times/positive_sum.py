"""A sum of terms with positive coefficients, fitted robustly to the logarithms of measurements.

A measurement is coefficient₁ × term₁ + coefficient₂ × term₂ + …, times a lognormal error. A coefficient has a lognormal
prior, and groups of measurements (an engine, a GPU type) have effects: factors on all terms, or on the terms of one
part, whose logarithms are normal with mean 0 and a given sigma. So an effect of a group with few measurements stays
near 1, and a group without any has the effect 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Labels = Sequence[str]

_MAX_ITERATIONS = 60
_CONVERGED = 1e-5
"""Relative decrease of the objective below which the fit stops."""
_MAX_LOG_STEP = 1.0


@dataclasses.dataclass(frozen=True)
class Term:
    """A term of the sum: its `part`, the median of the prior of its coefficient, and the unit that the coefficient
    multiplies, in the unit of the term."""

    name: str
    part: str
    prior: float
    unit: float = 1.0


@dataclasses.dataclass(frozen=True)
class Effect:
    """Effects of the groups that differ in `columns`, on all terms of `part`; on all terms if it is None.

    `sigma` is the standard deviation of the logarithm of the factors.
    """

    columns: tuple[str, ...]
    part: str | None
    sigma: float

    def label(self, columns: Mapping[str, Labels]) -> list[str]:
        """Return the group of each row."""
        return ["|".join(values) for values in zip(*(columns[name] for name in self.columns), strict=True)]


@dataclasses.dataclass(frozen=True)
class PositiveSum:
    """A fitted sum. `factors` has, for each effect, the logarithm of the factor of each group."""

    terms: tuple[Term, ...]
    effects: tuple[Effect, ...]
    coefficients: tuple[float, ...]
    factors: tuple[dict[str, float], ...]

    def compute_shares(self, columns: Mapping[str, Labels], values: Floats) -> Floats:
        """Return the time in s that each row spends in each term. The sum over a row is the prediction."""
        log_factors = np.zeros_like(values)
        for effect, factors in zip(self.effects, self.factors, strict=True):
            of_row = np.array([factors.get(label, 0.0) for label in effect.label(columns)])
            log_factors += np.outer(of_row, _mask(self.terms, effect.part))
        return np.asarray(values * np.array(self.coefficients) * np.exp(log_factors))

    def predict(self, columns: Mapping[str, Labels], values: Floats) -> Floats:
        return np.asarray(self.compute_shares(columns, values).sum(axis=1))


def _mask(terms: Sequence[Term], part: str | None) -> Floats:
    return np.array([1.0 if part is None or term.part == part else 0.0 for term in terms], dtype=np.float64)


@dataclasses.dataclass(frozen=True)
class _Design:
    """Terms in units of their coefficients, and the group of each row for each effect; -1 for no group."""

    values: Floats
    codes: tuple[Indices, ...]
    counts: tuple[int, ...]
    masks: tuple[Floats, ...]

    def compute_shares(self, log_values: Floats) -> Floats:
        terms = self.values.shape[1]
        log_factors, offset = np.zeros_like(self.values), terms
        for codes, count, mask in zip(self.codes, self.counts, self.masks, strict=True):
            log_factors += np.outer(log_values[offset : offset + count][codes], mask)
            offset += count
        return np.asarray(self.values * np.exp(log_values[:terms] + log_factors))

    def compute_jacobian(self, shares: Floats) -> Floats:
        rows, terms = self.values.shape
        jacobian = np.zeros((rows, terms + sum(self.counts)))
        relative = shares / shares.sum(axis=1, keepdims=True)
        jacobian[:, :terms] = relative
        offset, index = terms, np.arange(rows)
        for codes, count, mask in zip(self.codes, self.counts, self.masks, strict=True):
            jacobian[index, offset + codes] = relative @ mask
            offset += count
        return jacobian


def fit_positive_sum(
    terms: Sequence[Term],
    effects: Sequence[Effect],
    columns: Mapping[str, Labels],
    values: Floats,
    measured: Floats,
    weights: Floats,
    *,
    prior_sigma: float,
    noise: float,
    start: PositiveSum | None = None,
) -> PositiveSum:
    """Fit a sum to `measured`, one measurement a row of `values`.

    `noise` is the log error beyond which a measurement loses influence; `prior_sigma` is the standard deviation of the
    logarithm of each coefficient.
    """
    groups = [effect.label(columns) for effect in effects]
    names = [sorted(set(labels)) for labels in groups]
    indices = [{name: index for index, name in enumerate(level)} for level in names]
    design = _Design(
        values,
        tuple(
            np.array([index[label] for label in labels], dtype=np.intp)
            for index, labels in zip(indices, groups, strict=True)
        ),
        tuple(len(level) for level in names),
        tuple(_mask(terms, effect.part) for effect in effects),
    )
    prior_log = np.concatenate([np.log([term.prior * term.unit for term in terms]), np.zeros(sum(design.counts))])
    sigmas = [np.full(count, effect.sigma) for effect, count in zip(effects, design.counts, strict=True)]
    precision = 1 / np.concatenate([np.full(len(terms), prior_sigma), *sigmas]) ** 2
    initial = prior_log.copy()
    if start is not None:
        initial[: len(terms)] = np.log(start.coefficients)
        known = [factors.get(name, 0.0) for factors, level in zip(start.factors, names, strict=True) for name in level]
        initial[len(terms) :] = known
    solution = _minimize(design, np.log(measured), weights, prior_log, precision, noise, initial)
    coefficients = np.exp(solution[: len(terms)]).tolist()
    factors, offset = [], len(terms)
    for level in names:
        factors.append(dict(zip(level, solution[offset : offset + len(level)].tolist(), strict=True)))
        offset += len(level)
    return PositiveSum(tuple(terms), tuple(effects), tuple(coefficients), tuple(factors))


def _minimize(
    design: _Design,
    log_measured: Floats,
    weights: Floats,
    prior_log: Floats,
    precision: Floats,
    noise: float,
    initial: Floats,
) -> Floats:
    """Minimize the robust errors and the distance from the prior, by damped Gauss-Newton steps."""

    def evaluate(point: Floats) -> tuple[float, Floats, Floats]:
        shares = design.compute_shares(point)
        residuals = log_measured - np.log(shares.sum(axis=1))
        loss = 2 * (np.sqrt(1 + (residuals / noise) ** 2) - 1)
        return float(weights @ loss + precision @ (point - prior_log) ** 2), residuals, shares

    point, damping = initial, 1e-3
    objective, residuals, shares = evaluate(point)
    for _ in range(_MAX_ITERATIONS):
        jacobian = design.compute_jacobian(shares)
        influence = weights / np.sqrt(1 + (residuals / noise) ** 2) / noise**2
        gradient = jacobian.T @ (influence * residuals) - precision * (point - prior_log)
        hessian = jacobian.T @ (jacobian * influence[:, None])
        hessian[np.diag_indices_from(hessian)] += precision
        diagonal, previous = np.diag(hessian).copy(), objective
        while damping < 1e4:
            step = np.linalg.solve(hessian + damping * np.diag(diagonal), gradient)
            candidate = point + np.clip(step, -_MAX_LOG_STEP, _MAX_LOG_STEP)
            objective, residuals, shares = evaluate(candidate)
            if objective <= previous:
                point = candidate
                break
            damping = damping * 6 + 1e-3
        else:
            break
        damping /= 5
        if previous - objective < _CONVERGED * previous:
            break
    return point
