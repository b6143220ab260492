"""Whether plans for recorded traffic buy what the traffic itself needs, evaluated by an independent event simulator.

    python -m tests.studies.trace_truths --trace azure_code.csv --trace azure_conv.csv --state truths.jsonl

A server of known service times is measured alone at seven rates, its curve is written to a file, and `sizewise plan`
sizes a fleet for the trace from that file, as a user would. The need is the fewest replicas through which the trace's
own requests meet the SLO in `tests.studies.event_simulator`. Generated traffic with bursts of 1, 5 and 60 s is planned
likewise, as a trace and as a stated `dispersion`. `--state` makes a stopped check continue where it was.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import math
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

from tests.studies.event_simulator import Slots, simulate

Service = Literal["constant", "per request"]
SERVICES: tuple[Service, ...] = ("constant", "per request")
SLOTS = 2
ROUTER: Literal["least-outstanding"] = "least-outstanding"
_LOADS = (0.2, 0.4, 0.55, 0.7, 0.8, 0.88, 0.95)
_CURVE_REQUESTS = 50_000
"""At each rate, for long-run values: 10,000 at 95 % load put the p99 of one curve 42 % too high."""
_MEAN_REPLICAS = 10.0
"""Replicas that the traffic's mean rate keeps busy."""
_TOLERANCE_REPLICAS, _TOLERANCE_SHARE = 1, 0.05
_MARKS = {True: "", False: " outside "}
_USAGE = "Give at least one trace with --trace PATH, such as azure_code.csv of AzurePublicDataset; none is shipped."


class Request(NamedTuple):
    at_s: float
    input_tokens: int
    output_tokens: int


class Slo(NamedTuple):
    """`factor` is the limit over the same percentile of an idle server."""

    percentile: str
    quantile: float
    factor: float


SLOS = (Slo("p95", 0.95, 1.3), Slo("p99", 0.99, 2.5))


class Case(NamedTuple):
    traffic: str
    service: Service
    slo: Slo
    dispersion: tuple[float, float] | None = None
    """Index and window in seconds, stated in place of the trace."""

    @property
    def key(self) -> str:
        stated = "" if self.dispersion is None else f" stated {self.dispersion[0]:g} per {self.dispersion[1]:g} s"
        return f"{self.traffic}{stated}, {self.service}, {self.slo.percentile} < {self.slo.factor:g}"


class Outcome(NamedTuple):
    key: str
    needed: int
    median: int
    """What the plan says is needed with 50 % confidence."""
    bought: int
    """With 90 % confidence, its default."""
    p_met: float
    """The stated probability that the 90 % plan meets the SLO."""

    @property
    def is_right(self) -> bool:
        return abs(self.median - self.needed) <= max(_TOLERANCE_REPLICAS, _TOLERANCE_SHARE * self.needed)


