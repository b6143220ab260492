"""Fit of a token service model of one replica to load points with TTFT and TPOT.

A regression of TPOT on the number of running sequences, which follows from Little's law, provides
starting values. The method of simulated moments (`moments`) then refines these values by simulating
the stages as measured, in an open or a closed loop, with the measured joint distribution of input
and output lengths.

The admission limit is fitted as well. There are three candidate models: almost no limit, a limit on
running sequences, and a limit on tokens in the KV cache. Each model has a posterior probability,
given the load points. If a source reports only mean token lengths, or no lengths, all prompts of a
load point are simulated with the same length. The responses have the same length too, unless the
latency at the lowest load has a wider spread than TPOT. If lengths hardly vary, the times per
cached token and per sequence cannot be distinguished, so the time is attributed to the sequence.
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
    CannotFitError,
    ObservedLoad,
    ObservedStage,
    build_service_fit,
    compute_rough_cost,
    find_best_fits,
    pick_evenly,
)
from app.planning.service_models.service_fit import count_requests, has_enough_responses
from app.planning.service_models.service_times import compute_lognormal_factors
from app.planning.service_models.stage_simulation import RESPONSE_GAP, TokenLoad, TokenSimulation
from app.planning.simulation.compiled import Ints
from app.records.estimate import TokenSample
from app.records.planning_inputs import GapDistribution, MeasuredLoadPoint
from app.records.service import UNLIMITED_TOKENS, FittedService, ServiceFit, ServiceModel, TokenService

_COMPARED_AGGREGATES = (("p50", "mean"), ("p95", "p90"), ("p99",))
"""Aggregates of measured latencies that are compared with simulations. The first reported aggregate
of each group is used."""
_TYPICAL_AGGREGATES = _COMPARED_AGGREGATES[0]
_SCREENING_BUDGET, _REFINING_BUDGET = (6, 9_000), (12, 36_000)
"""Simulation budgets of screening and of refining: maximum number of simulations per stage, and
approximate total number of requests.
"""
_MAX_SCREENED_LOADS, _MIN_SIMULATIONS = 6, 4
_MAX_REQUESTS = 1_500
_MAX_REFINED_FITS, _MAX_EXCESS_COST = 3, 10.0
"""Maximum number of models to refine, and their maximum screening cost above the best model.

In tests, no model with a higher screening cost became the best.
"""
_DEFAULT_CHUNK_TOKENS, _SMALL_CHUNK_TOKENS = 2048, 512
"""Typical number of prompt tokens processed per step, and the prompt length in tokens above which
this number is fitted. Shorter prompts would not determine the number."""
_DEFAULT_MAX_SEQUENCES = 256
_MIN_OUTPUT_SIGMA = 0.05
_Z95_ONE_SIDED = 1.644854
_LIMIT_START, _LIMIT_SIGMA, _MAX_LIMIT = 1.1, 1.0, 16.0
"""Starting value, prior sigma and maximum of a fitted limit, relative to the maximum number of
sequences or tokens in flight.

The starting value is low, so that the limit has an effect on the load points.
"""
_PREFILL_SHARES = (0.3,)
_MAX_VARIANCE_SHARE = 0.5
"""Maximum variance of a fitted limit relative to the variance of its prior. If the variance is
larger, the load points do not support the limit."""


class _Point(msgspec.Struct, frozen=True):
    """Load points at the same rate or with the same number of clients, combined into one."""

    observed_load: ObservedLoad
    token_load: TokenLoad
    ttft_s: float
    tpot_s: float
    achieved_per_s: float

    @property
    def decoding_sequences(self) -> float:
        """Mean number of sequences in decode, by Little's law."""
        return self.achieved_per_s * self.tpot_s * max(1.0, self.token_load.output_tokens - 1)


def has_token_latencies(load_point: MeasuredLoadPoint) -> bool:
    """Return whether a load point reports TTFT and TPOT or ITL."""
    return any(_list_typical_latencies(load_point, "ttft")) and any(_list_per_token_latencies(load_point))


