"""Published points as loads on servers, for the fit."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from app.planning.hardware.rates import Unavailable
from app.planning.step_times.model import ClosedLoops
from app.planning.step_times.positive_sum import Floats
from app.planning.step_times.terms import Server, build_server_table
from app.records.evidence import PublishedPoint
from app.records.offers import Accelerator
from app.records.planning_inputs import LanguageModel

_HALF_CACHES = {
    ("gpt-oss-120b", "vllm", "h100-sxm5-80gb"),
    ("gpt-oss-120b", "vllm", "h200-sxm-141gb"),
    ("deepseek-v3", "sglang", "h200-sxm-141gb"),
    ("minimax-m2", "vllm", "h100-sxm5-80gb"),
}
"""Servers of InferenceX whose recipes set no data type of the KV cache, by model, engine and accelerator."""


@dataclasses.dataclass(frozen=True)
class PublishedLoops:
    """Loads of published points, and what was measured: TPOT and TTFT in s."""

    points: tuple[PublishedPoint, ...]
    loops: ClosedLoops
    tpot_s: Floats
    ttft_s: Floats
    weights: Floats
    """Influence of each point on the fit: a curve of n points counts as √n points."""


def build_published_loops(
    points: Sequence[PublishedPoint],
    shapes: Mapping[str, LanguageModel],
    accelerators: Mapping[str, Accelerator],
) -> PublishedLoops | Unavailable:
    servers = [
        Server(
            point.served,
            shapes[point.served.model],
            accelerators[point.served.accelerator],
            find_kv_dtype(point),
            point.source,
        )
        for point in points
    ]
    table = build_server_table(servers)
    if isinstance(table, Unavailable):
        return table
    curves = [find_curve(point) for point in points]
    lengths = Counter(curves)
    weights = np.array([lengths[curve] ** -0.5 for curve in curves])
    return PublishedLoops(
        tuple(points),
        ClosedLoops(
            table,
            np.array([point.input_tokens for point in points], dtype=np.float64),
            np.array([point.output_tokens for point in points], dtype=np.float64),
            np.array([point.clients for point in points], dtype=np.float64),
        ),
        np.array([point.tpot_ms for point in points]) / 1000,
        np.array([point.ttft_ms for point in points]) / 1000,
        weights / weights.mean(),
    )


def find_curve(point: PublishedPoint) -> tuple[object, ...]:
    """Return what all points of a curve have in common: everything but the number of clients."""
    return (point.served, point.input_tokens, point.output_tokens, point.image, point.measured_on)


def find_kv_dtype(point: PublishedPoint) -> str:
    """Return the data type of the KV cache, which no publication states: 8 bits, except for weights of 16 bits, recipes
    that do not set it, and NVIDIA's runs of vLLM and SGLang, whose default it is to follow the activations."""
    served = point.served
    if served.precision == "bf16" or (served.model, served.engine, served.accelerator) in _HALF_CACHES:
        return "bf16"
    return "bf16" if point.source == "nvidia" and served.engine != "trtllm" else "fp8"
