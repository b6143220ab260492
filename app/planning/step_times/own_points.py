"""Correct the estimated service of a planned server by the user's own measurements.

Among published servers, the error of a prediction carries over to other numbers of accelerators and other lengths of
the same GPU type, engine and data types, and hardly to another GPU type, engine or data type of the weights
(`docs/validation/published-language-models.md`). Only measurements of the former kind are used.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from app.planning.hardware.rates import Unavailable
from app.planning.service_models.service_times import speed_up
from app.planning.step_times.calibration import LogIntervals, condition, correlate_loads
from app.planning.step_times.closed_loop import MEAN_LENGTH
from app.planning.step_times.estimate import FittedEvidence
from app.planning.step_times.intervals import METRICS
from app.planning.step_times.model import ClosedLoops, Metric
from app.planning.step_times.positive_sum import Floats
from app.planning.step_times.service import EstimatedService
from app.planning.step_times.terms import Server, build_server_table
from app.records.checks import Check
from app.records.dtypes import BYTES_PER_VALUE
from app.records.planning_inputs import MeasuredTarget, OwnEvidence, OwnPoint
from app.records.service import TokenService

_DEGREE_SHARES: dict[Metric, float] = {"tpot": 0.8, "ttft": 0.5}
"""Share of the correlation that is left between servers with different numbers of accelerators."""
_LENGTH_SHARES: dict[Metric, float] = {"tpot": 0.9, "ttft": 0.4}
"""Share of the correlation that is left between loads with different lengths."""
_SAME_LENGTH = 0.5
"""Distance of lengths, in factors of two, within which they count as the same."""
_TYPICAL_SEQUENCES = 32.0
_MIN_SIGMA = 0.1
"""Least standard deviation of the logarithm of a calibrated time: successive published runs of one configuration differ
in TPOT by 17 % in one case of ten."""
_MAX_LOG_CORRECTION = 1.5
"""Largest correction, as a logarithm: a measurement that is further off is of another kind of server."""


class RelativeSpeed(msgspec.Struct, frozen=True):
    """Speed of servers relative to what the model of step times predicts, where published measurements do not show it:
    median, and standard deviation of its logarithm."""

    factor: float = 1.0
    sigma: float = 0.0


AS_PREDICTED = RelativeSpeed()


@dataclasses.dataclass(frozen=True)
class _Load:
    """A measured load: requests at once, mean lengths in tokens, and TTFT and TPOT in s, None if not measured."""

    accelerators: int
    sequences: float
    input_tokens: float
    output_tokens: float
    times_s: Mapping[Metric, float | None]


@dataclasses.dataclass(frozen=True)
class _Prediction:
    """Times of loads in s: expected medians, and the times that `points` measured loads correct them to, None if no
    measured load applies. `ignored_ratio` is the measured time that is furthest off, relative to the expected one, if
    it is too far off to correct anything."""

    p50_s: Floats
    corrected: LogIntervals | None
    points: int
    ignored_ratio: float | None = None


def list_applicable(own: Sequence[OwnEvidence], server: Server) -> tuple[OwnEvidence, ...]:
    """Return the measurements whose errors carry over to a planned server: of the same model, GPU type, engine and
    data types, and without speculative decoding."""
    planned = server.served
    return tuple(
        evidence
        for evidence in own
        if evidence.shape == server.shape
        and evidence.served.accelerator == planned.accelerator
        and evidence.served.engine == planned.engine
        and BYTES_PER_VALUE.get(evidence.served.precision) == BYTES_PER_VALUE.get(planned.precision)
        and BYTES_PER_VALUE.get(evidence.kv_dtype) == BYTES_PER_VALUE.get(server.kv_dtype)
        and evidence.speculation is not True
    )


def calibrate_service(
    estimated: EstimatedService,
    server: Server,
    lengths: tuple[float, float],
    own: Sequence[OwnEvidence],
    evidence: FittedEvidence,
    speed: RelativeSpeed = AS_PREDICTED,
) -> EstimatedService:
    """Return the estimated service of a server, at its `speed`, corrected by measurements and with narrower intervals
    where any apply."""
    estimated = _slow_down(estimated, speed)
    loads = _list_loads(own, server)
    target = _Load(server.served.accelerators, _TYPICAL_SEQUENCES, *lengths, {})
    predictions = _predict([target], loads, server, evidence, speed) if loads else {}
    shift: dict[Metric, float] = {"tpot": 0.0, "ttft": 0.0}
    sigma: dict[Metric, float] = {"tpot": estimated.tpot_sigma, "ttft": estimated.ttft_sigma}
    used = 0
    for metric, prediction in predictions.items():
        if prediction.corrected is None:
            continue
        shift[metric] = float(prediction.corrected.mean[0] - np.log(prediction.p50_s[0]))
        sigma[metric] = min(sigma[metric], max(_MIN_SIGMA, float(prediction.corrected.sigma[0])))
        used = max(used, prediction.points)
    ratios = [prediction.ignored_ratio for prediction in predictions.values() if prediction.ignored_ratio is not None]
    estimated = msgspec.structs.replace(estimated, ignored_ratio=max(ratios, key=_measure_distance, default=None))
    return _apply(estimated, shift, sigma, lengths[0], used) if used else estimated


def check_own_measurements(targets: Sequence[MeasuredTarget]) -> tuple[Check, ...]:
    """Return a warning if the user's own measurements of a target are too far off to calibrate its times; otherwise
    return an empty tuple."""
    ignored = [(target, target.ignored_ratio) for target in targets if target.ignored_ratio is not None]
    if not ignored:
        return ()
    target, ratio = max(ignored, key=lambda pair: _measure_distance(pair[1]))
    factor, direction = (ratio, "slower") if ratio > 1 else (1 / ratio, "faster")
    hint = (
        f"Your measurements on {target.hardware.accelerator} do not calibrate the plan, because one is {factor:.1f} "
        f"times {direction} than expected. Compare its model, precision and number of accelerators with `sizewise "
        "evidence show ID`, and remove it with `sizewise evidence remove ID` if it is of another server."
    )
    return (Check("own_measurements", round(factor, 2), round(math.exp(_MAX_LOG_CORRECTION), 2), "x", "WARN", hint),)


def _measure_distance(ratio: float) -> float:
    return abs(math.log(ratio))


def _slow_down(estimated: EstimatedService, speed: RelativeSpeed) -> EstimatedService:
    """Return the estimated service of a server with a relative speed."""
    service = speed_up(estimated.service, speed.factor)
    assert isinstance(service, TokenService)
    return msgspec.structs.replace(
        estimated,
        service=service,
        tpot_sigma=math.hypot(estimated.tpot_sigma, speed.sigma),
        ttft_sigma=math.hypot(estimated.ttft_sigma, speed.sigma),
    )


def expect_points(
    server: Server,
    lengths: tuple[float, float],
    clients: Sequence[float],
    own: Sequence[OwnEvidence],
    evidence: FittedEvidence,
    speed: RelativeSpeed = AS_PREDICTED,
) -> tuple[OwnPoint, ...]:
    """Return what measurements of a server with these numbers of clients are expected to show, given those that exist;
    nothing if a figure of the accelerator is unknown."""
    targets = [_Load(server.served.accelerators, number, *lengths, {}) for number in clients]
    predictions = _predict(targets, _list_loads(own, server), server, evidence, speed)
    times_ms = {
        metric: 1000 * (prediction.p50_s if prediction.corrected is None else np.exp(prediction.corrected.mean))
        for metric, prediction in predictions.items()
    }
    return tuple(
        OwnPoint(
            clients=number,
            rate_per_s=None,
            input_tokens=lengths[0],
            output_tokens=lengths[1],
            ttft_ms=float(times_ms["ttft"][index]),
            tpot_ms=float(times_ms["tpot"][index]),
        )
        for index, number in enumerate(clients)
        if times_ms
    )


def _list_loads(own: Sequence[OwnEvidence], server: Server) -> list[_Load]:
    return [load for item in list_applicable(own, server) for point in item.points if (load := _read(item, point))]


def _predict(
    targets: Sequence[_Load],
    loads: Sequence[_Load],
    server: Server,
    evidence: FittedEvidence,
    speed: RelativeSpeed,
) -> dict[Metric, _Prediction]:
    """Return the predicted times of `targets`, given measured loads, by metric; nothing if a figure of the accelerator
    is unknown. The times of a metric correct nothing if one is too far from what is expected."""
    loops = _build_loops([*targets, *loads], server)
    if isinstance(loops, Unavailable):
        return {}
    estimate, first = evidence.estimate(loops, is_planned=True), len(targets)
    predictions = {}
    for metric in METRICS:
        measured = [index for index, load in enumerate(loads, first) if load.times_s[metric]]
        predicted = LogIntervals.from_bounds(estimate.p10[metric], estimate.p90[metric])
        prior = LogIntervals(predicted.mean - math.log(speed.factor), np.hypot(predicted.sigma, speed.sigma))
        times_s = np.array([loads[index - first].times_s[metric] for index in measured], dtype=np.float64)
        corrections = np.log(times_s) - prior.mean[measured]
        corrected = ignored_ratio = None
        if np.any(np.abs(corrections) > _MAX_LOG_CORRECTION):
            ignored_ratio = float(np.exp(corrections[np.argmax(np.abs(corrections))]))
        elif measured:
            posterior = condition(prior, _correlate([*targets, *loads], metric), np.array(measured), times_s)
            corrected = LogIntervals(posterior.mean[:first], posterior.sigma[:first])
        p50_s = estimate.p50[metric][:first] / speed.factor
        predictions[metric] = _Prediction(p50_s, corrected, len(measured), ignored_ratio)
    return predictions


def _read(evidence: OwnEvidence, point: OwnPoint) -> _Load | None:
    """Return a measured load; None if it has an impossible value, or if the requests at once are unknown."""
    values = [point.input_tokens, point.output_tokens, point.clients, point.rate_per_s, point.ttft_ms, point.tpot_ms]
    if any(value is not None and not 0 < value < np.inf for value in values):
        return None
    sequences = point.clients
    if sequences is None and point.rate_per_s and point.ttft_ms and point.tpot_ms:
        sequences = point.rate_per_s * (point.ttft_ms + (point.output_tokens - 1) * point.tpot_ms) / 1000
    if sequences is None:
        return None
    times_s: dict[Metric, float | None] = {
        "ttft": None if point.ttft_ms is None else point.ttft_ms / 1000,
        "tpot": None if point.tpot_ms is None else point.tpot_ms / 1000,
    }
    return _Load(evidence.served.accelerators, max(1.0, sequences), point.input_tokens, point.output_tokens, times_s)


def _build_loops(loads: Sequence[_Load], server: Server) -> ClosedLoops | Unavailable:
    servers = [
        msgspec.structs.replace(server, served=msgspec.structs.replace(server.served, accelerators=load.accelerators))
        for load in loads
    ]
    table = build_server_table(servers)
    if isinstance(table, Unavailable):
        return table
    return ClosedLoops(
        table,
        np.array([load.input_tokens for load in loads]) / MEAN_LENGTH,
        np.array([load.output_tokens for load in loads]) / MEAN_LENGTH,
        np.array([load.sequences for load in loads]),
    )


def _correlate(loads: Sequence[_Load], metric: Metric) -> Floats:
    """Return the share of the variance that the errors of each two loads have in common."""
    positions = np.log2([load.sequences for load in loads])
    degrees = np.array([load.accelerators for load in loads])
    lengths = np.log2([[load.input_tokens, load.output_tokens] for load in loads])
    distance = np.abs(lengths[:, None, :] - lengths[None, :, :]).sum(axis=2)
    return np.asarray(
        correlate_loads(positions[:, None], positions[None, :])
        * np.where(degrees[:, None] == degrees[None, :], 1.0, _DEGREE_SHARES[metric])
        * np.where(distance <= _SAME_LENGTH, 1.0, _LENGTH_SHARES[metric])
    )


def _apply(
    estimated: EstimatedService,
    shift: Mapping[Metric, float],
    sigma: Mapping[Metric, float],
    input_tokens: float,
    points: int,
) -> EstimatedService:
    """Scale the step times by the correction of TPOT, and the time of a first token by that of TTFT."""
    service = estimated.service
    tpot_factor, ttft_factor = float(np.exp(shift["tpot"])), float(np.exp(shift["ttft"]))
    prompt_s = service.prefill_s_per_token * input_tokens
    outside_s = max(0.0, ttft_factor * (service.outside_s + prompt_s) - tpot_factor * prompt_s)
    corrected = msgspec.structs.replace(
        service,
        step_s=service.step_s * tpot_factor,
        per_sequence_s=service.per_sequence_s * tpot_factor,
        per_kv_token_s=service.per_kv_token_s * tpot_factor,
        experts_s=service.experts_s * tpot_factor,
        prefill_s_per_token=service.prefill_s_per_token * tpot_factor,
        outside_s=outside_s,
    )
    return msgspec.structs.replace(
        estimated, service=corrected, tpot_sigma=sigma["tpot"], ttft_sigma=sigma["ttft"], own_points=points
    )
