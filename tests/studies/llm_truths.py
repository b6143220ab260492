"""How well plans for language models hold up: random servers of known behavior, measured, planned, and checked.

    python -m tests.studies.llm_truths --seeds 101-120 --state llm_truths.jsonl

Each seed draws ten truths: a server with continuous batching, a joint distribution of input and output lengths, and an
SLO. An event simulator that shares no code with the product plays the server; its requests become rows of a run, the
product summarizes, fits and plans them, and the simulator then finds how many replicas are needed in truth. Every
truth is one line of the state file, so a run that was stopped continues where it was. Exit code 1 where a bound fails.
"""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import json
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, stats

from app.analysis.curve import build_capacity_curve, build_load_points
from app.analysis.objectives import parse_objective
from app.analysis.search import RateSearch
from app.analysis.stages import summarize_stage
from app.planning.fleets import plan_fleets
from app.planning.service_models.evidence import collect_evidence
from app.planning.service_models.measured import build_measured_target
from app.records.estimate import Estimate
from app.records.offers import PlanLimits
from app.records.planning_inputs import PlanningInputs
from app.records.result import Hardware, MaxRate, Objective, Stage, Traffic
from app.records.stage import StageData
from tests.fakes.offers import TODAY, catalog_of, offer

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Router = Literal["random", "round-robin", "least-outstanding"]
Limit = Literal["none", "sequences", "kv blocks"]

TRUTHS_PER_SEED = 10
TOKENS_PER_BLOCK = 16
STATED_CONFIDENCE = 0.9
RUN_TO_RUN_SIGMA = 0.02
COARSE_REQUESTS, TRUTH_REQUESTS, TRUTH_REQUESTS_EACH = 12_000, 60_000, 20_000
"""Requests of the simulations that bracket the rate, and of those that determine it: a queue near saturation takes long
to grow, and of six truths 12,000 requests put the rate 1 to 7 % too high."""
TRUTH_PRECISION = 0.005


# --- the truth: a server, its traffic, and what is asked of it --------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Server:
    """One replica with continuous batching.

    A step takes `step_s` + `sequence_s` for each decoding sequence + `context_token_s` for each token in the KV cache +
    `prompt_token_s` for each prompt token that it reads, times a random factor. Prompts are read in order, at most
    `chunk_tokens` in one step; None reads all admitted prompts at once. A request is admitted, first come first served,
    when fewer than `max_sequences` are running and the KV cache has blocks for its whole input and output.
    """

    step_s: float
    sequence_s: float
    context_token_s: float
    prompt_token_s: float
    step_cv: float
    network_s: float
    max_sequences: int
    kv_blocks: int
    chunk_tokens: int | None


@dataclasses.dataclass(frozen=True)
class Lengths:
    """Input and output tokens: two correlated lognormals, and a share of long documents with short answers."""

    input_median: float
    input_sigma: float
    output_median: float
    output_sigma: float
    correlation: float
    document_share: float

    def draw(self, rng: np.random.Generator, count: int) -> tuple[list[int], list[int]]:
        first, second = rng.standard_normal((2, count))
        second = self.correlation * first + math.sqrt(1 - self.correlation**2) * second
        is_document = rng.random(count) < self.document_share
        inputs = self.input_median * np.exp(self.input_sigma * first) * np.where(is_document, 6.0, 1.0)
        outputs = self.output_median * np.exp(self.output_sigma * second) * np.where(is_document, 0.5, 1.0)
        return (
            np.clip(np.rint(inputs), 8, 16_000).astype(int).tolist(),
            np.clip(np.rint(outputs), 1, 2_000).astype(int).tolist(),
        )


@dataclasses.dataclass(frozen=True)
class Truth:
    """`speed` is how much faster than the others the measured replica happened to be."""

    server: Server
    lengths: Lengths
    limit: Limit
    slo: tuple[str, ...]
    router: Router
    replicas: int
    speed: float
    headroom: float
    """Share by which the peak stays below what `replicas` sustain, in units of one replica."""
    is_search: bool
    """Whether the rates are those of a search, or a fixed ladder."""
    stage_requests: int
    saturation_per_s: float


