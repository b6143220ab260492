"""Estimates of published points by models that were not fitted to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from app.analysis.language_models import load_language_models
from app.planning.hardware.rates import Unavailable
from app.planning.step_times.estimate import LatencyEstimate, fit_evidence
from app.planning.step_times.intervals import METRICS, Novelty, label_groups
from app.planning.step_times.model import select
from app.planning.step_times.positive_sum import Indices
from app.planning.step_times.published import PublishedLoops, build_published_loops
from app.profiles.pricing.catalog import load_catalog
from app.records.evidence import PublishedPoint


def build_loops(points: Sequence[PublishedPoint]) -> PublishedLoops:
    shapes = {key: model.shape for key, model in load_language_models().items()}
    loops = build_published_loops(points, shapes, load_catalog().accelerators)
    if isinstance(loops, Unavailable):
        raise ValueError(loops.reason)
    return loops


def take(published: PublishedLoops, index: Indices) -> PublishedLoops:
    return PublishedLoops(
        tuple(published.points[row] for row in index),
        select(published.loops, index),
        published.tpot_s[index],
        published.ttft_s[index],
        published.weights[index],
    )


def estimate_groups(published: PublishedLoops, novelty: Novelty) -> LatencyEstimate:
    """Estimate each group by a model and intervals that know nothing of it.

    The intervals are those of groups of the same kind that are left out of the other groups.
    """
    labels = np.array(label_groups(published.loops, novelty))
    parts = {
        field.name: {metric: np.zeros(len(labels)) for metric in METRICS}
        for field in dataclasses.fields(LatencyEstimate)
    }
    for group in sorted(set(labels)):
        inside, outside = np.flatnonzero(labels == group), np.flatnonzero(labels != group)
        evidence = fit_evidence(take(published, outside), (novelty,))
        loops, median = select(published.loops, inside), evidence.model.predict(select(published.loops, inside))
        for metric in METRICS:
            low, high = evidence.errors[novelty][metric].compute_quantiles(loops)
            parts["p50"][metric][inside] = median[metric]
            parts["p10"][metric][inside] = median[metric] * np.exp(low)
            parts["p90"][metric][inside] = median[metric] * np.exp(high)
    return LatencyEstimate(**parts)


def estimate_later(published: PublishedLoops, before: str) -> tuple[Indices, LatencyEstimate]:
    """Estimate the points that were measured on or after a date (ISO 8601) from those before it; points without a
    date are left out. Return the indices of these points too."""
    dates = np.array([point.measured_on.isoformat() if point.measured_on else "" for point in published.points])
    later, earlier = np.flatnonzero(dates >= before), np.flatnonzero((dates < before) & (dates != ""))
    return later, fit_evidence(take(published, earlier)).estimate(select(published.loops, later))
