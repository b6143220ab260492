"""The token service of one replica, from load points that report times to the first token and per token.

A regression of the time per token on the number of running sequences, which Little's law gives, starts; the method of
simulated moments (`moments`) refines it, by playing the stages as they were measured, in an open loop or a closed one,
with the joint input and output lengths that were measured.

What admits a request is fitted too: either hardly anything limits it, or the number of running sequences does, or the
tokens of the KV cache do. Each of the three is a law of its own, with the chance that the load points give it.

Where a source reports mean lengths at most, prompts are played as if all of a load point were alike, and so are
answers, unless the latency at the lowest load is spread wider than the time per token. What a cached token costs cannot
be told from what a sequence costs where lengths hardly differ, so all of it is counted a sequence.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from statistics import fmean

import msgspec
import numpy as np

from app.analysis.token_samples import MAX_PAIRS, merged, pairs_of
from app.planning.service_models.moments import (
    FEWEST_REQUESTS,
    FEWEST_RUNGS,
    CannotFitError,
    Observed,
    ObservedStage,
    best_fits,
    judged,
    rough_cost,
    spread_out,
)
from app.planning.service_models.service_fit import requests_of
from app.planning.service_models.service_laws import ADMISSION_LIMITS, Prior, ServiceFamily
from app.planning.service_models.service_times import lognormal_factors
from app.planning.service_models.stage_play import GAP, TokenLoad, TokenPlay
from app.planning.simulation.compiled import Ints
from app.records.estimate import TokenSample
from app.records.plan_question import Gaps, Rung
from app.records.service import NO_LIMIT, FittedService, ServiceFit, ServiceModel, TokenService

_COMPARED = (("p50", "mean"), ("p95", "p90"), ("p99",))
"""One of each is held against the plays, the first that is reported."""
_TYPICAL, _TAIL = _COMPARED[:2]
_SCREENING, _REFINING = (6, 9_000), (12, 36_000)
"""The most plays of each stage, and about how many requests they may come to over all stages."""
_SCREENED_LOADS, _FEWEST_PLAYS = 6, 4
_MOST_REQUESTS = 1_500
_REFINED, _MOST_BEHIND = 3, 10.0
"""Of laws whose screening is so far behind, in twice the logarithm of a likelihood, none came out best."""
_CHUNK, _SMALL_CHUNK = 2048, 512
"""Prompt tokens read in one step: the usual number, and one that only longer prompts tell from it."""
_USUAL_LIMIT = 256
_ALIKE = 0.05
_Z95 = 1.644854
_LIMIT_START, _LIMIT_SIGMA, _HIGHEST_LIMIT = 1.1, 1.0, 16.0
"""Beside the most that was in work: where the fit of a limit begins, the sigma of what is thought of it before, and
the highest that is tried. It begins low, where the load points feel it."""
_PROMPT_SHARES = (0.3,)
_UNFELT = 0.5
"""Of that sigma's square, as the fit states it: a limit that is no surer was not felt."""


class _Point(msgspec.Struct, frozen=True):
    """All load points of one load."""

    observed: Observed
    load: TokenLoad
    ttft_s: float
    tpot_s: float
    achieved_per_s: float

    @property
    def decoding(self) -> float:
        """Little's law: how many sequences are at it at once."""
        return self.achieved_per_s * self.tpot_s * max(1.0, self.load.output_tokens - 1)


def tells_tokens(rung: Rung) -> bool:
    """Whether a load point has times to the first token and per token."""
    return any(_typical(rung, "ttft")) and any(_per_token(rung))


def mean_lengths(rungs: Sequence[Rung]) -> tuple[float, float] | None:
    """Mean tokens of prompts and of answers, over the load points that tell them; None where none does."""
    inputs = [rung.input_tokens_mean for rung in rungs if rung.input_tokens_mean]
    outputs = [tokens for rung in rungs if (tokens := _output_tokens(rung))]
    return (fmean(inputs), fmean(outputs)) if inputs and outputs else None


