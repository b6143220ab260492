"""The token service of one replica, from load points that tell times to the first token and per token.

A regression of the time per token on the number in work, which Little's law tells, begins; the method of simulated
moments (`moments`) refines it, by playing the stages as they were measured, in an open loop or a closed one.

Prompts are played as if all of a load point were alike, at their mean. Answers are too, unless the latency at the
lowest load is spread wider than the time per token. What a cached token costs cannot be told from what a sequence
costs where lengths hardly differ, so all of it is counted a sequence.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from statistics import fmean

import msgspec
import numpy as np

from app.planning.moments import (
    FEWEST_REQUESTS,
    FEWEST_RUNGS,
    CannotFitError,
    Observed,
    Stage,
    best_fits,
    judged,
    spread_out,
)
from app.planning.service_fit import requests_of
from app.planning.service_laws import Law, Prior
from app.planning.token_play import GAP, TokenLoad, TokenPlay
from app.records.curves import Gaps, Rung
from app.records.service import NO_LIMIT, ServiceFit, TokenService

_TYPICAL, _TAIL = ("p50", "mean"), ("p95", "p99", "p90")
"""One of each is held against the plays, the first that is told."""
_SCREENING, _REFINING = (8, 40_000), (16, 120_000)
"""The most plays of each stage, and about how many requests they may come to over all stages."""
_SCREENED_LOADS, _FEWEST_PLAYS = 6, 6
_MOST_REQUESTS = 2_000
_REFINED = 3
_CHUNK = 2048
_USUAL_LIMIT = 256
_LIMITS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 100, 128, 192, 200, 256, 384, 512, 1024)
_ALIKE = 0.05
_Z95 = 1.644854
_JUMP = 3.0
"""By how much more than the time per token the first token's must have grown, to be waiting for a place."""


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
    start = _regression(points)
    limits = [max_sequences] if max_sequences else _limits(points, start)
    laws = [_law(msgspec.structs.replace(start, max_sequences=limit), points) for limit in limits]
    screening = _stages(spread_out(points, _SCREENED_LOADS), *_SCREENING, seed)
    stages = _stages(points, *_REFINING, seed + 1)
    highest_per_s = max(point.achieved_per_s for point in points)
    fit = judged(best_fits(laws, screening, stages, most=_REFINED), stages, highest_per_s)
    return fit if max_sequences else _with_cache(fit, points, limits[-1])


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
    sigma = _output_sigma(played[0]) if played else 0.0
    return [_point(alike, lengths or (1.0, 1.0), sigma) for alike in played]


def _point(rungs: list[Rung], lengths: tuple[float, float], output_sigma: float) -> _Point:
    first, achieved = rungs[0], fmean(rung.achieved_per_s for rung in rungs)
    offered = fmean(rung.offered_per_s or 0.0 for rung in rungs) if first.offered_per_s else None
    times = {name: [known[name] for known in map(_times, rungs) if name in known] for name in _times(first)}
    logs = {name: fmean(map(math.log, values)) for name, values in times.items() if len(values) == len(rungs)}
    if offered is None:
        logs[GAP] = -math.log(achieved)
    requests = round(fmean(requests_of(rung) for rung in rungs))
    own = mean_lengths(rungs) or lengths
    return _Point(
        Observed(offered or achieved, requests, len(rungs), tuple(logs), tuple(logs.values())),
        TokenLoad(offered, None if offered else max(1, round(first.clients or 1)), *own, output_sigma, first.gaps),
        fmean(_typical(rung, "ttft")[0] for rung in rungs),
        fmean(_per_token(rung)[0] for rung in rungs),
        achieved,
    )


def _times(rung: Rung) -> dict[str, float]:
    """What of a load point is held against plays. Gaps pooled over all answers are known by their mean alone."""
    found = {}
    for metric in ("ttft", "tpot", "latency"):
        told = rung.latencies_s.get(metric, {})
        names = [next((name for name in wanted if told.get(name)), None) for wanted in (_TYPICAL, _TAIL)]
        found.update({f"{metric} {name}": told[name] for name in names if name})
    mean = rung.latencies_s.get("itl", {}).get("mean")
    return found if "tpot" in rung.latencies_s or not mean else found | {"itl mean": mean}


def _typical(rung: Rung, metric: str) -> list[float]:
    told = rung.latencies_s.get(metric, {})
    return [told[name] for name in _TYPICAL if told.get(name)]


def _per_token(rung: Rung) -> list[float]:
    return _typical(rung, "tpot") or [value for value in [rung.latencies_s.get("itl", {}).get("mean")] if value]


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


def _limits(points: Sequence[_Point], service: TokenService) -> list[int]:
    """How many sequences may be in work: around as many as were, where some waited; the last is beyond them all."""
    most = max(
        point.achieved_per_s
        * (point.load.output_tokens * point.tpot_s + point.load.input_tokens * service.prefill_s_per_token)
        for point in points
    )
    low, beyond = points[0], max(_USUAL_LIMIT, 1 << math.ceil(math.log2(2 * most + 1)))
    waited = any(point.ttft_s / low.ttft_s > _JUMP * point.tpot_s / low.tpot_s for point in points)
    if not waited:
        return [beyond]
    near = {max(1, round(most * share)) for share in (0.94, 1.0, 1.06)}
    usual = {limit for limit in _LIMITS if 0.85 * most <= limit <= 1.4 * most}
    crowd = math.inf if any(point.load.clients is None for point in points) else _most_clients(points)
    return [*sorted(limit for limit in near | usual if limit < crowd), beyond]


def _most_clients(points: Sequence[_Point]) -> int:
    return max(point.load.clients or 0 for point in points)


def _law(service: TokenService, points: Sequence[_Point]) -> Law:
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
    return Law(service, priors)


def _stages(points: Sequence[_Point], most: int, budget: int, seed: int) -> list[Stage]:
    requests = [min(point.observed.requests, _MOST_REQUESTS) for point in points]
    times = max(_FEWEST_PLAYS, min(most, budget // max(1, sum(requests))))
    seeds = np.random.SeedSequence(seed).spawn(len(points))
    return [
        _stage(point, TokenPlay.drawn(point.load, many, times, of))
        for point, many, of in zip(points, requests, seeds, strict=True)
    ]


def _stage(point: _Point, play: TokenPlay) -> Stage:
    one = point.observed
    return Stage(one, partial(play.played, names=one.names), min(1.0, _MOST_REQUESTS / one.requests) / one.points)


def _with_cache(fit: ServiceFit, points: Sequence[_Point], beyond: int) -> ServiceFit:
    """Of each law that had requests wait for a place."""
    tokens = max(math.ceil(point.load.input_tokens) + math.ceil(point.load.output_tokens) for point in points)
    laws = []
    for law in fit.laws:
        assert isinstance(law.service, TokenService)
        limit = law.service.max_sequences
        held = msgspec.structs.replace(law.service, kv_tokens=limit * tokens) if limit < beyond else law.service
        laws.append(msgspec.structs.replace(law, service=held))
    return msgspec.structs.replace(fit, laws=tuple(laws))