def read_requests(path: Path) -> list[Request]:
    """Azure's CSV (TIMESTAMP, ContextTokens, GeneratedTokens) or Mooncake's JSON lines (ms, lengths)."""
    if path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return _from_zero((row["timestamp"] / 1e3, row["input_length"], row["output_length"]) for row in rows)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return _from_zero(
        (_seconds(row["TIMESTAMP"]), int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in rows
    )


def _seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(f"{text[:26]}+00:00").timestamp()


def _from_zero(rows: Iterable[tuple[float, int, int]]) -> list[Request]:
    ordered = sorted(rows)
    return [Request(at_s - ordered[0][0], inputs, outputs) for at_s, inputs, outputs in ordered]


def bursty_requests(burst_s: float, times: float, every_s: float, length_s: float, seed: int = 1) -> list[Request]:
    """20 requests/s, and `times` as many in bursts of `burst_s`, which start at random, every `every_s` on average."""
    rng, at_s, burst_ends_s, next_burst_s = (
        random.Random(seed),
        0.0,
        0.0,
        random.Random(seed + 1).expovariate(1 / every_s),
    )
    requests = []
    while at_s < length_s:
        at_s += rng.expovariate(20.0 * times)
        if at_s >= next_burst_s:
            burst_ends_s = next_burst_s + burst_s
            next_burst_s = burst_ends_s + rng.expovariate(1 / every_s)
        if at_s < burst_ends_s or rng.random() < 1 / times:
            requests.append(Request(at_s, round(rng.lognormvariate(6, 1)), round(rng.lognormvariate(5, 0.8))))
    return _from_zero(requests)


def gamma_requests(index: float, window_s: float, length_s: float, seed: int = 1) -> list[Request]:
    """20 requests/s times a gamma factor of mean 1, drawn in each window, that gives counts this dispersion index."""
    rng, shape, requests = random.Random(seed), 20.0 * window_s / (index - 1), []
    for window in range(round(length_s / window_s)):
        rate, at_s = 20.0 * rng.gammavariate(shape, 1 / shape), 0.0
        while rate > 0 and (at_s := at_s + rng.expovariate(rate)) < window_s:
            requests.append(Request(window * window_s + at_s, 400, 150))
    return _from_zero(requests)


def services_s(requests: Sequence[Request], service: Service, mean_s: float) -> list[float]:
    """Of each request: all alike, or by its tokens, where reading one costs a twentieth of writing one."""
    if service == "constant":
        return [mean_s] * len(requests)
    costs = [40 + one.input_tokens / 20 + one.output_tokens for one in requests]
    return [cost * mean_s * len(costs) / sum(costs) for cost in costs]


def percentile(values: Sequence[float], quantile: float) -> float:
    return sorted(values)[math.ceil(quantile * len(values)) - 1]


def write_curve(path: Path, pool_s: Sequence[float], requests: int, rng: random.Random) -> None:
    """One replica under Poisson arrivals, each request's time drawn from `pool_s`."""
    most_per_s = SLOTS / (sum(pool_s) / len(pool_s))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("offered_per_s", "latency_ms.mean", "latency_ms.p50", "latency_ms.p95", "latency_ms.p99"))
        for load in _LOADS:
            at_s, arrivals_s = 0.0, []
            for _ in range(requests):
                at_s += rng.expovariate(load * most_per_s)
                arrivals_s.append(at_s)
            drawn_s = rng.choices(pool_s, k=requests)
            latencies_s = simulate(arrivals_s, drawn_s, lambda: Slots(SLOTS))[requests // 10 :]
            values_s = [sum(latencies_s) / len(latencies_s), *(percentile(latencies_s, q) for q in (0.5, 0.95, 0.99))]
            writer.writerow((f"{load * most_per_s:.6g}", *(f"{1000 * value:.6g}" for value in values_s)))


def needed_replicas(traffic: Sequence[tuple[Sequence[float], Sequence[float]]], limit_s: float, quantile: float) -> int:
    """Return the fewest replicas with which the traffic, one or more simulated series of requests, meets the SLO."""

    def meets(replicas: int) -> bool:
        latencies_s = [
            value
            for arrivals_s, times_s in traffic
            for value in simulate(arrivals_s, times_s, lambda: Slots(SLOTS), replicas, ROUTER)
        ]
        return percentile(latencies_s, quantile) <= limit_s

    low, high = 0, round(_MEAN_REPLICAS)
    while not meets(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if meets(middle) else (middle, high)
    return high


def planned_replicas(folder: Path, traffic: Sequence[str], slo: str, confidence: float) -> tuple[int, float]:
    """Instances without spares, of one replica each, and the stated P(SLO met), by the user's command."""
    offers = folder / "offers.csv"
    offers.write_text(
        "provider,instance_type,region,accelerator_key,accelerator_count,vcpus,memory_gib,on_demand_usd_per_hour,as_of_date,"
        f"source\nown,one,here,l4,1,8,32,1.0,{datetime.datetime.now(datetime.UTC).date()},own\n"
    )
    command = [
        sys.executable, "-P", "-m", "app", "plan", str(folder / "curve.csv"), *traffic, "--json",
        "--offers", str(offers),
        "--slo", slo, "--confidence", f"{confidence}", "--set", "target.hardware.offer=own/one",
        "--set", "plan.providers=[own]", "--set", f"plan.router={ROUTER.replace('_', '-')}",
    ]  # fmt: skip
    environment = os.environ | {"SIZEWISE_HOME": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode not in (0, 10):
        raise RuntimeError(done.stderr)
    fleet = next(offer for offer in json.loads(done.stdout)["offers"] if offer["provider"] == "own")
    if fleet["instances"] is None:
        raise RuntimeError(fleet["rejected"])
    return fleet["instances"] - (fleet["spare_instances"] or 0), (fleet["slo_probabilities"] or {}).get(
        "planned", math.nan
    )


def evaluate(
    case: Case, requests: Sequence[Request], others: Sequence[Sequence[Request]], curve_requests: int
) -> Outcome:
    """`others` are further draws of generated traffic, which the need is computed from, too."""
    span_s = requests[-1].at_s
    mean_s = SLOTS * _MEAN_REPLICAS * span_s / len(requests)
    times_s = services_s(requests, case.service, mean_s)
    limit_s = case.slo.factor * percentile(times_s, case.slo.quantile)
    plays = [([request.at_s for request in requests], times_s)]
    plays += [([request.at_s for request in other], services_s(other, case.service, mean_s)) for other in others]
    needed = needed_replicas(plays, limit_s, case.slo.quantile)
    slo = f"latency_ms.{case.slo.percentile} < {1000 * limit_s:.6g}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_curve(folder / "curve.csv", times_s, curve_requests, random.Random(7))
        if case.dispersion is None:
            (folder / "trace.csv").write_text(
                "timestamp,input_tokens,output_tokens\n"
                + "".join(
                    f"{request.at_s:.6f},{request.input_tokens},{request.output_tokens}\n" for request in requests
                )
            )
            traffic = ["--traffic", str(folder / "trace.csv")]
        else:
            index, window_s = case.dispersion
            stated = f"{{index: {index:g}, window: {window_s:g}s}}"
            traffic = ["--set", "traffic.peak=20/s", "--set", "traffic.shape=flat"]
            traffic += ["--set", f"traffic.dispersion={stated}"]
        median, _ = planned_replicas(folder, traffic, slo, 0.5)
        bought, p_met = planned_replicas(folder, traffic, slo, 0.9)
    return Outcome(case.key, needed, median, bought, p_met)


Traces = tuple[Sequence[Request], Sequence[Sequence[Request]]]
DrawTraces = Callable[[], Traces]


def _read_trace(path: Path) -> Traces:
    return read_requests(path), ()


def _draw_bursts(burst_s: float, times: float, every_s: float, length_s: float) -> Traces:
    return bursty_requests(burst_s, times, every_s, length_s), ()


def _draw_gamma(index: float, window_s: float, length_s: float) -> Traces:
    return gamma_requests(index, window_s, length_s), [gamma_requests(index, window_s, length_s, 2)]


def cases(traces: Sequence[Path], length_s: float) -> Iterator[tuple[Case, DrawTraces]]:
    for path in traces:
        for service in SERVICES:
            for slo in SLOS:
                yield Case(path.stem, service, slo), partial(_read_trace, path)
    for burst_s, times, every_s in ((1.0, 4.0, 20.0), (5.0, 2.2, 60.0), (60.0, 2.0, 600.0)):
        for service in SERVICES:
            case = Case(f"bursts of {burst_s:g} s × {times:g}", service, SLOS[1])
            yield case, partial(_draw_bursts, burst_s, times, every_s, length_s)
    for index, window_s in ((8.0, 1.0), (12.0, 5.0), (60.0, 60.0)):
        case = Case("gamma", "constant", SLOS[1], (index, window_s))
        yield case, partial(_draw_gamma, index, window_s, length_s)


def format_table(outcomes: Sequence[Outcome]) -> str:
    lines = [
        "| traffic, service, SLO | needed | planned at 50 % | planned at 90 % | P(SLO met) | |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.key} | {row.needed} | {row.median} | {row.bought} | {row.p_met:.2f} |{_MARKS[row.is_right]}|"
        for row in outcomes
    ]
    right = sum(row.is_right for row in outcomes)
    return "\n".join([*lines, f"\n{right} of {len(outcomes)} are within 1 replica or 5 % of the need."])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.studies.trace_truths", description=__doc__)
    parser.add_argument("--trace", type=Path, action="append", default=[], metavar="PATH")
    parser.add_argument("--state", type=Path, metavar="PATH", help="a file of results so far, one JSON object a line")
    parser.add_argument("--only", default="", metavar="TEXT", help="only cases whose name contains this")
    parser.add_argument("--minutes", type=float, default=60.0, help="length of generated traffic")
    options = parser.parse_args(arguments)
    if not options.trace or not all(path.is_file() for path in options.trace):
        print(_USAGE, file=sys.stderr)
        return 3
    outcomes = []
    if options.state is not None and options.state.exists():
        outcomes = [Outcome(**json.loads(line)) for line in options.state.read_text().splitlines()]
    finished_keys = {result.key for result in outcomes}
    for case, draw_traces in cases(options.trace, 60 * options.minutes):
        if case.key in finished_keys or options.only not in case.key:
            continue
        outcomes.append(evaluate(case, *draw_traces(), curve_requests=_CURVE_REQUESTS))
        print(outcomes[-1], file=sys.stderr, flush=True)
        if options.state is not None:
            with options.state.open("a") as file:
                file.write(json.dumps(outcomes[-1]._asdict()) + "\n")
    print(format_table(outcomes))
    return 0 if all(result.is_right for result in outcomes) else 10


if __name__ == "__main__":
    raise SystemExit(main())