def fit_tokens(rungs: Sequence[Rung], *, max_sequences: int | None = None, seed: int = 20_26) -> ServiceFit:
    """`max_sequences` is the server's own limit where it is known.

    Where requests were seen to wait for a place, nothing tells whether sequences or the cache were short, so longer
    requests are then held to the tokens that were in work. Raises CannotFitError where fewer than three loads tell what
    is needed, or the numbers of tokens are not told.
    """
    told = [rung for rung in rungs if tells_tokens(rung) and rung.gaps != "other"]
    points = _points([rung for rung in told if requests_of(rung) >= FEWEST_REQUESTS])
    if len(points) < FEWEST_RUNGS:
        needs = f"a token service needs times to the first token and per token at {FEWEST_RUNGS} loads"
        raise CannotFitError(f"{needs}, and there are {len(points)}")
    screening = _stages(spread_out(points, _SCREENED_LOADS), *_SCREENING, seed)
    unlimited = [_unlimited_law(start, points, max_sequences) for start in _starts(points)]

    def limited(_: ServiceFamily) -> list[ServiceFamily]:
        """Each from the start that looks most like the screening. Where a limit is felt, what was fitted without one
        is no start: its times per sequence stand for the waiting."""
        each = zip(*(_limited_laws(law, points, max_sequences) for law in unlimited), strict=True)
        return [min(laws, key=lambda law: rough_cost(law, screening)) for laws in each]

    stages = _stages(points, *_REFINING, seed + 1)
    highest_per_s = max(point.achieved_per_s for point in points)
    fits = best_fits(unlimited, screening, stages, most=_REFINED, richer=limited, most_behind=_MOST_BEHIND)
    fit = _without_unfelt_limits(judged(fits, stages, highest_per_s), unlimited[0].service)
    return fit if max_sequences else _with_cache(fit, points)


def sample_of(rungs: Sequence[Rung]) -> TokenSample | None:
    """Joint lengths over all load points; None where none reports them."""
    return merged([rung.lengths for rung in rungs if rung.lengths is not None])


def _points(rungs: Sequence[Rung]) -> list[_Point]:
    lengths = mean_lengths(rungs)
    if rungs and lengths is None:
        raise CannotFitError("how many tokens prompts and answers have is not told")
    by_load: dict[tuple[float, float, Gaps], list[Rung]] = defaultdict(list)
    for rung in rungs:
        rate = rung.offered_per_s or 0.0
        by_load[float(f"{rate:.3g}"), 0.0 if rate else rung.clients or 0.0, rung.gaps].append(rung)
    played = [alike for (rate, clients, _), alike in by_load.items() if rate or clients]
    played.sort(key=lambda alike: fmean(rung.achieved_per_s for rung in alike))
    unknown = _pairs_of_means(lengths or (1.0, 1.0), _output_sigma(played[0]) if played else 0.0)
    return [_point(alike, unknown) for alike in played]


def _point(rungs: list[Rung], unknown: Ints) -> _Point:
    """`unknown` are lengths of the whole measurement, for a load point that reports none."""
    first, achieved = rungs[0], fmean(rung.achieved_per_s for rung in rungs)
    offered = fmean(rung.offered_per_s or 0.0 for rung in rungs) if first.offered_per_s else None
    times = {name: [known[name] for known in map(_times, rungs) if name in known] for name in _times(first)}
    logs = {name: fmean(map(math.log, values)) for name, values in times.items() if len(values) == len(rungs)}
    if offered is None:
        logs[GAP] = -math.log(achieved)
    requests = round(fmean(requests_of(rung) for rung in rungs))
    sample, own = sample_of(rungs), mean_lengths(rungs)
    pairs = unknown
    if sample is not None:
        pairs = pairs_of(sample)
    elif own is not None:
        pairs = np.maximum(np.rint(unknown * (np.array(own) / unknown.mean(axis=0))), 1).astype(np.int64)
    return _Point(
        Observed(offered or achieved, requests, len(rungs), tuple(logs), tuple(logs.values())),
        TokenLoad(offered, None if offered else max(1, round(first.clients or 1)), pairs, first.gaps),
        fmean(_typical(rung, "ttft")[0] for rung in rungs),
        fmean(_per_token(rung)[0] for rung in rungs),
        achieved,
    )


