"""How long a replica takes to come, drawn phase by phase."""

from __future__ import annotations

import math

import msgspec
import msgspec.structs
import numpy as np

from app.records.scaling import ColdStartModel


class ColdStartDraw(msgspec.Struct, frozen=True):
    """Seconds. `refused_s` is spent waiting for stock, before there is a node to pay for."""

    refused_s: float
    node_s: float
    image_s: float
    weights_s: float
    engine_s: float
    warm_up_s: float

    @property
    def total_s(self) -> float:
        return self.refused_s + self.node_s + self.image_s + self.weights_s + self.engine_s + self.warm_up_s

    def on_a_node(self) -> ColdStartDraw:
        """The same where there is a node already."""
        return msgspec.structs.replace(self, refused_s=0.0, node_s=0.0)


def draw_cold_start(settings: ColdStartModel, generator: np.random.Generator) -> ColdStartDraw:
    """Takes as many random numbers whatever the settings, so that two settings can be compared under the same ones."""
    sigma = math.sqrt(math.log1p(settings.cv * settings.cv))
    node, image, weights, engine, warm_up = np.exp(sigma * generator.standard_normal(5)).tolist()
    return ColdStartDraw(
        refused_s=settings.retry_s * _refusals(settings.refusal_probability, float(generator.random())),
        node_s=settings.node_s * node,
        image_s=settings.image.median_s * image,
        weights_s=settings.weights.median_s * weights,
        engine_s=settings.engine_s * engine,
        warm_up_s=settings.warm_up_s * warm_up,
    )


def _refusals(probability: float, uniform: float) -> int:
    """Geometric, by its inverse; a probability of 1 would never end."""
    if probability <= 0:
        return 0
    return math.floor(math.log(max(1 - uniform, 1e-300)) / math.log(probability))
