"""How far measurements lie from predictions of servers that the model was not fitted to, and the intervals that follow.

A group is all points of one model, one GPU type, one engine or one generation of GPUs. The model is fitted without each
group in turn, and the errors of that group are stored. The interval of a prediction comes from the errors of the groups
that are as new to the model as the predicted server is: a known model on an unknown GPU type has the errors of GPU
types that were left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import msgspec
import numpy as np
from scipy import special

from app.planning.step_times.model import ClosedLoops, Metric, fit_step_time_model, select
from app.planning.step_times.positive_sum import Floats
from app.records.evidence import EngineName

Novelty = Literal["combination", "model", "gpu", "engine", "generation"]
"""What is new about a server: nothing but the combination of model, GPU type and engine, or its model, and so on."""
NOVELTIES: tuple[Novelty, ...] = ("combination", "model", "gpu", "engine", "generation")
METRICS: tuple[Metric, ...] = ("tpot", "ttft")
_COLUMNS: dict[Novelty, tuple[str, ...]] = {
    "combination": ("model", "gpu", "engine"), "model": ("model",), "gpu": ("gpu",), "engine": ("engine",),
    "generation": ("generation",),
}  # fmt: skip
LEVELS = (0.1, 0.9)
Z_LEVEL = float(special.ndtri(LEVELS[1]))
"""Distance of `LEVELS` from the median, in standard deviations of a normal distribution."""
MIN_GROUP = 5
"""Groups with fewer points are left out, but their errors are not used."""
_MIN_ERROR = 0.03
"""Added to each absolute log error before its logarithm is taken."""
_RIDGE = 80.0
"""Weight of a spread that is the same everywhere, in points."""
_WIDENING_OF_SINGLE_GROUP = 2.0
"""Factor without a second group, so that nothing is known of the variance between groups."""


class ErrorModel(msgspec.Struct, frozen=True):
    """Distribution of the logarithm of measured / predicted: its median, and its distances from the median at
    `LEVELS` in units of a scale. The logarithm of the scale is a weighted sum of `describe_loops`."""

    median: float
    below: float
    above: float
    scale_weights: tuple[float, ...]

    def widen(self, factor: float) -> ErrorModel:
        """Return the distribution with distances from the median that are multiplied by `factor`."""
        return msgspec.structs.replace(self, below=self.below * factor, above=self.above * factor)

    def compute_quantiles(self, loops: ClosedLoops) -> tuple[Floats, Floats]:
        """Return the log errors of each loop at `LEVELS`."""
        scale = np.exp(describe_loops(loops) @ np.array(self.scale_weights))
        return self.median + self.below * scale, self.median + self.above * scale


def describe_loops(loops: ClosedLoops) -> Floats:
    """Return the traits of servers and loads that the spread of errors depends on: engine, publisher, experts, load,
    lengths and parallelism."""
    engines, sources = np.array(loops.servers.columns["engine"]), np.array(loops.servers.columns["source"])
    return np.column_stack(
        [
            np.ones_like(loops.clients),
            *((engines == engine).astype(np.float64) for engine in get_args(EngineName)),
            sources == "nvidia",
            loops.servers.experts > 0,
            np.log2(loops.clients) / 4 - 1,
            np.log2(loops.input_tokens / loops.output_tokens) / 3,
            np.log2(loops.servers.accelerators) / 2 - 1,
            loops.servers.copies > 1,
        ]
    ).astype(np.float64)


@dataclasses.dataclass(frozen=True)
class HeldOutErrors:
    """Errors of points that the model was not fitted to: logarithms of measured / predicted. `groups` has the group of
    each point that was left out together."""

    errors: Mapping[Metric, Floats]
    groups: Sequence[str]
    weights: Floats


def label_groups(loops: ClosedLoops, novelty: Novelty) -> list[str]:
    """Return the group of each loop: the values of the columns that a novelty holds out together."""
    columns = loops.servers.columns
    return ["|".join(values) for values in zip(*(columns[name] for name in _COLUMNS[novelty]), strict=True)]


def hold_out_groups(
    loops: ClosedLoops, measured_s: Mapping[Metric, Floats], weights: Floats, novelty: Novelty
) -> HeldOutErrors:
    """Predict each group by a model that is fitted to all other groups."""
    labels = np.array(label_groups(loops, novelty))
    errors: dict[Metric, Floats] = {metric: np.zeros(len(labels)) for metric in METRICS}
    for group in sorted(set(labels)):
        inside, outside = np.flatnonzero(labels == group), np.flatnonzero(labels != group)
        model = fit_step_time_model(
            select(loops, outside), measured_s["tpot"][outside], measured_s["ttft"][outside], weights[outside]
        )
        predicted = model.predict(select(loops, inside))
        for metric in METRICS:
            errors[metric][inside] = np.log(measured_s[metric][inside] / predicted[metric])
    return HeldOutErrors(errors, labels.tolist(), weights)


def fit_error_model(loops: ClosedLoops, held_out: HeldOutErrors, metric: Metric) -> ErrorModel:
    """Fit the distribution of the errors of groups that were held out.

    A group of n points counts as √n points. Differences between groups are part of the errors, and widen the interval
    as far as the groups have them.
    """
    labels, counts = np.unique(np.array(held_out.groups), return_counts=True)
    size_by_group = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    sizes = np.array([size_by_group[label] for label in held_out.groups], dtype=np.float64)
    is_used = sizes >= MIN_GROUP
    errors, weights = held_out.errors[metric][is_used], (held_out.weights / np.sqrt(sizes))[is_used]
    median = _compute_weighted_quantile(errors, weights, 0.5)
    traits = describe_loops(loops)[is_used]
    penalty = np.full(traits.shape[1], _RIDGE * weights.mean())
    penalty[0] = 0.0
    spread = np.log(np.abs(errors - median) + _MIN_ERROR)
    scale_weights = np.linalg.solve(
        traits.T @ (traits * weights[:, None]) + np.diag(penalty), traits.T @ (weights * spread)
    )
    relative = (errors - median) / np.exp(traits @ scale_weights)
    widening = 1.0 if int(np.sum(counts >= MIN_GROUP)) > 1 else _WIDENING_OF_SINGLE_GROUP
    below, above = (_compute_weighted_quantile(relative, weights, level) * widening for level in LEVELS)
    return ErrorModel(median, below, above, tuple(scale_weights.tolist()))


def _compute_weighted_quantile(values: Floats, weights: Floats, level: float) -> float:
    """Return a weighted quantile, interpolated linearly between the midpoints of the cumulative weights."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(np.interp(level * cumulative[-1], cumulative - weights[order] / 2, values[order]))