def _times(rung: Rung) -> dict[str, float]:
    """What of a load point is held against plays. Gaps pooled over all answers are known by their mean alone."""
    found = {}
    for metric in ("ttft", "tpot", "latency"):
        told = rung.latencies_s.get(metric, {})
        names = [next((name for name in wanted if told.get(name)), None) for wanted in _COMPARED]
        found.update({f"{metric} {name}": told[name] for name in names if name})
    mean = rung.latencies_s.get("itl", {}).get("mean")
    return found if "tpot" in rung.latencies_s or not mean else found | {"itl mean": mean}


def _typical(rung: Rung, metric: str) -> list[float]:
    told = rung.latencies_s.get(metric, {})
    return [told[name] for name in _TYPICAL if told.get(name)]


def _per_token(rung: Rung) -> list[float]:
    return _typical(rung, "tpot") or [value for value in [rung.latencies_s.get("itl", {}).get("mean")] if value]


def _pairs_of_means(means: tuple[float, float], output_sigma: float) -> Ints:
    """Prompts that are alike, and answers with a lognormal spread."""
    from scipy import special  # imported late: the start of a run would wait for it

    count = MAX_PAIRS if output_sigma else 1
    scores = special.ndtri((np.arange(count) + 0.5) / count)
    outputs = lognormal_factors(scores, math.sqrt(math.expm1(output_sigma**2)))
    pairs = np.column_stack([np.full(count, means[0]), means[1] * outputs / outputs.mean()])
    return np.asarray(np.maximum(np.rint(pairs), 1), dtype=np.int64)


def _output_tokens(rung: Rung) -> float | None:
    """Where they were not counted: as many as the latency has room for, by the means."""
    means = [rung.latencies_s.get(metric, {}).get("mean") for metric in ("latency", "ttft", "tpot")]
    latency, ttft, tpot = means
    if rung.output_tokens_mean or not (latency and ttft and tpot):
        return rung.output_tokens_mean
    return 1 + (latency - ttft) / tpot


def _output_sigma(rungs: Sequence[Rung]) -> float:
    """Of the logarithm of an answer's length: by how much the latency is spread wider than the time per token."""
    found = []
    for rung in rungs:
        wide, narrow = (_sigma(rung, metric) for metric in ("latency", "tpot"))
        if wide is not None and narrow is not None:
            found.append(math.sqrt(max(0.0, wide**2 - narrow**2)))
    least = min(found, default=0.0)
    return least if least > _ALIKE else 0.0


def _sigma(rung: Rung, metric: str) -> float | None:
    told = rung.latencies_s.get(metric, {})
    middle, high = told.get("p50"), told.get("p95")
    return math.log(high / middle) / _Z95 if middle and high else None


def _regression(points: Sequence[_Point]) -> TokenService:
    """By non-negative least squares, of relative errors, without a limit.

    A time per token is that of a step with so many sequences and of the prompts read meanwhile; a first token, where
    the load is lowest, is that of the prompt's own steps and of what is left of the step under way.
    """
    rows, low = [], points[0]
    for point in points:
        reading = point.achieved_per_s * point.load.input_tokens * point.tpot_s
        rows.append(np.array([1.0, point.decoding, reading]) / point.tpot_s)
    steps = math.ceil(low.load.input_tokens / _CHUNK) + 0.5 * min(1.0, low.decoding) * (low.load.clients != 1)
    rows.append(np.array([steps, steps * low.decoding, low.load.input_tokens]) / low.ttft_s)
    from scipy import optimize  # imported late: the start of a run would wait for it

    found, _ = optimize.nnls(np.array(rows), np.ones(len(rows)))
    most = max(point.decoding for point in points)
    return TokenService(
        step_s=max(float(found[0]), 0.02 * low.tpot_s),
        per_sequence_s=max(float(found[1]), 0.02 * low.tpot_s / max(most, 1.0)),
        prefill_s_per_token=max(float(found[2]), 0.02 * low.ttft_s / low.load.input_tokens),
        max_sequences=_USUAL_LIMIT,
        kv_tokens=NO_LIMIT,
        chunk_tokens=_CHUNK,
        cv=0.1,
        outside_s=0.05 * low.ttft_s,
    )


