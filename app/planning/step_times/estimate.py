"""Estimates of TPOT and TTFT with intervals, from the evidence that a model was fitted to."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

import numpy as np

from app.analysis.language_models import load_language_models
from app.planning.step_times.intervals import (
    METRICS,
    MIN_GROUP,
    NOVELTIES,
    Z_LEVEL,
    ErrorModel,
    Novelty,
    fit_error_model,
    hold_out_groups,
    label_groups,
)
from app.planning.step_times.model import ClosedLoops, Metric, StepTimeModel, fit_step_time_model
from app.planning.step_times.positive_sum import Floats
from app.planning.step_times.published import PublishedLoops
from app.planning.step_times.terms import PCIE_BYTES_PER_S
from app.records.planning_inputs import LanguageModel

_COLUMNS: tuple[Novelty, ...] = ("model", "gpu", "engine")
_GENERATION_SIGMA = 0.45
"""Standard deviation of the logarithm of a further error on GPUs of a generation or link without any published point:
those that the points have are data center cards of two generations with NVLink. It makes their intervals wider than
those of any GPU type that was left out of the fit. Planned servers have it on any GPU type without points: the points
are of a few types of the same kind, which do not show how far a PCIe card or a chip for another market of the same
generation differs."""
_LONE_GROUP = 2.0
"""Factor of the interval of something new if the evidence has only one kind of it."""


@dataclasses.dataclass(frozen=True)
class LatencyEstimate:
    """p10, p50 and p90 of the mean that the client would have seen, in s, by metric."""

    p10: Mapping[Metric, Floats]
    p50: Mapping[Metric, Floats]
    p90: Mapping[Metric, Floats]


@dataclasses.dataclass(frozen=True)
class FittedEvidence:
    """A model that was fitted to published points, the errors of groups of points that were left out, and the
    models, GPU types, engines and generations of GPUs that have enough points."""

    model: StepTimeModel
    errors: Mapping[Novelty, Mapping[Metric, ErrorModel]]
    known: Mapping[str, frozenset[str]]
    shapes: Mapping[str, tuple[int, int, int, int]] = dataclasses.field(default_factory=dict)
    """Layers, width, attention heads and experts of each model, by its name."""

    def find_model(self, shape: LanguageModel) -> str | None:
        """Return the name of the model of this shape; None if the evidence has no such model."""
        description = describe_shape(shape)
        return next(
            (
                name
                for name, described in self.shapes.items()
                if described == description and _may_have_kv_heads(name, shape.kv_heads)
            ),
            None,
        )

    def find_novelties(self, loops: ClosedLoops) -> list[tuple[Novelty, ...]]:
        """Return what the evidence does not have of each server, or that it has everything but the combination.

        A GPU type of a generation without any points, or without the fast link that all points have, is new in both
        ways.
        """
        columns, novelties = loops.servers.columns, []
        for index in range(len(loops.clients)):
            new: list[Novelty] = [name for name in _COLUMNS if columns[name][index] not in self.known[name]]
            is_known_generation = columns["generation"][index] in self.known["generation"]
            if "gpu" in new and not (is_known_generation and loops.servers.link[index] > PCIE_BYTES_PER_S):
                new.append("generation")
            novelties.append(tuple(new) or ("combination",))
        return novelties

    def estimate(self, loops: ClosedLoops, *, is_planned: bool = False) -> LatencyEstimate:
        """Estimate each loop, of published servers or of planned ones. The variances of errors add up beyond what all
        of them have in common if a server is new in several ways."""
        p50 = self.model.predict(loops)
        novelties = self.find_novelties(loops)
        low: dict[Metric, Floats] = {}
        high: dict[Metric, Floats] = {}
        for metric in METRICS:
            by_novelty = {
                novelty: self.errors[novelty][metric].compute_quantiles(loops)
                for novelty in {novelty for several in novelties for novelty in (*several, "combination")}
            }
            bounds = np.array(
                [
                    _combine(
                        [_at(by_novelty[novelty], index) for novelty in several],
                        _at(by_novelty["combination"], index),
                        _GENERATION_SIGMA if ("gpu" if is_planned else "generation") in several else 0.0,
                    )
                    for index, several in enumerate(novelties)
                ]
            )
            low[metric], high[metric] = p50[metric] * np.exp(bounds[:, 0]), p50[metric] * np.exp(bounds[:, 1])
        return LatencyEstimate(low, p50, high)


def _may_have_kv_heads(name: str, kv_heads: int) -> bool:
    """Return whether a model of the evidence has a number of KV heads; True if its shape is not in the table."""
    listed = load_language_models().get(name)
    return listed is None or listed.shape.kv_heads == kv_heads


def describe_shape(shape: LanguageModel) -> tuple[int, int, int, int]:
    return shape.layers, shape.hidden, shape.heads, shape.experts or 0


def _at(quantiles: tuple[Floats, Floats], index: int) -> tuple[float, float]:
    return float(quantiles[0][index]), float(quantiles[1][index])


def _combine(
    parts: list[tuple[float, float]], common: tuple[float, float], further_sigma: float
) -> tuple[float, float]:
    """Return the interval of errors that are independent beyond what they have in common."""
    if len(parts) == 1 and not further_sigma:
        return parts[0]
    middle = sum(sum(part) / 2 for part in parts) / len(parts)
    shared = (common[1] - common[0]) / 2
    beyond = sum(max(0.0, ((part[1] - part[0]) / 2) ** 2 - shared**2) for part in parts)
    half = float(np.sqrt(shared**2 + beyond + (Z_LEVEL * further_sigma) ** 2))
    return middle - half, middle + half


def fit_evidence(published: PublishedLoops, novelties: tuple[Novelty, ...] = NOVELTIES) -> FittedEvidence:
    """Fit a model, and the errors of groups that are left out, to published points.

    If all points are of one group, so that none can be left out, its errors are those of new combinations, widened.
    """
    measured: dict[Metric, Floats] = {"tpot": published.tpot_s, "ttft": published.ttft_s}
    errors: dict[Novelty, dict[Metric, ErrorModel]] = {}
    for novelty in novelties:
        if len(set(label_groups(published.loops, novelty))) < 2:
            errors[novelty] = {metric: errors["combination"][metric].widen(_LONE_GROUP) for metric in METRICS}
            continue
        held_out = hold_out_groups(published.loops, measured, published.weights, novelty)
        errors[novelty] = {metric: fit_error_model(published.loops, held_out, metric) for metric in METRICS}
    model = fit_step_time_model(published.loops, published.tpot_s, published.ttft_s, published.weights)
    columns = published.loops.servers.columns
    known: dict[str, frozenset[str]] = {
        name: frozenset(group for group, points in Counter(columns[name]).items() if points >= MIN_GROUP)
        for name in (*_COLUMNS, "generation")
    }
    return FittedEvidence(model, errors, known)
