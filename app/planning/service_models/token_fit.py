"""Token service of one replica, from load points with times to the first token and per token.

A regression of the time per token on the number of running sequences, which follows from Little's law, gives the
starting values; the method of simulated moments (`moments`) refines them by simulating the stages as they were
measured, in an open or a closed loop, with the measured joint input and output lengths.

The limit of admission is fitted as well: hardly any limit, the number of running sequences, or the tokens of the KV
cache. Each of the three is a model of its own, with the probability that the load points give it.

Where a source reports at most mean lengths, all prompts of a load point are simulated as equally long, and so are
responses, unless the latency at the lowest load has a wider spread than the time per token. Where lengths hardly
differ, the cost of a cached token cannot be distinguished from that of a sequence, so all of it is assigned to the
sequence.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from statistics import fmean

import msgspec
import numpy as np

from app.analysis.token_samples import MAX_PAIRS, merge_samples, unpack_pairs
from app.planning.service_models.families import ADMISSION_LIMITS, Prior, ServiceFamily
from app.planning.service_models.moments import (
    MIN_LOAD_POINTS,
    MIN_REQUESTS,
    CannotFitError,
    ObservedLoad,
    ObservedStage,
    build_service_fit,
    compute_rough_cost,
    find_best_fits,
    pick_evenly,
)
from app.planning.service_models.service_fit import count_requests
from app.planning.service_models.service_times import compute_lognormal_factors
from app.planning.service_models.stage_simulation import RESPONSE_GAP, TokenLoad, TokenSimulation
from app.planning.simulation.compiled import Ints
from app.records.estimate import TokenSample
from app.records.planning_inputs import GapDistribution, MeasuredLoadPoint
from app.records.service import UNLIMITED_TOKENS, FittedService, ServiceFit, ServiceModel, TokenService

_COMPARED_AGGREGATES = (("p50", "mean"), ("p95", "p90"), ("p99",))
"""Aggregates that are compared with simulations: of each group the first that is reported."""
_TYPICAL, _TAIL = _COMPARED_AGGREGATES[:2]
_SCREENING, _REFINING = (6, 9_000), (12, 36_000)
"""Maximum number of simulations of each stage, and about how many requests they may have over all stages."""
_SCREENED_LOADS, _MIN_PLAYS = 6, 4
_MAX_REQUESTS = 1_500
_REFINED, _MAX_COST_BEHIND = 3, 10.0
"""Number of models to refine, and the cost behind the best screening up to which they are; none farther
behind has won."""
_CHUNK, _SMALL_CHUNK = 2048, 512
"""Prompt tokens read in one step: the usual number, and one that only longer prompts distinguish from it."""
_USUAL_LIMIT = 256
_MIN_OUTPUT_SIGMA = 0.05
_Z95 = 1.644854
_LIMIT_START, _LIMIT_SIGMA, _MAX_LIMIT = 1.1, 1.0, 16.0
"""Start of a limit's fit, prior sigma, and the highest limit tried, all relative to the most that was in work.

The start is low, where the limit affects the load points.
"""
_PROMPT_SHARES = (0.3,)
_UNSHOWN_SHARE = 0.5
"""Share of the prior's variance that a fitted limit has to stay below, or else the load points do not show it."""


class _Point(msgspec.Struct, frozen=True):
    """All load points of one load."""

    observed: ObservedLoad
    load: TokenLoad
    ttft_s: float
    tpot_s: float
    achieved_per_s: float

    @property
    def decoding(self) -> float:
        """Number of decoding sequences, by Little's law."""
        return self.achieved_per_s * self.tpot_s * max(1.0, self.load.output_tokens - 1)


def has_token_times(load_point: MeasuredLoadPoint) -> bool:
    """Return whether a load point has times to the first token and per token."""
    return any(_typical(load_point, "ttft")) and any(_per_token(load_point))


def compute_mean_lengths(load_points: Sequence[MeasuredLoadPoint]) -> tuple[float, float] | None:
    """Return the mean tokens of prompts and responses over the load points that have them; `None` without any."""
    inputs = [rung.input_tokens_mean for rung in load_points if rung.input_tokens_mean]
    outputs = [tokens for rung in load_points if (tokens := _output_tokens(rung))]
    return (fmean(inputs), fmean(outputs)) if inputs and outputs else None