def _starts(points: Sequence[_Point]) -> list[TokenService]:
    """The regression, and others with faster prompts: where load lengthens a step, prompts and sequences look alike."""
    start = _regression(points)
    tpot_s = np.array([point.tpot_s for point in points])
    reading = np.array([point.achieved_per_s * point.load.input_tokens * point.tpot_s for point in points])
    columns = np.column_stack([np.ones(len(points)), [point.decoding for point in points]]) / tpot_s[:, None]
    from scipy import optimize  # imported late: the start of a run would wait for it

    starts = [start]
    for share in _PROMPT_SHARES:
        prefill_s_per_token = share * start.prefill_s_per_token
        found, _ = optimize.nnls(columns, np.maximum(1 - prefill_s_per_token * reading / tpot_s, 0.0))
        starts.append(
            msgspec.structs.replace(
                start,
                step_s=max(float(found[0]), start.step_s / 2),
                per_sequence_s=max(float(found[1]), start.per_sequence_s),
                prefill_s_per_token=prefill_s_per_token,
            )
        )
    return starts


def _unlimited_law(start: TokenService, points: Sequence[_Point], max_sequences: int | None) -> ServiceFamily:
    """Hardly limited, or by the limit of running sequences that is known."""
    beyond = max(_USUAL_LIMIT, 1 << math.ceil(math.log2(2 * _most_in_work(points, start)[0] + 1)))
    return _law(msgspec.structs.replace(start, max_sequences=max_sequences or beyond), points)


def _limited_laws(unlimited: ServiceFamily, points: Sequence[_Point], max_sequences: int | None) -> list[ServiceFamily]:
    """Limited by running sequences, unless their limit is known; limited by the KV cache."""
    assert isinstance(unlimited.service, TokenService)
    running, cached = _most_in_work(points, unlimited.service)
    laws = [] if max_sequences else [_with_limit(unlimited, "max_sequences", running)]
    are_alike = all(np.ptp(point.load.pairs.sum(axis=1)) == 0 for point in points)  # either limit then does the same
    return laws if are_alike else [*laws, _with_limit(unlimited, "kv_tokens", cached)]


def _most_in_work(points: Sequence[_Point], service: TokenService) -> tuple[float, float]:
    """Little's law at the busiest load: running sequences, and tokens that their inputs and outputs reserve."""
    found = []
    for point in points:
        inputs, outputs = point.load.pairs.T
        in_work_s = outputs * point.tpot_s + inputs * service.prefill_s_per_token
        found.append(
            (
                point.achieved_per_s * float(in_work_s.mean()),
                point.achieved_per_s * float(((inputs + outputs) * in_work_s).mean()),
            )
        )
    running, cached = np.max(found, axis=0)
    clients = [point.load.clients for point in points]
    most = max((one for one in clients if one is not None), default=0) if None not in clients else math.inf
    return min(float(running), float(most)), float(cached)


def _with_limit(free: ServiceFamily, name: str, in_work: float) -> ServiceFamily:
    value = max(1.0, _LIMIT_START * in_work)
    prior = Prior(2 * value, _LIMIT_SIGMA, max(0.5, 0.4 * value), _HIGHEST_LIMIT * value)
    service = msgspec.structs.replace(free.service, **{name: value})
    return ServiceFamily(service, {**free.priors, name: prior})