def compute_mean_lengths(load_points: Sequence[MeasuredLoadPoint]) -> tuple[float, float] | None:
    """Return the mean input and output tokens over all load points that report them; `None` if no
    load point does."""
    inputs = [load_point.input_tokens_mean for load_point in load_points if load_point.input_tokens_mean]
    outputs = [tokens for load_point in load_points if (tokens := _estimate_output_tokens(load_point))]
    return (fmean(inputs), fmean(outputs)) if inputs and outputs else None


def fit_token_service(
    load_points: Sequence[MeasuredLoadPoint], *, max_sequences: int | None = None, seed: int = 20_26
) -> ServiceFit:
    """Fit a token service model. `max_sequences` is the server's configured limit, if known.

    If requests were queued, the bottleneck may have been the limit on sequences or the KV cache.
    The model therefore assumes a KV cache that is just large enough for the fitted number of
    sequences of the longest measured length. Raises CannotFitError if fewer than three loads have
    the required latencies, or if the token lengths are unknown.
    """
    token_load_points = [
        load_point for load_point in load_points if has_token_latencies(load_point) and load_point.gaps != "other"
    ]
    points = _group_by_load([load_point for load_point in token_load_points if has_enough_responses(load_point)])
    if len(points) < MIN_LOAD_POINTS:
        requirement_text = f"a token service model needs TTFT and time per token at {MIN_LOAD_POINTS} loads"
        raise CannotFitError(f"{requirement_text}, but there are {len(points)}")
    screening_stages = _build_stages(pick_evenly(points, _MAX_SCREENED_LOADS), *_SCREENING_BUDGET, seed)
    unlimited_families = [
        _build_unlimited_family(starting_service, points, max_sequences)
        for starting_service in _build_starting_services(points)
    ]

    def derive_limited_families(_: ServiceFamily) -> list[ServiceFamily]:
        """Return the models with a limit, each with the starting values that match the screening
        stages best.

        The fit without a limit is not used as the starting point, because its time per sequence
        includes queueing.
        """
        model_groups = zip(
            *(_build_limited_families(family, points, max_sequences) for family in unlimited_families), strict=True
        )
        return [min(group, key=lambda family: compute_rough_cost(family, screening_stages)) for group in model_groups]

    stages = _build_stages(points, *_REFINING_BUDGET, seed + 1)
    highest_per_s = max(point.achieved_per_s for point in points)
    fits = find_best_fits(
        unlimited_families,
        screening_stages,
        stages,
        max_fits=_MAX_REFINED_FITS,
        derive_richer=derive_limited_families,
        max_excess_cost=_MAX_EXCESS_COST,
    )
    fit = _drop_unsupported_limits(build_service_fit(fits, stages, highest_per_s), unlimited_families[0].service)
    return fit if max_sequences else _limit_cached_tokens(fit, points)


def merge_load_point_samples(load_points: Sequence[MeasuredLoadPoint]) -> TokenSample | None:
    """Merge the samples of token lengths of all load points. Return `None` if no load point reports
    a sample."""
    return merge_samples([load_point.lengths for load_point in load_points if load_point.lengths is not None])


def _group_by_load(load_points: Sequence[MeasuredLoadPoint]) -> list[_Point]:
    lengths = compute_mean_lengths(load_points)
    if load_points and lengths is None:
        raise CannotFitError("the token counts of prompts and responses are not reported")
    load_points_by_load: dict[tuple[float, float, GapDistribution], list[MeasuredLoadPoint]] = defaultdict(list)
    for load_point in load_points:
        rate = load_point.offered_per_s or 0.0
        load_points_by_load[float(f"{rate:.3g}"), 0.0 if rate else load_point.clients or 0.0, load_point.gaps].append(
            load_point
        )
    groups = [group for (rate, clients, _), group in load_points_by_load.items() if rate or clients]
    groups.sort(key=lambda group: fmean(load_point.achieved_per_s for load_point in group))
    default_pairs = _build_pairs(lengths or (1.0, 1.0), _estimate_output_sigma(groups[0]) if groups else 0.0)
    return [_combine_load_points(group, default_pairs) for group in groups]