def fit_tokens(
    load_points: Sequence[MeasuredLoadPoint], *, max_sequences: int | None = None, seed: int = 20_26
) -> ServiceFit:
    """Fit a token service. `max_sequences` is the server's own limit where it is known.

    Where requests had to wait, it is unknown whether sequences or the cache limited them, so longer requests are then
    limited to the tokens that were in work. Raises CannotFitError where fewer than three loads have the required times,
    or the numbers of tokens are unknown.
    """
    token_rungs = [rung for rung in load_points if has_token_times(rung) and rung.gaps != "other"]
    points = _points([rung for rung in token_rungs if count_requests(rung) >= MIN_REQUESTS])
    if len(points) < MIN_LOAD_POINTS:
        requirement = f"a token service model needs TTFT and time per token at {MIN_LOAD_POINTS} loads"
        raise CannotFitError(f"{requirement}, but there are {len(points)}")
    screening = _stages(pick_evenly(points, _SCREENED_LOADS), *_SCREENING, seed)
    unlimited = [_unlimited_family(start, points, max_sequences) for start in _starts(points)]

    def limited(_: ServiceFamily) -> list[ServiceFamily]:
        """Return limited models, each from the start that is most similar to the screening.

        Where a limit is effective, the fit without one is a poor start: its times per sequence include the waiting.
        """
        model_groups = zip(*(_limited_families(family, points, max_sequences) for family in unlimited), strict=True)
        return [min(group, key=lambda family: compute_rough_cost(family, screening)) for group in model_groups]

    stages = _stages(points, *_REFINING, seed + 1)
    highest_per_s = max(point.achieved_per_s for point in points)
    fits = find_best_fits(
        unlimited, screening, stages, max_fits=_REFINED, richer=limited, max_cost_behind=_MAX_COST_BEHIND
    )
    fit = _drop_unshown_limits(build_service_fit(fits, stages, highest_per_s), unlimited[0].service)
    return fit if max_sequences else _with_cache(fit, points)


def merge_load_point_samples(load_points: Sequence[MeasuredLoadPoint]) -> TokenSample | None:
    """Return the joint lengths over all load points; `None` where none reports them."""
    return merge_samples([rung.lengths for rung in load_points if rung.lengths is not None])


def _points(rungs: Sequence[MeasuredLoadPoint]) -> list[_Point]:
    lengths = compute_mean_lengths(rungs)
    if rungs and lengths is None:
        raise CannotFitError("the token counts of prompts and responses are not reported")
    by_load: dict[tuple[float, float, GapDistribution], list[MeasuredLoadPoint]] = defaultdict(list)
    for rung in rungs:
        rate = rung.offered_per_s or 0.0
        by_load[float(f"{rate:.3g}"), 0.0 if rate else rung.clients or 0.0, rung.gaps].append(rung)
    groups = [group for (rate, clients, _), group in by_load.items() if rate or clients]
    groups.sort(key=lambda group: fmean(rung.achieved_per_s for rung in group))
    unknown = _pairs_of_means(lengths or (1.0, 1.0), _output_sigma(groups[0]) if groups else 0.0)
    return [_point(group, unknown) for group in groups]


def _point(rungs: list[MeasuredLoadPoint], unknown: Ints) -> _Point:
    """Return the point of one load. `unknown` are lengths of the whole measurement, for a load point without any."""
    first, achieved = rungs[0], fmean(rung.achieved_per_s for rung in rungs)
    offered = fmean(rung.offered_per_s or 0.0 for rung in rungs) if first.offered_per_s else None
    times = {
        name: [times_of_rung[name] for times_of_rung in map(_times, rungs) if name in times_of_rung]
        for name in _times(first)
    }
    logs = {name: fmean(map(math.log, values)) for name, values in times.items() if len(values) == len(rungs)}
    if offered is None:
        logs[RESPONSE_GAP] = -math.log(achieved)
    requests = round(fmean(count_requests(rung) for rung in rungs))
    sample, own_means = merge_load_point_samples(rungs), compute_mean_lengths(rungs)
    pairs = unknown
    if sample is not None:
        pairs = unpack_pairs(sample)
    elif own_means is not None:
        pairs = np.maximum(np.rint(unknown * (np.array(own_means) / unknown.mean(axis=0))), 1).astype(np.int64)
    return _Point(
        ObservedLoad(offered or achieved, requests, len(rungs), tuple(logs), tuple(logs.values())),
        TokenLoad(offered, None if offered else max(1, round(first.clients or 1)), pairs, first.gaps),
        fmean(_typical(rung, "ttft")[0] for rung in rungs),
        fmean(_per_token(rung)[0] for rung in rungs),
        achieved,
    )