# --- an event simulator, written for clarity --------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Times:
    """Of each request, from its arrival, in seconds."""

    first_token_s: Floats
    latency_s: Floats


class Replica:
    """Plays one server step by step."""

    def __init__(self, server: Server, factors: list[float]) -> None:
        self._server, self._factors = server, factors
        self._now_s = 0.0
        self._steps = 0
        self._waiting: deque[int] = deque()
        self._prompts: deque[list[int]] = deque()  # request, unread tokens
        self._running: list[tuple[int, int]] = []  # heap: last step, request
        self._free_blocks = server.kv_blocks
        self._context_tokens = 0

    @property
    def outstanding(self) -> int:
        return len(self._waiting) + len(self._prompts) + len(self._running)

    def advance(self, until_s: float, requests: Requests) -> None:
        """Finishes every step that begins before `until_s`."""
        while self.outstanding and self._now_s < until_s:
            self._admit(requests)
            if self._prompts:
                self._step_with_prompts(requests)
            else:
                self._steps_without_prompts(until_s)
            self._finish(requests)

    def receive(self, request: int, now_s: float) -> None:
        """An idle replica begins its next step at once; a busy one when the current step ends."""
        if not self.outstanding:
            self._now_s = max(self._now_s, now_s)
        self._waiting.append(request)

    def _admit(self, requests: Requests) -> None:
        while self._waiting and len(self._running) + len(self._prompts) < self._server.max_sequences:
            request = self._waiting[0]
            blocks = self._blocks_of(request, requests)
            if blocks > self._free_blocks:
                return
            self._free_blocks -= blocks
            self._prompts.append([request, requests.inputs[request]])
            self._waiting.popleft()

    def _blocks_of(self, request: int, requests: Requests) -> int:
        tokens = requests.inputs[request] + requests.outputs[request]
        return min(-(-tokens // TOKENS_PER_BLOCK), self._server.kv_blocks)

    def _step_with_prompts(self, requests: Requests) -> None:
        budget = self._server.chunk_tokens or sum(unread for _, unread in self._prompts)
        read, complete = 0, []
        while self._prompts and read < budget:
            tokens = min(self._prompts[0][1], budget - read)
            read += tokens
            self._prompts[0][1] -= tokens
            if self._prompts[0][1] == 0:
                complete.append(self._prompts.popleft()[0])
        self._take_step(read)
        for request in complete:
            requests.first_token_at_s[request] = self._now_s
            heapq.heappush(self._running, (self._steps + requests.outputs[request] - 1, request))
            self._context_tokens += requests.inputs[request] + 1

    def _steps_without_prompts(self, until_s: float) -> None:
        """Decodes until a sequence ends or a request may have arrived."""
        server, factors, count = self._server, self._factors, len(self._running)
        fixed_s, last, many = server.step_s + server.sequence_s * count, self._running[0][0], len(factors)
        now_s, steps, context = self._now_s, self._steps, self._context_tokens
        while steps < last and now_s < until_s:
            now_s += (fixed_s + server.context_token_s * context) * factors[steps % many]
            steps += 1
            context += count
        self._now_s, self._steps, self._context_tokens = now_s, steps, context

    def _take_step(self, prompt_tokens: int) -> None:
        server, count = self._server, len(self._running)
        duration_s = server.step_s + server.sequence_s * count + server.context_token_s * self._context_tokens
        duration_s += server.prompt_token_s * prompt_tokens
        self._now_s += duration_s * self._factors[self._steps % len(self._factors)]
        self._steps += 1
        self._context_tokens += count

    def _finish(self, requests: Requests) -> None:
        while self._running and self._running[0][0] <= self._steps:
            _, request = heapq.heappop(self._running)
            requests.end_at_s[request] = self._now_s
            self._free_blocks += self._blocks_of(request, requests)
            self._context_tokens -= requests.inputs[request] + requests.outputs[request]


class Requests:
    """What arrives, and what became of it."""

    def __init__(self, arrivals_s: list[float], inputs: list[int], outputs: list[int]) -> None:
        self.arrivals_s, self.inputs, self.outputs = arrivals_s, inputs, outputs
        self.first_token_at_s = [0.0] * len(arrivals_s)
        self.end_at_s = [0.0] * len(arrivals_s)


def simulate(
    server: Server, requests: Requests, rng: np.random.Generator, replicas: int = 1, router: Router = "random"
) -> Times:
    """A fleet from empty until the last request is answered."""
    sigma = math.sqrt(math.log1p(server.step_cv**2))
    factors = np.exp(sigma * rng.standard_normal(4999) - sigma**2 / 2).tolist()
    fleet = [Replica(server, factors) for _ in range(replicas)]
    choices = rng.integers(0, replicas, len(requests.arrivals_s)).tolist()
    for request, now_s in enumerate(requests.arrivals_s):
        if router == "least-outstanding":
            for each in fleet:
                each.advance(now_s, requests)
            chosen = min(fleet, key=lambda each: each.outstanding)
        else:
            chosen = fleet[choices[request] if router == "random" else request % replicas]
            chosen.advance(now_s, requests)
        chosen.receive(request, now_s)
    for each in fleet:
        each.advance(math.inf, requests)
    arrivals = np.array(requests.arrivals_s)
    return Times(
        np.array(requests.first_token_at_s) - arrivals + server.network_s,
        np.array(requests.end_at_s) - arrivals + server.network_s,
    )


def poisson(rate_per_s: float, count: int, lengths: Lengths, rng: np.random.Generator) -> Requests:
    gaps = rng.standard_exponential(count)
    inputs, outputs = lengths.draw(rng, count)
    return Requests(np.cumsum(gaps / rate_per_s).tolist(), inputs, outputs)


def speed_up_server(server: Server, speed: float) -> Server:
    return dataclasses.replace(
        server,
        step_s=server.step_s / speed,
        sequence_s=server.sequence_s / speed,
        context_token_s=server.context_token_s / speed,
        prompt_token_s=server.prompt_token_s / speed,
    )


# --- random truths ----------------------------------------------------------------------------------------------------


def draw_truth(seed: int, number: int) -> Truth:
    rng = np.random.default_rng([seed, number])

    def between(low: float, high: float) -> float:
        return float(math.exp(rng.uniform(math.log(low), math.log(high))))

    lengths = Lengths(
        input_median=between(150, 2_000), input_sigma=float(rng.uniform(0.2, 1.2)),
        output_median=between(30, 300), output_sigma=float(rng.uniform(0.2, 1.0)),
        correlation=float(rng.uniform(-0.5, 0.7)), document_share=float(rng.choice([0.0, 0.05])),
    )  # fmt: skip
    limit: Limit = ("none", "sequences", "kv blocks")[int(rng.integers(0, 3))]
    server = Server(
        step_s=between(0.006, 0.025), sequence_s=between(2e-5, 4e-4), context_token_s=between(1e-8, 1e-7),
        prompt_token_s=between(1e-5, 1e-4), step_cv=float(rng.uniform(0.0, 0.2)), network_s=between(0.001, 0.02),
        max_sequences=256, kv_blocks=200_000, chunk_tokens=[None, 512, 2048, 8192][int(rng.integers(0, 4))],
    )  # fmt: skip
    sequences = int(rng.choice([4, 8, 16, 24, 32, 48]))
    if limit == "sequences":
        server = dataclasses.replace(server, max_sequences=sequences)
    elif limit == "kv blocks":
        inputs, outputs = lengths.draw(rng, 1_000)
        mean_tokens = float(np.mean(inputs) + np.mean(outputs))
        server = dataclasses.replace(server, kv_blocks=max(1, round(sequences * mean_tokens / TOKENS_PER_BLOCK)))
    router: Router = ("random", "round-robin", "least-outstanding")[int(rng.integers(0, 3))]
    at_once = poisson(1e9, 600, lengths, rng)
    saturation_per_s = 600 / float(simulate(server, at_once, rng).latency_s.max())
    return Truth(
        server=server, lengths=lengths, limit=limit,
        slo=_draw_slo(server, lengths, saturation_per_s, rng),
        router=router, replicas=int(rng.integers(*((6, 13) if router == "least-outstanding" else (8, 25)))),
        speed=math.exp(rng.normal(0.0, RUN_TO_RUN_SIGMA)),
        headroom=float(rng.uniform(0.05, 0.95)), is_search=bool(rng.random() < 0.5),
        stage_requests=round(between(400, 1_500)), saturation_per_s=saturation_per_s,
    )  # fmt: skip


def _draw_slo(server: Server, lengths: Lengths, saturation_per_s: float, rng: np.random.Generator) -> tuple[str, ...]:
    """Limits that a lightly loaded server meets with room to spare."""
    requests = poisson(0.1 * saturation_per_s, 1_500, lengths, rng)
    times = times_by_metric(simulate(server, requests, rng), requests.outputs)
    percentile, share = [("p95", 0.95), ("p95", 0.95), ("p99", 0.99)][int(rng.integers(0, 3))]
    metrics = [("ttft_ms",), ("ttft_ms",), ("ttft_ms", "tpot_ms"), ("latency_ms",)][int(rng.integers(0, 4))]
    slack = {"ttft_ms": (1.5, 5.0), "tpot_ms": (1.3, 2.5), "latency_ms": (1.2, 2.5)}
    return tuple(
        f"{metric}.{percentile} < {1e3 * quantile(times[metric], share) * rng.uniform(*slack[metric]):.6g}"
        for metric in metrics
    )


def times_by_metric(times: Times, outputs: Sequence[int]) -> dict[str, Floats]:
    gaps = np.array(outputs) - 1
    decode_s = (times.latency_s - times.first_token_s)[gaps > 0]
    return {"ttft_ms": times.first_token_s, "latency_ms": times.latency_s, "tpot_ms": decode_s / gaps[gaps > 0]}


def quantile(values: Floats, share: float) -> float:
    return float(np.quantile(values, share, method="inverted_cdf"))


# --- the measurement, as a run makes it -------------------------------------------------------------------------------


def measure(truth: Truth, objectives: tuple[Objective, ...], rng: np.random.Generator) -> tuple[list[Stage], float]:
    """Stages as the product summarizes them, and the highest rate that met the SLO; 0 where none did."""
    server = speed_up_server(truth.server, truth.speed)
    stages: list[Stage] = []

    def held(rate_per_s: float) -> bool:
        requests = poisson(rate_per_s, truth.stage_requests, truth.lengths, rng)
        stages.append(stage_of(len(stages), rate_per_s, requests, simulate(server, requests, rng), objectives))
        return bool(stages[-1].meets_slo)

    if truth.is_search:
        search = RateSearch(truth.saturation_per_s * float(rng.uniform(0.1, 0.3)), repeats=2, max_probes=12)
        while (probe := search.next_probe()) is not None:
            search.record_result(probe, held(probe.rate_per_s))
        outcome = search.get_outcome()
        return stages, outcome.max_rate_per_s or outcome.bracket[0] or 0.0
    shares = (0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 1.0)
    passed = [share for share in shares if held(share * truth.saturation_per_s)]
    return stages, max(passed, default=0.0) * truth.saturation_per_s


def stage_of(
    index: int, rate_per_s: float, requests: Requests, times: Times, objectives: tuple[Objective, ...]
) -> Stage:
    arrivals = np.array(requests.arrivals_s)
    to_ns = 1_000_000_000
    start_ns, duration_s = (index + 1) * 10_000_000 * to_ns, len(arrivals) / rate_per_s
    is_inside = arrivals < duration_s

    def at_ns(seconds: Floats) -> Ints:
        return start_ns + np.rint(seconds * to_ns).astype(np.int64)

    sent_ns, end_ns = at_ns(arrivals), at_ns(arrivals + times.latency_s)
    frame = pd.DataFrame({
        "stage": index, "index": np.arange(len(arrivals)), "scheduled_ns": sent_ns, "sent_ns": sent_ns,
        "first_byte_ns": at_ns(arrivals + times.first_token_s), "end_ns": end_ns, "status": 200, "error": None,
        "bytes_received": 100, "reused": True, "target": 0,
        "first_token_ns": at_ns(arrivals + times.first_token_s),
        "first_output_ns": at_ns(arrivals + times.first_token_s), "last_token_ns": end_ns,
        "tokens_in": requests.inputs, "tokens_out": requests.outputs, "token_source": "server",
    })  # fmt: skip
    stage_data = StageData(
        index=index, name=f"{rate_per_s:g}/s", kind="probe", repeat=1, tags={}, arrival_kind="poisson",
        rate_per_s=rate_per_s, duration_s=duration_s, start_ns=start_ns, end_ns=int(end_ns.max()) + 1,
        worker_cpu_s=0.1, connections_opened=10, stopped_early=False, generator_capacity_per_s=1e6, is_saturated=False,
    )  # fmt: skip
    return summarize_stage(frame[is_inside], None, stage_data, objectives)


# --- the plan and what was needed -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Outcome:
    """`stated` is the plan's P(SLO met) for its fleet; `no_plan` says why there is none."""

    seed: int
    number: int
    limit: str
    router: str
    slo: str
    needed: int = 0
    bought: int = 0
    p10: float = math.nan
    p90: float = math.nan
    stated: float = math.nan
    rate_ratio: float = math.nan
    """Capacity per replica as planned over the true one."""
    no_plan: str | None = None
    fitted: str = ""
    is_above_a_miss: bool = False
    is_below_a_pass: bool = False

    @property
    def is_met(self) -> bool:
        return self.bought >= self.needed

    @property
    def is_covered(self) -> bool:
        return self.p10 <= self.needed <= self.p90


def true_rate_per_s(truth: Truth, requests: int = TRUTH_REQUESTS) -> float:
    """Highest rate per replica at which a fleet of `truth.replicas` meets the SLO for long; 0 where none does.

    Behind a random router or round robin each replica has its own share of the Poisson arrivals, all of them or every
    n-th, so that one replica is enough to simulate.
    """
    coarse = _rate_between(truth, COARSE_REQUESTS, 0.02 * truth.saturation_per_s, 0.8 * truth.saturation_per_s, 0.03)
    if coarse == 0:
        return 0.0
    if truth.router == "least-outstanding":
        requests = max(requests, TRUTH_REQUESTS_EACH * truth.replicas)
    return _rate_between(truth, requests, 0.9 * coarse, coarse, TRUTH_PRECISION)


def _rate_between(truth: Truth, requests: int, low: float, high: float, precision: float) -> float:
    """Where the worst time over its limit is 1; `low` and `high` are moved until they enclose the rate."""
    replicas = truth.replicas if truth.router == "least-outstanding" else 1
    rng = np.random.default_rng(7)
    every = truth.replicas if truth.router == "round-robin" else 1
    gaps = rng.standard_gamma(every, requests) / every
    inputs, outputs = truth.lengths.draw(rng, requests)
    warm = requests // 10
    objectives = [parse_objective(text) for text in truth.slo]

    @lru_cache
    def missed_by(log_rate: float) -> float:
        arrived = Requests(np.cumsum(gaps / (math.exp(log_rate) * replicas)).tolist(), inputs, outputs)
        simulated = simulate(truth.server, arrived, np.random.default_rng(8), replicas, truth.router)
        times = times_by_metric(Times(simulated.first_token_s[warm:], simulated.latency_s[warm:]), outputs[warm:])
        shares = {"p95": 0.95, "p99": 0.99}
        ratios = [quantile(times[one.metric], shares[one.aggregate or ""]) / one.limit for one in objectives]
        return math.log(1e3 * max(ratios))

    least = math.log(0.02 * truth.saturation_per_s)
    lower, upper = math.log(low), math.log(high)
    while missed_by(lower) > 0:
        if lower <= least:
            return 0.0
        lower, upper = max(least, lower - 0.1), lower
    while missed_by(upper) <= 0:
        lower, upper = upper, upper + 0.1
    return math.exp(float(optimize.brentq(missed_by, lower, upper, xtol=precision)))


def check(seed: int, number: int) -> Outcome:
    truth = draw_truth(seed, number)
    objectives = tuple(parse_objective(text) for text in truth.slo)
    outcome = Outcome(seed, number, truth.limit, truth.router, " and ".join(truth.slo))
    stages, highest_per_s = measure(truth, objectives, np.random.default_rng([seed, number, 1]))
    if highest_per_s <= 0:
        return dataclasses.replace(outcome, no_plan="no rate met the SLO")
    max_rate = MaxRate(Estimate(highest_per_s), truth.slo, "the SLO")
    target = build_measured_target(
        "truth", Hardware("acme/c16", offer="acme/c16", vcpus=16), build_capacity_curve(stages, objectives, max_rate),
        build_load_points(stages),
    )  # fmt: skip
    per_s = true_rate_per_s(truth)
    if per_s <= 0:
        return dataclasses.replace(outcome, no_plan="no rate meets the SLO in production")
    peak_per_s = (truth.replicas - truth.headroom) * per_s
    question = PlanningInputs(
        (target,), Traffic(peak_per_s, "flat", (1.0,) * 24), objectives,
        PlanLimits(confidence=STATED_CONFIDENCE, redundancy=0, router=truth.router), catalog_of(offer()), TODAY,
    )  # fmt: skip
    fleet = plan_fleets(question).offers[0]
    capacity, chances = fleet.capacity_per_instance_per_s.value, fleet.slo_probabilities
    fitted = "" if target.fit is None else repr(target.fit.services[0].service)
    if fleet.instances is None or fleet.instances_needed is None or chances is None or capacity is None:
        return dataclasses.replace(outcome, no_plan=fleet.rejected or "no fleet", needed=truth.replicas, fitted=fitted)
    evidence = collect_evidence(target, objectives)
    misses = evidence.interval[1] if truth.router == "random" else max(p.achieved_per_s for p in target.load_points)
    return dataclasses.replace(
        outcome, needed=truth.replicas, bought=fleet.instances, p10=fleet.instances_needed.p10,
        p90=fleet.instances_needed.p90, stated=chances.planned, rate_ratio=capacity / per_s, fitted=fitted,
        is_above_a_miss=capacity > misses * (1 + 1e-9),
        is_below_a_pass=peak_per_s / max(1, fleet.instances - 1) < 0.8 * evidence.always_met_rate_per_s,
    )  # fmt: skip


# --- state, tables ----------------------------------------------------------------------------------------------------


def read_outcomes(state: Path) -> dict[tuple[int, int], Outcome]:
    """Outcomes of an earlier run; a line that was cut off is left out."""
    outcomes = {}
    for line in state.read_text().splitlines() if state.exists() else []:
        try:
            outcome = Outcome(**json.loads(line))
        except (ValueError, TypeError):
            continue
        outcomes[outcome.seed, outcome.number] = outcome
    return outcomes


def check_all(truths: Sequence[tuple[int, int]], processes: int) -> Iterator[Outcome]:
    if processes == 1:
        yield from (check(seed, number) for seed, number in truths)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(check, *zip(*truths, strict=True))


def interval(hits: int, of: int) -> str:
    bounds = stats.binomtest(hits, of).proportion_ci(0.95)
    return f"{100 * hits / of:.0f} % ({100 * bounds.low:.0f}–{100 * bounds.high:.0f})"


class Bound(NamedTuple):
    name: str
    shown: str
    required: str
    is_met: bool


def list_bounds(outcomes: Sequence[Outcome]) -> list[Bound]:
    """Bounds over the truths that have a plan. A share or a score fails if its 95 % interval lies outside the bound."""
    planned = [outcome for outcome in outcomes if outcome.no_plan is None]
    if not planned:
        return [Bound("plans", "none", "some", is_met=False)]
    met = np.array([outcome.is_met for outcome in planned], dtype=float)
    stated = np.array([outcome.stated for outcome in planned])
    covered = sum(outcome.is_covered for outcome in planned)
    share, shares = stats.binomtest(covered, len(planned)).proportion_ci(0.95), float(stated.mean())
    met_interval = stats.binomtest(int(met.sum()), len(planned)).proportion_ci(0.95)
    indices = np.random.default_rng(1).integers(0, len(planned), (2000, len(planned)))
    excess = ((stated - met) ** 2)[indices].mean(axis=1) - met[indices].mean(axis=1) * (1 - met[indices].mean(axis=1))
    above = [outcome for outcome in planned if outcome.is_above_a_miss]
    below = [outcome for outcome in planned if outcome.is_below_a_pass]
    scores = f"{np.mean((stated - met) ** 2):.3f}, base rate's {met.mean() * (1 - met.mean()):.3f}"
    return [
        Bound(
            "P10–P90 of replicas covers the need", interval(covered, len(planned)), "70 to 90 %",
            bool(share.high >= 0.7 and share.low <= 0.9),
        ),
        Bound(
            "SLO met", interval(int(met.sum()), len(planned)), f"within 5 points of the {100 * shares:.1f} % stated",
            bool(met_interval.high >= shares - 0.05 and met_interval.low <= shares + 0.05),
        ),
        Bound("Brier score", scores, "at most the base rate's", bool(np.quantile(excess, 0.025) <= 0)),
        Bound("above a measured miss", _list_outcomes(above), "none", not above),
        Bound("below 0.8 × a rate that passed in all repeats", _list_outcomes(below), "none", not below),
    ]  # fmt: skip


def _list_outcomes(outcomes: Sequence[Outcome]) -> str:
    return ", ".join([f"{len(outcomes)}", *(f"{outcome.seed}.{outcome.number}" for outcome in outcomes)])


HEAD = (
    "| truths | plans | P10–P90 covers the need | SLO met | stated | Brier score | of the base rate | bought / needed |"
)


def row(name: str, outcomes: Iterable[Outcome]) -> str:
    group = list(outcomes)
    planned = [outcome for outcome in group if outcome.no_plan is None]
    if not planned:
        return f"| {name} | 0 of {len(group)} |"
    met = np.array([outcome.is_met for outcome in planned], dtype=float)
    stated = np.array([outcome.stated for outcome in planned])
    ratios = np.array([outcome.bought / outcome.needed for outcome in planned])
    cells = (
        name, f"{len(planned)} of {len(group)}", interval(sum(outcome.is_covered for outcome in planned), len(planned)),
        interval(int(met.sum()), len(planned)), f"{100 * stated.mean():.1f} %", f"{np.mean((stated - met) ** 2):.3f}",
        f"{met.mean() * (1 - met.mean()):.3f}",
        f"{np.median(ratios):.2f} ({np.min(ratios):.2f}–{np.max(ratios):.2f})",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def print_tables(outcomes: Sequence[Outcome]) -> None:
    print("| bound | found | wanted | kept |\n|---|---|---|---|")
    for bound in list_bounds(outcomes):
        print(f"| {bound.name} | {bound.shown} | {bound.required} | {'yes' if bound.is_met else 'NO'} |")
    print()
    print(HEAD)
    print("|" + "---|" * 8)
    print(row("all", outcomes))
    for limit in ("none", "sequences", "kv blocks"):
        print(row(f"limit: {limit}", [outcome for outcome in outcomes if outcome.limit == limit]))
    for router in ("random", "round-robin", "least-outstanding"):
        print(row(router.replace("_", " "), [outcome for outcome in outcomes if outcome.router == router]))
    for metric in ("ttft", "tpot", "latency"):
        print(row(f"SLO of {metric}", [outcome for outcome in outcomes if metric in outcome.slo]))
    for why in sorted({outcome.no_plan for outcome in outcomes if outcome.no_plan}):
        print(f"no plan: {why} ({sum(outcome.no_plan == why for outcome in outcomes)})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="1-20", help="first and last, such as 1-20 (development) or 101-120")
    parser.add_argument("--state", type=Path, default=Path("llm_truths.jsonl"), help="file of outcomes, continued")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    first, _, last = arguments.seeds.partition("-")
    truths = [(seed, at) for seed in range(int(first), int(last or first) + 1) for at in range(TRUTHS_PER_SEED)]
    outcome_by_key = read_outcomes(arguments.state)
    missing = [truth for truth in truths if truth not in outcome_by_key]
    with arguments.state.open("a") as file:
        for outcome in check_all(missing, arguments.processes) if missing else ():
            outcome_by_key[outcome.seed, outcome.number] = outcome
            file.write(json.dumps(dataclasses.asdict(outcome)) + "\n")
            file.flush()
    outcomes = [outcome_by_key[truth] for truth in truths]
    print_tables(outcomes)
    raise SystemExit(0 if all(bound.is_met for bound in list_bounds(outcomes)) else 1)


if __name__ == "__main__":
    main()
