"""Simulated servers whose max rate is known, and a stage runner that loads them in virtual time."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from msgspec.structs import replace

from app.analysis.abort import RESPONSE_TIME_SAMPLE_COUNT, is_over_saturated
from app.analysis.objectives import find_estimate, is_met, parse_objective, select_binding_objectives
from app.analysis.sample_size import count_needed_samples
from app.records.result import Estimate, Objective, Stage, Verdict, Window
from app.session.spec import ResolvedStage
from loadgen.arrivals import compute_offsets_ns
from loadgen.records import OpenArrivals
from tests.fakes.queues import Floats, latency_s

_SERVICE_S = 0.001


@dataclass(frozen=True)
class Responses:
    """The responses to each arrival. `failed` marks responses with status 503."""

    latency_s: Floats
    ttft_s: Floats | None = None
    itl_s: Floats | None = None
    failed: np.ndarray | None = None


Respond = Callable[[Floats, np.random.Generator], Responses]


@dataclass(frozen=True)
class KnownServer:
    """`limit_per_s` is the rate of Poisson arrivals at which the SLO is just met in the long run."""

    name: str
    limit_per_s: float
    slo: tuple[Objective, ...]
    respond: Respond

    def __str__(self) -> str:
        return self.name


def lognormal_s(mean_s: float, cv: float, n: int, rng: np.random.Generator) -> Floats:
    variance = math.log(1 + cv * cv)
    return rng.lognormal(math.log(mean_s) - variance / 2, math.sqrt(variance), n)


def many_servers_s(arrivals_s: Floats, service_s: Floats, servers: int) -> Floats:
    """Waiting times at several servers with one queue, first come, first served."""
    free_s = [0.0] * servers
    waits: list[float] = []
    replace_first = heapq.heapreplace
    for at, service in zip(arrivals_s.tolist(), service_s.tolist(), strict=True):
        start = free_s[0] if free_s[0] > at else at
        replace_first(free_s, start + service)
        waits.append(start - at)
    return np.array(waits)


def batches_s(arrivals_s: Floats, max_batch: int, wait_s: float, base_s: float, each_s: float) -> Floats:
    """Latencies of one server with batches: it waits for a full batch, but at most `wait_s` after the first request."""
    at, ends, free, first = arrivals_s.tolist(), [], 0.0, 0
    while first < len(at):
        full = at[first + max_batch - 1] if first + max_batch <= len(at) else math.inf
        start = max(free, min(at[first] + wait_s, full))
        after = bisect_right(at, start, first, min(len(at), first + max_batch))
        free = start + base_s + each_s * (after - first)
        ends += [free] * (after - first)
        first = after
    return np.array(ends) - arrivals_s


def shed(arrivals_s: Floats, per_s: float, depth: float) -> np.ndarray:
    """Arrivals rejected by a token bucket, which fills at `per_s` up to `depth`; each accepted arrival consumes one
    token."""
    tokens, last, turned_away = depth, 0.0, []
    for at in arrivals_s.tolist():
        tokens, last = min(depth, tokens + (at - last) * per_s), at
        turned_away.append(tokens < 1)
        tokens -= tokens >= 1
    return np.array(turned_away, dtype=bool)


def _mm1(arrivals: Floats, rng: np.random.Generator) -> Responses:
    return Responses(latency_s(arrivals, rng.exponential(_SERVICE_S, arrivals.size)))


def _md1(arrivals: Floats, rng: np.random.Generator) -> Responses:
    return Responses(latency_s(arrivals, np.full(arrivals.size, _SERVICE_S)))


def _mg1(arrivals: Floats, rng: np.random.Generator) -> Responses:
    return Responses(latency_s(arrivals, lognormal_s(_SERVICE_S, 1.5, arrivals.size, rng)))


def _mm4(arrivals: Floats, rng: np.random.Generator) -> Responses:
    service = rng.exponential(4 * _SERVICE_S, arrivals.size)
    return Responses(many_servers_s(arrivals, service, 4) + service)


def _mg8(arrivals: Floats, rng: np.random.Generator) -> Responses:
    service = lognormal_s(8 * _SERVICE_S, 1.5, arrivals.size, rng)
    return Responses(many_servers_s(arrivals, service, 8) + service)


def _batching(arrivals: Floats, rng: np.random.Generator) -> Responses:
    return Responses(batches_s(arrivals, max_batch=16, wait_s=0.005, base_s=0.005, each_s=0.0005))


def _cliff(arrivals: Floats, rng: np.random.Generator) -> Responses:
    """64 servers with a constant service time of 100 ms: the k-th arrival goes to server k mod 64."""
    latency = np.empty(arrivals.size)
    for server_index in range(64):
        own = arrivals[server_index::64]
        latency[server_index::64] = latency_s(own, np.full(own.size, 0.1))
    return Responses(latency)


def _shedding(arrivals: Floats, rng: np.random.Generator) -> Responses:
    return Responses(np.full(arrivals.size, 0.005), failed=shed(arrivals, per_s=500.0, depth=20.0))


def _language_model(arrivals: Floats, rng: np.random.Generator) -> Responses:
    """32 slots; a prefill of 10 ms, then 40 tokens on average of about 4 ms each."""
    tokens = np.maximum(2, np.round(lognormal_s(40.0, 0.7, arrivals.size, rng)))
    gaps = lognormal_s(0.004, 0.1, arrivals.size, rng)
    first = many_servers_s(arrivals, 0.01 + tokens * gaps, 32) + 0.01
    return Responses(first + tokens * gaps, ttft_s=first, itl_s=gaps)


def _server(name: str, limit_per_s: float, answer: Respond, *slo: str) -> KnownServer:
    return KnownServer(name, limit_per_s, tuple(parse_objective(text) for text in slo), answer)


KNOWN_SERVERS = (
    # P(T > t) = exp(-(mu - lambda) t): 1000 ln(20) / 150 ms
    _server("M/M/1", 850.0, _mm1, "latency_ms.p95 < 19.9715"),
    # the others from 40 M Poisson arrivals at the limit, by `python -m tests.performance.searches --truth`
    _server("M/D/1", 850.0, _md1, "latency_ms.p95 < 10.12"),
    _server("M/G/1", 850.0, _mg1, "latency_ms.p95 < 34.88"),
    _server("M/M/4", 850.0, _mm4, "latency_ms.p95 < 23.32"),
    _server("M/G/8", 850.0, _mg8, "latency_ms.p95 < 41.82"),
    _server("batches", 900.0, _batching, "latency_ms.p95 < 20.56"),
    _server("cliff", 600.0, _cliff, "latency_ms.p95 < 129.9"),
    _server("sheds", 479.0, _shedding, "error_rate < 1%"),
    _server("language model", 170.0, _language_model, "ttft_ms.p95 < 100.1", "itl_ms.p95 < 10"),
)


def server(name: str) -> KnownServer:
    return next(candidate for candidate in KNOWN_SERVERS if candidate.name == name)


class VirtualRunner:
    """Runs the stages of a search on a server in virtual time, and evaluates only the metrics of the SLO: as
    `StageRunner` and `summarize_stage` would, at a twentieth of the cost."""

    def __init__(self, target: KnownServer, seed: int) -> None:
        self._target, self._seed = target, seed
        self.may_continue = True
        self.stages: list[Stage] = []

    def run(self, order: ResolvedStage) -> Stage:
        assert isinstance(order.load.arrivals, OpenArrivals)
        arrivals_s, answers = self.responses_of(order, len(self.stages))
        rate_per_s = order.load.arrivals.rates[0][1]
        is_lost = self._is_over_saturated(arrivals_s, answers, rate_per_s)
        metrics = _metrics(answers, order.drain_s + order.load.duration_s - arrivals_s)
        nothing = Estimate(None, reason="not asked")
        stage = Stage(
            name=order.name,
            kind=order.kind,
            repeat=order.repeat,
            tags={},
            variant=None,
            window=Window(0, round(order.load.duration_s * 1e9)),
            offered_per_s=nothing,
            achieved_per_s=nothing,
            good_per_s=nothing,
            completed=arrivals_s.size,
            errors={},
            metrics=metrics,
            verdict=Verdict("VALID"),
            scheduled_per_s=rate_per_s,
        )
        met = (
            is_met(objective, find_estimate(stage, objective))
            for objective in select_binding_objectives(self._target.slo)
        )
        self.stages.append(replace(stage, meets_slo=not is_lost and all(met)))
        return self.stages[-1]

    def responses_of(self, order: ResolvedStage, place: int) -> tuple[Floats, Responses]:
        """Responses of the stage at `place` in the order of the search."""
        assert isinstance(order.load.arrivals, OpenArrivals)
        arrivals_s = (
            compute_offsets_ns(order.load.arrivals, order.load.duration_s, 0.0, self._seed * 1_000 + place) / 1e9
        )
        return arrivals_s, self._target.respond(arrivals_s, np.random.default_rng([self._seed, place]))

    def _is_over_saturated(self, arrivals_s: Floats, answers: Responses, rate_per_s: float) -> bool:
        ends, history = np.sort(arrivals_s + answers.latency_s), []
        answer_s = float(np.quantile(answers.latency_s[:RESPONSE_TIME_SAMPLE_COUNT], 0.95)) if arrivals_s.size else None
        for at_s in np.arange(0.25, arrivals_s[-1] if arrivals_s.size else 0.0, 0.25):
            backlog = int(np.searchsorted(arrivals_s, at_s) - np.searchsorted(ends, at_s))
            history.append((int(at_s * 1e9), backlog))
            if is_over_saturated(history, rate_per_s, self._target.slo, answer_s):
                return True
        return False


def _metrics(answers: Responses, left_s: Floats) -> dict[str, dict[str, Estimate]]:
    """`left_s` is the time until the end of the drain, when unfinished requests count as failures."""
    failed = answers.latency_s > left_s
    if answers.failed is not None:
        failed |= answers.failed
    times = {"latency_ms": answers.latency_s, "ttft_ms": answers.ttft_s, "itl_ms": answers.itl_s}
    metrics = {name: {"p95": _p95(times_s[~failed])} for name, times_s in times.items() if times_s is not None}
    return {**metrics, "error_rate": {"value": Estimate(float(failed.mean()) if failed.size else None)}}


def _p95(times_s: Floats) -> Estimate:
    if times_s.size < count_needed_samples(0.95):
        return Estimate(None, reason="too few")
    return Estimate(float(np.quantile(times_s, 0.95, method="inverted_cdf")) * 1e3)