def _times(rung: MeasuredLoadPoint) -> dict[str, float]:
    """Return the times of a load point to compare with simulations.

    Gaps pooled over all responses have only their mean.
    """
    times = {}
    for metric in ("ttft", "tpot", "latency"):
        reported = rung.latencies_s.get(metric, {})
        names = [next((name for name in candidates if reported.get(name)), None) for candidates in _COMPARED_AGGREGATES]
        times.update({f"{metric} {name}": reported[name] for name in names if name})
    mean = rung.latencies_s.get("itl", {}).get("mean")
    return times if "tpot" in rung.latencies_s or not mean else times | {"itl mean": mean}


def _typical(rung: MeasuredLoadPoint, metric: str) -> list[float]:
    reported = rung.latencies_s.get(metric, {})
    return [reported[name] for name in _TYPICAL if reported.get(name)]


def _per_token(rung: MeasuredLoadPoint) -> list[float]:
    return _typical(rung, "tpot") or [value for value in [rung.latencies_s.get("itl", {}).get("mean")] if value]


def _pairs_of_means(means: tuple[float, float], output_sigma: float) -> Ints:
    """Return pairs with equal prompts and lognormal responses."""
    from scipy import special  # imported here because it would delay the start of a run

    count = MAX_PAIRS if output_sigma else 1
    scores = special.ndtri((np.arange(count) + 0.5) / count)
    outputs = compute_lognormal_factors(scores, math.sqrt(math.expm1(output_sigma**2)))
    pairs = np.column_stack([np.full(count, means[0]), means[1] * outputs / outputs.mean()])
    return np.asarray(np.maximum(np.rint(pairs), 1), dtype=np.int64)


def _output_tokens(rung: MeasuredLoadPoint) -> float | None:
    """Return the output tokens; where they were not counted, those that fit into the mean latency."""
    means = [rung.latencies_s.get(metric, {}).get("mean") for metric in ("latency", "ttft", "tpot")]
    latency, ttft, tpot = means
    if rung.output_tokens_mean or not (latency and ttft and tpot):
        return rung.output_tokens_mean
    return 1 + (latency - ttft) / tpot


def _output_sigma(rungs: Sequence[MeasuredLoadPoint]) -> float:
    """Return the sigma of the logarithm of a response's length.

    It follows from how much wider the spread of the latency is than that of the time per token.
    """
    sigmas = []
    for rung in rungs:
        latency_sigma, tpot_sigma = (_sigma(rung, metric) for metric in ("latency", "tpot"))
        if latency_sigma is not None and tpot_sigma is not None:
            sigmas.append(math.sqrt(max(0.0, latency_sigma**2 - tpot_sigma**2)))
    min_sigma = min(sigmas, default=0.0)
    return min_sigma if min_sigma > _MIN_OUTPUT_SIGMA else 0.0


def _sigma(rung: MeasuredLoadPoint, metric: str) -> float | None:
    reported = rung.latencies_s.get(metric, {})
    middle, high = reported.get("p50"), reported.get("p95")
    return math.log(high / middle) / _Z95 if middle and high else None


def _regression(points: Sequence[_Point]) -> TokenService:
    """Fit a service without a limit by non-negative least squares of relative errors.

    A time per token is that of a step with this many sequences and of the prompts read meanwhile. A time to first token
    at the lowest load is that of the prompt's own steps and of the rest of the step in progress.
    """
    rows, lowest = [], points[0]
    for point in points:
        prefill = point.achieved_per_s * point.load.input_tokens * point.tpot_s
        rows.append(np.array([1.0, point.decoding, prefill]) / point.tpot_s)
    steps = math.ceil(lowest.load.input_tokens / _CHUNK) + 0.5 * min(1.0, lowest.decoding) * (lowest.load.clients != 1)
    rows.append(np.array([steps, steps * lowest.decoding, lowest.load.input_tokens]) / lowest.ttft_s)
    from scipy import optimize  # imported here because it would delay the start of a run

    coefficients, _ = optimize.nnls(np.array(rows), np.ones(len(rows)))
    max_decoding = max(point.decoding for point in points)
    return TokenService(
        step_s=max(float(coefficients[0]), 0.02 * lowest.tpot_s),
        per_sequence_s=max(float(coefficients[1]), 0.02 * lowest.tpot_s / max(max_decoding, 1.0)),
        prefill_s_per_token=max(float(coefficients[2]), 0.02 * lowest.ttft_s / lowest.load.input_tokens),
        max_sequences=_USUAL_LIMIT,
        kv_tokens=UNLIMITED_TOKENS,
        chunk_tokens=_CHUNK,
        cv=0.1,
        outside_s=0.05 * lowest.ttft_s,
    )