def _combine_load_points(load_points: list[MeasuredLoadPoint], default_pairs: Ints) -> _Point:
    """Combine load points at the same load. `default_pairs` are the token lengths of load points
    that report no token lengths."""
    first_load_point, achieved_per_s = load_points[0], fmean(load_point.achieved_per_s for load_point in load_points)
    offered_per_s = (
        fmean(load_point.offered_per_s or 0.0 for load_point in load_points) if first_load_point.offered_per_s else None
    )
    latencies_by_name = {
        name: [latencies_s[name] for latencies_s in map(_select_latencies, load_points) if name in latencies_s]
        for name in _select_latencies(first_load_point)
    }
    log_latencies = {
        name: fmean(map(math.log, values))
        for name, values in latencies_by_name.items()
        if len(values) == len(load_points)
    }
    if offered_per_s is None:
        log_latencies[RESPONSE_GAP] = -math.log(achieved_per_s)
    requests = round(fmean(count_requests(load_point) for load_point in load_points))
    sample, mean_lengths = merge_load_point_samples(load_points), compute_mean_lengths(load_points)
    pairs = default_pairs
    if sample is not None:
        pairs = unpack_pairs(sample)
    elif mean_lengths is not None:
        pairs = np.maximum(np.rint(default_pairs * (np.array(mean_lengths) / default_pairs.mean(axis=0))), 1).astype(
            np.int64
        )
    return _Point(
        ObservedLoad(
            offered_per_s or achieved_per_s,
            requests,
            len(load_points),
            tuple(log_latencies),
            tuple(log_latencies.values()),
        ),
        TokenLoad(
            offered_per_s,
            None if offered_per_s else max(1, round(first_load_point.clients or 1)),
            pairs,
            first_load_point.gaps,
        ),
        fmean(_list_typical_latencies(load_point, "ttft")[0] for load_point in load_points),
        fmean(_list_per_token_latencies(load_point)[0] for load_point in load_points),
        achieved_per_s,
    )


def _select_latencies(load_point: MeasuredLoadPoint) -> dict[str, float]:
    """Return the latencies of a load point that are compared with simulations, in seconds by name.

    Of the ITL, which is pooled over all responses, only the mean is compared.
    """
    latencies_s = {}
    for metric in ("ttft", "tpot", "latency"):
        reported_latencies_s = load_point.latencies_s.get(metric, {})
        names = [
            next((name for name in candidates if reported_latencies_s.get(name)), None)
            for candidates in _COMPARED_AGGREGATES
        ]
        latencies_s.update({f"{metric} {name}": reported_latencies_s[name] for name in names if name})
    mean = load_point.latencies_s.get("itl", {}).get("mean")
    return latencies_s if "tpot" in load_point.latencies_s or not mean else latencies_s | {"itl mean": mean}


def _list_typical_latencies(load_point: MeasuredLoadPoint, metric: str) -> list[float]:
    reported_latencies_s = load_point.latencies_s.get(metric, {})
    return [reported_latencies_s[name] for name in _TYPICAL_AGGREGATES if reported_latencies_s.get(name)]


def _list_per_token_latencies(load_point: MeasuredLoadPoint) -> list[float]:
    return _list_typical_latencies(load_point, "tpot") or [
        value for value in [load_point.latencies_s.get("itl", {}).get("mean")] if value
    ]


def _build_pairs(means: tuple[float, float], output_sigma: float) -> Ints:
    """Return pairs of input and output tokens with the given means. Input tokens are constant;
    output tokens have a lognormal distribution."""
    from scipy import special  # deferred, because the import would delay the start of a run

    pair_count = MAX_PAIRS if output_sigma else 1
    normal_scores = special.ndtri((np.arange(pair_count) + 0.5) / pair_count)
    outputs = compute_lognormal_factors(normal_scores, math.sqrt(math.expm1(output_sigma**2)))
    pairs = np.column_stack([np.full(pair_count, means[0]), means[1] * outputs / outputs.mean()])
    return np.asarray(np.maximum(np.rint(pairs), 1), dtype=np.int64)


def _estimate_output_tokens(load_point: MeasuredLoadPoint) -> float | None:
    """Return the mean number of output tokens. An unreported number is estimated from the mean
    latencies."""
    means = [load_point.latencies_s.get(metric, {}).get("mean") for metric in ("latency", "ttft", "tpot")]
    mean_latency_s, mean_ttft_s, mean_tpot_s = means
    if load_point.output_tokens_mean or not (mean_latency_s and mean_ttft_s and mean_tpot_s):
        return load_point.output_tokens_mean
    return 1 + (mean_latency_s - mean_ttft_s) / mean_tpot_s