def _law(service: TokenService, points: Sequence[_Point]) -> ServiceFamily:
    first_s, step_s, prompt = points[0].ttft_s, points[0].tpot_s, points[0].load.input_tokens
    widths = {"step_s": 1.0, "per_sequence_s": 1.0, "prefill_s_per_token": 1.0}
    most = {
        "step_s": 2 * step_s,
        "per_sequence_s": 2 * max(point.tpot_s for point in points),
        "prefill_s_per_token": 2 * first_s / prompt,
    }
    started = {name: getattr(service, name) for name in widths}
    priors = {
        name: Prior(value, widths[name], 1e-3 * min(value, most[name]), max(most[name], 2 * value))
        for name, value in started.items()
    }
    priors["outside_s"] = Prior(service.outside_s, 1.5, 1e-4 * first_s, first_s)
    priors["cv"] = Prior(service.cv, 1.0, 0.005, 2.0)
    if any(point.load.pairs[:, 0].max() > _SMALL_CHUNK for point in points):
        priors["chunk_tokens"] = Prior(float(_CHUNK), 1.0, _SMALL_CHUNK / 2, 16 * _CHUNK)
    return ServiceFamily(service, priors)


def _stages(points: Sequence[_Point], most: int, budget: int, seed: int) -> list[ObservedStage]:
    requests = [min(point.observed.requests, _MOST_REQUESTS) for point in points]
    times = max(_FEWEST_PLAYS, min(most, budget // max(1, sum(requests))))
    seeds = np.random.SeedSequence(seed).spawn(len(points))
    return [
        _stage(point, TokenPlay.drawn(point.load, many, times, of))
        for point, many, of in zip(points, requests, seeds, strict=True)
    ]


def _stage(point: _Point, play: TokenPlay) -> ObservedStage:
    one = point.observed
    return ObservedStage(
        one, partial(play.played, names=one.names), min(1.0, _MOST_REQUESTS / one.requests) / one.points
    )


def _without_unfelt_limits(fit: ServiceFit, free: ServiceModel) -> ServiceFit:
    """A limit that the load points leave as unknown as before is none that they show: such laws are the free one."""
    merged_laws: dict[tuple[str, ...], FittedService] = {}
    for law in fit.laws:
        limits = [at for at, name in enumerate(law.parameters) if name in ADMISSION_LIMITS]
        if limits and law.log_covariance[limits[0]][limits[0]] > _UNFELT * _LIMIT_SIGMA**2:
            law = _without(law, limits[0], free)
        known = merged_laws.get(law.parameters)
        chance = law.chance + (known.chance if known else 0.0)
        merged_laws[law.parameters] = msgspec.structs.replace(known or law, chance=chance)
    ranked = sorted(merged_laws.values(), key=lambda law: -law.chance)
    return msgspec.structs.replace(fit, laws=tuple(ranked))


def _without(law: FittedService, at: int, free: ServiceModel) -> FittedService:
    """Without its parameter at that place, which is again as in `free`."""
    name = law.parameters[at]
    others = [place for place in range(len(law.parameters)) if place != at]
    return msgspec.structs.replace(
        law,
        service=msgspec.structs.replace(law.service, **{name: getattr(free, name)}),
        parameters=tuple(law.parameters[place] for place in others),
        log_covariance=tuple(tuple(law.log_covariance[row][column] for column in others) for row in others),
    )


def _with_cache(fit: ServiceFit, points: Sequence[_Point]) -> ServiceFit:
    """A limit of sequences holds for requests as long as those measured; longer ones may fill the cache first, so that
    no more tokens are planned to be in work than the longest of those would reserve."""
    tokens = max(int(point.load.pairs.sum(axis=1).max()) for point in points)
    laws = []
    for law in fit.laws:
        assert isinstance(law.service, TokenService)
        service = law.service
        if "max_sequences" in law.parameters:
            service = msgspec.structs.replace(service, kv_tokens=service.max_sequences * tokens)
        laws.append(msgspec.structs.replace(law, service=service))
    return msgspec.structs.replace(fit, laws=tuple(laws))