def _starts(points: Sequence[_Point]) -> list[TokenService]:
    """Return the regression and variants with faster prompts.

    Where load lengthens a step, the effects of prompts and of sequences look alike.
    """
    start = _regression(points)
    tpot_s = np.array([point.tpot_s for point in points])
    prefill = np.array([point.achieved_per_s * point.load.input_tokens * point.tpot_s for point in points])
    columns = np.column_stack([np.ones(len(points)), [point.decoding for point in points]]) / tpot_s[:, None]
    from scipy import optimize  # imported here because it would delay the start of a run

    starts = [start]
    for share in _PROMPT_SHARES:
        prefill_s_per_token = share * start.prefill_s_per_token
        coefficients, _ = optimize.nnls(columns, np.maximum(1 - prefill_s_per_token * prefill / tpot_s, 0.0))
        starts.append(
            msgspec.structs.replace(
                start,
                step_s=max(float(coefficients[0]), start.step_s / 2),
                per_sequence_s=max(float(coefficients[1]), start.per_sequence_s),
                prefill_s_per_token=prefill_s_per_token,
            )
        )
    return starts


def _unlimited_family(start: TokenService, points: Sequence[_Point], max_sequences: int | None) -> ServiceFamily:
    """Return the model without an effective limit, or with the known limit of running sequences."""
    beyond = max(_USUAL_LIMIT, 1 << math.ceil(math.log2(2 * _max_in_work(points, start)[0] + 1)))
    return _family(msgspec.structs.replace(start, max_sequences=max_sequences or beyond), points)


def _limited_families(
    unlimited: ServiceFamily, points: Sequence[_Point], max_sequences: int | None
) -> list[ServiceFamily]:
    """Return the models limited by running sequences and by the KV cache.

    The first is left out where the limit of running sequences is known.
    """
    assert isinstance(unlimited.service, TokenService)
    running, cached = _max_in_work(points, unlimited.service)
    families = [] if max_sequences else [_with_limit(unlimited, "max_sequences", running)]
    are_alike = all(np.ptp(point.load.pairs.sum(axis=1)) == 0 for point in points)  # both limits then have the same
    # effect
    return families if are_alike else [*families, _with_limit(unlimited, "kv_tokens", cached)]


def _max_in_work(points: Sequence[_Point], service: TokenService) -> tuple[float, float]:
    """Return the running sequences and the tokens that they reserve at the highest load, by Little's law."""
    in_work = []
    for point in points:
        inputs, outputs = point.load.pairs.T
        in_work_s = outputs * point.tpot_s + inputs * service.prefill_s_per_token
        in_work.append(
            (
                point.achieved_per_s * float(in_work_s.mean()),
                point.achieved_per_s * float(((inputs + outputs) * in_work_s).mean()),
            )
        )
    running, cached = np.max(in_work, axis=0)
    clients = [point.load.clients for point in points]
    max_clients = max((count for count in clients if count is not None), default=0) if None not in clients else math.inf
    return min(float(running), float(max_clients)), float(cached)


def _with_limit(free: ServiceFamily, name: str, in_work: float) -> ServiceFamily:
    value = max(1.0, _LIMIT_START * in_work)
    prior = Prior(2 * value, _LIMIT_SIGMA, max(0.5, 0.4 * value), _MAX_LIMIT * value)
    service = msgspec.structs.replace(free.service, **{name: value})
    return ServiceFamily(service, {**free.priors, name: prior})