def _estimate_output_sigma(load_points: Sequence[MeasuredLoadPoint]) -> float:
    """Return the lognormal sigma of the output tokens, estimated from the spread of latency that
    exceeds the spread of TPOT.
    """
    sigmas = []
    for load_point in load_points:
        latency_sigma, tpot_sigma = (_compute_sigma(load_point, metric) for metric in ("latency", "tpot"))
        if latency_sigma is not None and tpot_sigma is not None:
            sigmas.append(math.sqrt(max(0.0, latency_sigma**2 - tpot_sigma**2)))
    min_sigma = min(sigmas, default=0.0)
    return min_sigma if min_sigma > _MIN_OUTPUT_SIGMA else 0.0


def _compute_sigma(load_point: MeasuredLoadPoint, metric: str) -> float | None:
    reported_latencies_s = load_point.latencies_s.get(metric, {})
    p50_s, p95_s = reported_latencies_s.get("p50"), reported_latencies_s.get("p95")
    return math.log(p95_s / p50_s) / _Z95_ONE_SIDED if p50_s and p95_s else None


def _fit_regression(points: Sequence[_Point]) -> TokenService:
    """Fit a service without limits by non-negative least squares of relative errors.

    TPOT is modeled as the duration of a step with the mean number of running sequences, plus the
    prefill of other prompts in the meantime. At the lowest load, TTFT is modeled as the duration of
    the prompt's own steps, plus the remainder of the step in progress.
    """
    rows, lowest_point = [], points[0]
    for point in points:
        prefill_tokens = point.achieved_per_s * point.token_load.input_tokens * point.tpot_s
        rows.append(np.array([1.0, point.decoding_sequences, prefill_tokens]) / point.tpot_s)
    steps = math.ceil(lowest_point.token_load.input_tokens / _DEFAULT_CHUNK_TOKENS) + 0.5 * min(
        1.0, lowest_point.decoding_sequences
    ) * (lowest_point.token_load.clients != 1)
    rows.append(
        np.array([steps, steps * lowest_point.decoding_sequences, lowest_point.token_load.input_tokens])
        / lowest_point.ttft_s
    )
    from scipy import optimize  # deferred, because the import would delay the start of a run

    coefficients, _ = optimize.nnls(np.array(rows), np.ones(len(rows)))
    max_decoding = max(point.decoding_sequences for point in points)
    return TokenService(
        step_s=max(float(coefficients[0]), 0.02 * lowest_point.tpot_s),
        per_sequence_s=max(float(coefficients[1]), 0.02 * lowest_point.tpot_s / max(max_decoding, 1.0)),
        prefill_s_per_token=max(
            float(coefficients[2]), 0.02 * lowest_point.ttft_s / lowest_point.token_load.input_tokens
        ),
        max_sequences=_DEFAULT_MAX_SEQUENCES,
        kv_tokens=UNLIMITED_TOKENS,
        chunk_tokens=_DEFAULT_CHUNK_TOKENS,
        cv=0.1,
        outside_s=0.05 * lowest_point.ttft_s,
    )


def _build_starting_services(points: Sequence[_Point]) -> list[TokenService]:
    """Return starting values: the result of the regression, and variants with faster prefill.

    Variants are needed because steps may become slower under load due to prefill or due to running
    sequences, which the regression can hardly distinguish.
    """
    starting_service = _fit_regression(points)
    tpot_s = np.array([point.tpot_s for point in points])
    prefill_tokens = np.array([point.achieved_per_s * point.token_load.input_tokens * point.tpot_s for point in points])
    columns = np.column_stack([np.ones(len(points)), [point.decoding_sequences for point in points]]) / tpot_s[:, None]
    from scipy import optimize  # deferred, because the import would delay the start of a run

    starting_services = [starting_service]
    for share in _PREFILL_SHARES:
        prefill_s_per_token = share * starting_service.prefill_s_per_token
        coefficients, _ = optimize.nnls(columns, np.maximum(1 - prefill_s_per_token * prefill_tokens / tpot_s, 0.0))
        starting_services.append(
            msgspec.structs.replace(
                starting_service,
                step_s=max(float(coefficients[0]), starting_service.step_s / 2),
                per_sequence_s=max(float(coefficients[1]), starting_service.per_sequence_s),
                prefill_s_per_token=prefill_s_per_token,
            )
        )
    return starting_services


