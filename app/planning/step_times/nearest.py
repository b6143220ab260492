"""Published points that are nearest to a planned server, and what the model of step times predicts for them.

The distance is a sum of what differs, in factors of two and steps of similar effect on the latency:

| what differs | distance |
|---|---|
| language model | 2 for another shape, and 1 for each factor of two of the parameters that a token uses |
| mixture of experts or dense | 2 |
| accelerator | 1 for another type, and 1 for each factor of two of its memory bandwidth |
| accelerators of a replica | 1 for each factor of two |
| data type of the weights | 1 for each factor of two of its bytes |
| engine | 1 |
| copies of attention, expert parallelism | 0.5 for each factor of two |
| input tokens, output tokens, sequences at once | 0.5 for each factor of two |
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from app.analysis.language_models import load_language_models
from app.analysis.published_points import load_published_points
from app.planning.hardware.rates import Unavailable
from app.planning.step_times.bundled import load_bundled_evidence
from app.planning.step_times.closed_loop import MEAN_LENGTH
from app.planning.step_times.published import build_published_loops
from app.records.dtypes import BYTES_PER_VALUE
from app.records.evidence import PublishedPoint, PublishedServer
from app.records.offers import Accelerator
from app.records.plan import NearestPoint
from app.records.planning_inputs import LanguageModel
from app.records.service import TokenService

COUNT = 5
_OTHER_MODEL, _OTHER_KIND, _OTHER_ACCELERATOR, _OTHER_ENGINE, _SMALL_STEP = 2.0, 2.0, 1.0, 1.0, 0.5
_MAX_ITERATIONS = 50
_MAX_PREFILL_SHARE = 0.9


class PlannedLoad(msgspec.Struct, frozen=True):
    """Server of a plan and its load: mean lengths in tokens, and the mean number of sequences at once."""

    served: PublishedServer
    shape: LanguageModel
    accelerator: Accelerator
    input_tokens: float
    output_tokens: float
    sequences: float


def count_running_sequences(
    service: TokenService, rate_per_s: float, input_tokens: float, output_tokens: float
) -> float:
    """Return the mean number of sequences that a server decodes at once at a rate, by Little's law with the step time
    at that number. Prefills take their share of the time."""
    sequences = 1.0
    for _ in range(_MAX_ITERATIONS):
        step_s = _compute_step_s(service, sequences, rate_per_s, input_tokens, output_tokens)
        sequences = min(max(rate_per_s * output_tokens * step_s, 1.0), float(service.max_sequences))
    return sequences


def compute_user_tokens_per_s(
    service: TokenService, rate_per_s: float, input_tokens: float, output_tokens: float
) -> float:
    """Return the mean number of tokens per second that a running sequence receives at a rate: one for each step, of
    whose time prefills take their share."""
    sequences = count_running_sequences(service, rate_per_s, input_tokens, output_tokens)
    return 1 / _compute_step_s(service, sequences, rate_per_s, input_tokens, output_tokens)


def _compute_step_s(
    service: TokenService, sequences: float, rate_per_s: float, input_tokens: float, output_tokens: float
) -> float:
    """Return the mean time between two steps of `sequences` sequences, in s, with the prefills of a rate."""
    context_tokens = input_tokens + output_tokens / 2
    decode_share = 1 - min(_MAX_PREFILL_SHARE, rate_per_s * input_tokens * service.prefill_s_per_token)
    return service.compute_decode_step_s(sequences, sequences * context_tokens) / decode_share


def find_nearest_points(load: PlannedLoad, accelerators: Mapping[str, Accelerator]) -> tuple[NearestPoint, ...]:
    """Return the published points that are nearest to a planned load, nearest first: of all points that differ only in
    the engine's version, the date and the number of clients, the nearest one.

    Points of accelerators that are not in `accelerators` are left out.
    """
    shapes = {key: model.shape for key, model in load_language_models().items()}
    nearest: dict[tuple[object, ...], tuple[float, PublishedPoint]] = {}
    server_distances: dict[PublishedServer, float] = {}
    for point in load_published_points():
        served = point.served
        if served.accelerator not in accelerators:
            continue
        if served not in server_distances:
            server_distances[served] = _measure_server(
                load, served, shapes[served.model], accelerators[served.accelerator]
            )
        distance = server_distances[served] + _measure_load(load, point)
        curve = (msgspec.structs.replace(served, version=""), point.input_tokens, point.output_tokens)
        if curve not in nearest or distance < nearest[curve][0]:
            nearest[curve] = distance, point
    nearest_points = sorted(nearest.values(), key=lambda item: (item[0], item[1].id))[:COUNT]
    return _predict(nearest_points, shapes, accelerators)


def _measure_server(
    load: PlannedLoad, served: PublishedServer, shape: LanguageModel, accelerator: Accelerator
) -> float:
    """Return the distance of a published server from the planned one, 0 if they are equal: penalties for another
    model, kind of model, accelerator or engine, and the doublings between their sizes."""
    planned = load.served
    distance = 0.0
    if served.model != planned.model:
        distance += _OTHER_MODEL + _count_doublings(shape.parameters_per_token, load.shape.parameters_per_token)
        distance += _OTHER_KIND * ((shape.experts is None) != (load.shape.experts is None))
    if served.accelerator != planned.accelerator:
        bandwidths = accelerator.memory_bandwidth_gb_s, load.accelerator.memory_bandwidth_gb_s
        distance += _OTHER_ACCELERATOR + _count_doublings(*bandwidths)
    distance += _count_doublings(served.accelerators, planned.accelerators)
    distance += _count_doublings(BYTES_PER_VALUE[served.precision], BYTES_PER_VALUE[planned.precision])
    distance += _OTHER_ENGINE * (served.engine != planned.engine)
    return distance + _SMALL_STEP * (
        _count_doublings(served.attention_replicas, planned.attention_replicas)
        + _count_doublings(served.expert_parallel, planned.expert_parallel)
    )


def _measure_load(load: PlannedLoad, point: PublishedPoint) -> float:
    return _SMALL_STEP * (
        _count_doublings(MEAN_LENGTH * point.input_tokens, load.input_tokens)
        + _count_doublings(MEAN_LENGTH * point.output_tokens, load.output_tokens)
        + _count_doublings(point.clients, load.sequences)
    )


def _count_doublings(value: float | None, other: float | None) -> float:
    """Return by how many factors of two two values differ; 0 if one of them is unknown."""
    return abs(math.log2(value / other)) if value and other else 0.0


def _predict(
    nearest_points: Iterable[tuple[float, PublishedPoint]],
    shapes: Mapping[str, LanguageModel],
    accelerators: Mapping[str, Accelerator],
) -> tuple[NearestPoint, ...]:
    """Return points with what the model predicts that their clients see."""
    distances, points = zip(*nearest_points, strict=True) if (nearest_points := tuple(nearest_points)) else ((), ())
    published = build_published_loops(points, shapes, accelerators) if points else None
    if published is None or isinstance(published, Unavailable):
        return ()
    predicted_s = load_bundled_evidence().model.predict(published.loops)
    return tuple(
        NearestPoint(
            point=point,
            predicted_ttft_ms=1000 * float(predicted_s["ttft"][index]),
            predicted_tpot_ms=1000 * float(predicted_s["tpot"][index]),
            distance=distance,
        )
        for index, (distance, point) in enumerate(zip(distances, points, strict=True))
    )