def _family(service: TokenService, points: Sequence[_Point]) -> ServiceFamily:
    first_s, step_s, prompt = points[0].ttft_s, points[0].tpot_s, points[0].load.input_tokens
    widths = {"step_s": 1.0, "per_sequence_s": 1.0, "prefill_s_per_token": 1.0}
    max_values = {
        "step_s": 2 * step_s,
        "per_sequence_s": 2 * max(point.tpot_s for point in points),
        "prefill_s_per_token": 2 * first_s / prompt,
    }
    started = {name: getattr(service, name) for name in widths}
    priors = {
        name: Prior(value, widths[name], 1e-3 * min(value, max_values[name]), max(max_values[name], 2 * value))
        for name, value in started.items()
    }
    priors["outside_s"] = Prior(service.outside_s, 1.5, 1e-4 * first_s, first_s)
    priors["cv"] = Prior(service.cv, 1.0, 0.005, 2.0)
    if any(point.load.pairs[:, 0].max() > _SMALL_CHUNK for point in points):
        priors["chunk_tokens"] = Prior(float(_CHUNK), 1.0, _SMALL_CHUNK / 2, 16 * _CHUNK)
    return ServiceFamily(service, priors)


def _stages(points: Sequence[_Point], max_plays: int, budget: int, seed: int) -> list[ObservedStage]:
    requests = [min(point.observed.requests, _MAX_REQUESTS) for point in points]
    play_count = max(_MIN_PLAYS, min(max_plays, budget // max(1, sum(requests))))
    seeds = np.random.SeedSequence(seed).spawn(len(points))
    return [
        _stage(point, TokenSimulation.draw(point.load, request_count, play_count, seed_of_point))
        for point, request_count, seed_of_point in zip(points, requests, seeds, strict=True)
    ]


def _stage(point: _Point, simulation: TokenSimulation) -> ObservedStage:
    observed = point.observed
    return ObservedStage(
        observed,
        partial(simulation.simulate, names=observed.names),
        min(1.0, _MAX_REQUESTS / observed.requests) / observed.points,
    )


def _drop_unshown_limits(fit: ServiceFit, free: ServiceModel) -> ServiceFit:
    """Replace models whose limit the load points leave as uncertain as before by the model without a limit."""
    merged_laws: dict[tuple[str, ...], FittedService] = {}
    for fitted in fit.services:
        limits = [index for index, name in enumerate(fitted.parameters) if name in ADMISSION_LIMITS]
        if limits and fitted.log_covariance[limits[0]][limits[0]] > _UNSHOWN_SHARE * _LIMIT_SIGMA**2:
            fitted = _without_parameter(fitted, limits[0], free)
        previous = merged_laws.get(fitted.parameters)
        probability = fitted.probability + (previous.probability if previous else 0.0)
        merged_laws[fitted.parameters] = msgspec.structs.replace(previous or fitted, probability=probability)
    ranked = sorted(merged_laws.values(), key=lambda fitted: -fitted.probability)
    return msgspec.structs.replace(fit, services=tuple(ranked))


def _without_parameter(fitted: FittedService, index: int, free: ServiceModel) -> FittedService:
    """Return the model without its parameter at this index, which gets its value from `free`."""
    name = fitted.parameters[index]
    others = [position for position in range(len(fitted.parameters)) if position != index]
    return msgspec.structs.replace(
        fitted,
        service=msgspec.structs.replace(fitted.service, **{name: getattr(free, name)}),
        parameters=tuple(fitted.parameters[position] for position in others),
        log_covariance=tuple(tuple(fitted.log_covariance[row][column] for column in others) for row in others),
    )


def _with_cache(fit: ServiceFit, points: Sequence[_Point]) -> ServiceFit:
    """Limit the tokens in work for requests longer than the measured ones.

    A limit of sequences applies to requests as long as those measured; longer ones may fill the cache first. So no more
    tokens are planned to be in work than the longest of those would reserve.
    """
    tokens = max(int(point.load.pairs.sum(axis=1).max()) for point in points)
    services = []
    for fitted in fit.services:
        assert isinstance(fitted.service, TokenService)
        service = fitted.service
        if "max_sequences" in fitted.parameters:
            service = msgspec.structs.replace(service, kv_tokens=service.max_sequences * tokens)
        services.append(msgspec.structs.replace(fitted, service=service))
    return msgspec.structs.replace(fit, services=tuple(services))