def _build_unlimited_family(
    starting_service: TokenService, points: Sequence[_Point], max_sequences: int | None
) -> ServiceFamily:
    """Build the model without an effective limit, or with the known limit of running sequences."""
    ineffective_limit = max(
        _DEFAULT_MAX_SEQUENCES, 1 << math.ceil(math.log2(2 * _estimate_max_in_flight(points, starting_service)[0] + 1))
    )
    return _build_family(
        msgspec.structs.replace(starting_service, max_sequences=max_sequences or ineffective_limit), points
    )


def _build_limited_families(
    unlimited_family: ServiceFamily, points: Sequence[_Point], max_sequences: int | None
) -> list[ServiceFamily]:
    """Build a model with a limit on running sequences, and one with a limit on tokens in the KV
    cache. If the limit on running sequences is known, only the latter is built.
    """
    assert isinstance(unlimited_family.service, TokenService)
    max_running_sequences, max_cached_tokens = _estimate_max_in_flight(points, unlimited_family.service)
    families = [] if max_sequences else [_add_limit(unlimited_family, "max_sequences", max_running_sequences)]
    # with equal lengths, both limits have the same effect
    has_equal_lengths = all(np.ptp(point.token_load.pairs.sum(axis=1)) == 0 for point in points)
    return families if has_equal_lengths else [*families, _add_limit(unlimited_family, "kv_tokens", max_cached_tokens)]


def _estimate_max_in_flight(points: Sequence[_Point], service: TokenService) -> tuple[float, float]:
    """Return the maximum numbers of running sequences and of reserved tokens over all load points,
    by Little's law."""
    in_flight = []
    for point in points:
        inputs, outputs = point.token_load.pairs.T
        residence_s = outputs * point.tpot_s + inputs * service.prefill_s_per_token
        in_flight.append(
            (
                point.achieved_per_s * float(residence_s.mean()),
                point.achieved_per_s * float(((inputs + outputs) * residence_s).mean()),
            )
        )
    max_running_sequences, max_cached_tokens = np.max(in_flight, axis=0)
    client_counts = [point.token_load.clients for point in points]
    max_clients = (
        max((count for count in client_counts if count is not None), default=0)
        if None not in client_counts
        else math.inf
    )
    return min(float(max_running_sequences), float(max_clients)), float(max_cached_tokens)


def _add_limit(unlimited_family: ServiceFamily, name: str, max_in_flight: float) -> ServiceFamily:
    value = max(1.0, _LIMIT_START * max_in_flight)
    prior = Prior(2 * value, _LIMIT_SIGMA, max(0.5, 0.4 * value), _MAX_LIMIT * value)
    service = msgspec.structs.replace(unlimited_family.service, **{name: value})
    return ServiceFamily(service, {**unlimited_family.priors, name: prior})


def _build_family(service: TokenService, points: Sequence[_Point]) -> ServiceFamily:
    """Return a family whose priors have the values of `service` as their medians. The chunk size is fitted only if a
    prompt is longer than the smallest chunk."""
    ttft_s, tpot_s, prompt_tokens = points[0].ttft_s, points[0].tpot_s, points[0].token_load.input_tokens
    sigmas = {"step_s": 1.0, "per_sequence_s": 1.0, "prefill_s_per_token": 1.0}
    max_values = {
        "step_s": 2 * tpot_s,
        "per_sequence_s": 2 * max(point.tpot_s for point in points),
        "prefill_s_per_token": 2 * ttft_s / prompt_tokens,
    }
    starting_values = {name: getattr(service, name) for name in sigmas}
    priors = {
        name: Prior(value, sigmas[name], 1e-3 * min(value, max_values[name]), max(max_values[name], 2 * value))
        for name, value in starting_values.items()
    }
    priors["outside_s"] = Prior(service.outside_s, 1.5, 1e-4 * ttft_s, ttft_s)
    priors["cv"] = Prior(service.cv, 1.0, 0.005, 2.0)
    if any(point.token_load.pairs[:, 0].max() > _SMALL_CHUNK_TOKENS for point in points):
        priors["chunk_tokens"] = Prior(
            float(_DEFAULT_CHUNK_TOKENS), 1.0, _SMALL_CHUNK_TOKENS / 2, 16 * _DEFAULT_CHUNK_TOKENS
        )
    return ServiceFamily(service, priors)


def _build_stages(
    points: Sequence[_Point], max_simulations: int, request_budget: int, seed: int
) -> list[ObservedStage]:
    request_counts = [min(point.observed_load.requests, _MAX_REQUESTS) for point in points]
    simulation_count = max(_MIN_SIMULATIONS, min(max_simulations, request_budget // max(1, sum(request_counts))))
    seeds = np.random.SeedSequence(seed).spawn(len(points))
    return [
        _build_stage(point, TokenSimulation.draw(point.token_load, request_count, simulation_count, point_seed))
        for point, request_count, point_seed in zip(points, request_counts, seeds, strict=True)
    ]


def _build_stage(point: _Point, simulation: TokenSimulation) -> ObservedStage:
    observed_load = point.observed_load
    return ObservedStage(
        observed_load,
        partial(simulation.simulate, names=observed_load.names),
        min(1.0, _MAX_REQUESTS / observed_load.requests) / observed_load.point_count,
    )


def _drop_unsupported_limits(fit: ServiceFit, unlimited_service: ServiceModel) -> ServiceFit:
    """Replace each model whose fitted limit is about as uncertain as the limit's prior by the same
    model without a limit."""
    merged_by_parameters: dict[tuple[str, ...], FittedService] = {}
    for fitted_service in fit.services:
        limit_indices = [index for index, name in enumerate(fitted_service.parameters) if name in ADMISSION_LIMITS]
        if (
            limit_indices
            and fitted_service.log_covariance[limit_indices[0]][limit_indices[0]]
            > _MAX_VARIANCE_SHARE * _LIMIT_SIGMA**2
        ):
            fitted_service = _remove_parameter(fitted_service, limit_indices[0], unlimited_service)
        merged_service = merged_by_parameters.get(fitted_service.parameters)
        probability = fitted_service.probability + (merged_service.probability if merged_service else 0.0)
        merged_by_parameters[fitted_service.parameters] = msgspec.structs.replace(
            merged_service or fitted_service, probability=probability
        )
    ranked_services = sorted(merged_by_parameters.values(), key=lambda fitted_service: -fitted_service.probability)
    return msgspec.structs.replace(fit, services=tuple(ranked_services))


def _remove_parameter(fitted_service: FittedService, index: int, unlimited_service: ServiceModel) -> FittedService:
    """Return the fitted model without the free parameter at `index`. The parameter takes its value
    from `unlimited_service`."""
    name = fitted_service.parameters[index]
    remaining_indices = [position for position in range(len(fitted_service.parameters)) if position != index]
    return msgspec.structs.replace(
        fitted_service,
        service=msgspec.structs.replace(fitted_service.service, **{name: getattr(unlimited_service, name)}),
        parameters=tuple(fitted_service.parameters[position] for position in remaining_indices),
        log_covariance=tuple(
            tuple(fitted_service.log_covariance[row][column] for column in remaining_indices)
            for row in remaining_indices
        ),
    )


def _limit_cached_tokens(fit: ServiceFit, points: Sequence[_Point]) -> ServiceFit:
    """Limit the cached tokens for requests that are longer than the measured requests.

    A fitted limit on sequences applies to requests of the measured lengths; longer requests may
    fill the KV cache first. The limit on cached tokens is therefore the maximum number of sequences
    times the longest measured length.
    """
    max_tokens = max(int(point.token_load.pairs.sum(axis=1).max()) for point in points)
    services = []
    for fitted_service in fit.services:
        assert isinstance(fitted_service.service, TokenService)
        service = fitted_service.service
        if "max_sequences" in fitted_service.parameters:
            service = msgspec.structs.replace(service, kv_tokens=service.max_sequences * max_tokens)
        services.append(msgspec.structs.replace(fitted_service, service=service))
    return msgspec.structs.replace(fit, services=tuple(services))
