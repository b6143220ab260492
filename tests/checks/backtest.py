"""The planner held against real servers: python -m tests.checks.backtest prints the tables of the docs.

A server is measured by the product at rising rates. Its service model is fitted to every other rate, and what that says
of the rates between is held against what was measured there; fitted to all rates, it predicts two and three such
replicas behind a balancer, which are measured too. Takes about 35 minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from app.analysis.curve import rungs_of
from app.planning.moments import Observed
from app.planning.service_fit import fit_service, observe
from app.planning.simulation.design import FleetDesign
from app.planning.simulation.steady import simulate_steady
from app.records.curves import Rung
from app.records.offers import Router
from app.records.service import ServiceFit, ServiceModel
from app.serving.process import EndpointProcess
from app.serving.settings import ServingSettings
from app.storage.run_directory import StoredRun
from loadgen.reference.script import HttpFace, Law, Script
from tests.fakes.onnx_models import convolutions

SHARES = (0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.87, 0.92, 0.95)
"""Of the most that a replica answers; every other one is fitted."""
CONTENDING_SHARES = (0.2, 0.35, 0.5, 0.6, 0.7, 0.8, 0.9)
FLEET_SHARES = (0.5, 0.7, 0.85)
LOW_SHARE = 0.2
SWEEPS = 2
PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0}
PREDICTED_REQUESTS, SEEDS = 20_000, (1, 2, 3, 4, 5)
CHANCES = 40
"""Plays as long as the measurement, to see how far one differs from another."""
PROFILE = """sizewise: 1
name: back-test
target: {{protocol: http, url: "{url}"}}
workload: {{method: POST, body: {body}}}
load: {{seed: {seed}, sweep: {sweep}}}
slo: ["latency_ms.p99 < 60000"]
"""


class Server(NamedTuple):
    """`start` makes the replica of that number and gives its port; `most_per_s` None is found by measuring."""

    name: str
    start: Callable[[contextlib.ExitStack, Path, int], int]
    most_per_s: float | None
    routers: tuple[Router, ...]
    fleets: tuple[int, ...] = (2, 3)
    shares: tuple[float, ...] = SHARES
    path: str = "/"
    body: Any = msgspec.UNSET


def scripted(law: Law) -> Callable[[contextlib.ExitStack, Path, int], int]:
    def start(stack: contextlib.ExitStack, folder: Path, number: int) -> int:
        script = Script(faces=(HttpFace(msgspec.structs.replace(law, seed=number)),))
        text = msgspec.json.encode(script).decode()
        return stack.enter_context(child("loadgen.reference.scripted", "--script", text))

    return start


def timed(*law: str) -> Callable[[contextlib.ExitStack, Path, int], int]:
    def start(stack: contextlib.ExitStack, folder: Path, number: int) -> int:
        seed = [str(number)] if law[0] == "two-speeds" else []
        return stack.enter_context(child("tests.fakes.timed_server", *law, *seed))

    return start


def model_served(stack: contextlib.ExitStack, folder: Path, number: int) -> int:
    path = convolutions(folder / "convolutions.onnx", 8)
    endpoint = stack.enter_context(EndpointProcess(ServingSettings(model=str(path), name="convolutions")))
    return int(endpoint.ready.url.rpartition(":")[2])


TENSOR = {"name": "x", "shape": [1, 1, 16, 16], "datatype": "FP32", "data": [0.5] * 256}
SERVERS = (
    Server(
        "4 slots, lognormal times",
        scripted(Law(delay_s=0.020, sigma=0.5, servers=4)),
        4 / (0.020 * np.exp(0.5**2 / 2)),
        ("least_outstanding",),
    ),
    Server(
        "1 slot, lognormal times",
        scripted(Law(delay_s=0.006, sigma=0.6, servers=1)),
        1 / (0.006 * np.exp(0.6**2 / 2)),
        ("round_robin", "least_outstanding"),
    ),
    Server(
        "batches of up to 8, window 5 ms",
        timed("batches", "0.015", "0.0015", "8", "0.005"),
        8 / (0.015 + 8 * 0.0015),
        ("round_robin",),
    ),
    Server(
        "4 slots, two speeds",
        timed("two-speeds", "4", "0.010", "0.080", "0.1"),
        4 / (0.9 * 0.010 + 0.1 * 0.080),
        ("round_robin",),
    ),
    Server(
        "a model on the processor, contending",
        model_served,
        None,
        ("round_robin",),
        (2,),
        CONTENDING_SHARES,
        "/v2/models/convolutions/infer",
        {"inputs": [TENSOR]},
    ),
)  # fmt: skip


@contextlib.contextmanager
def child(module: str, *args: str) -> Iterator[int]:
    """The port that it prints; it leaves when its standard input closes."""
    process = subprocess.Popen([sys.executable, "-m", module, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    with process:
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


def measured(server: Server, port: int, sweep: dict[str, Any], run: Path, seed: int) -> tuple[Rung, ...]:
    """By the command, as a user would; a run that is there is read again."""
    if not (run / "result.json").exists():
        body = {} if server.body is msgspec.UNSET else server.body
        url = f"http://127.0.0.1:{port}{server.path}"
        profile = run.with_suffix(".yaml")
        profile.write_text(PROFILE.format(url=url, body=json.dumps(body), seed=seed, sweep=json.dumps(sweep)))
        command = [sys.executable, "-m", "app", "run", str(profile), "--out", str(run)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if not (run / "result.json").exists():
            raise SystemExit(f"{server.name}: the run failed ({done.returncode}): {done.stderr[-2000:]}")
    result = StoredRun(run).measured
    for stage in result.stages:
        if stage.verdict.status == "INVALID":
            print(f"left out, INVALID: {server.name}, {stage.name}: {stage.verdict}", file=sys.stderr)
    return rungs_of(result.stages)


def rates(most_per_s: float, shares: Sequence[float], hold_s: float) -> dict[str, Any]:
    return {"rates": [f"{share * most_per_s:.4g}/s" for share in shares], "hold": f"{hold_s:g}s"}


class Held(NamedTuple):
    """One load: what was measured and predicted, in seconds; `deviations` of the measured from plays of its length."""

    per_s: float
    measured_s: dict[str, float]
    predicted_s: dict[str, float]
    sigma: dict[str, float]
    deviations: dict[str, float]

    def error(self, name: str) -> float:
        return self.predicted_s[name] / self.measured_s[name] - 1


def held(service: ServiceModel, replicas: int, router: Router, observed: Observed) -> Held:
    design, per_s = FleetDesign((service,) * replicas, router), observed.offered_per_s
    known = {name: float(np.exp(log)) for name, log in zip(observed.names, observed.logs, strict=True)}
    names = [name for name in PERCENTILES if name in known]
    asked = [PERCENTILES[name] for name in names]
    steady = simulate_steady(design, per_s, PREDICTED_REQUESTS * replicas, SEEDS, asked).overall.latency.percentiles_s
    plays = simulate_steady(design, per_s, observed.requests, range(100, 100 + CHANCES), asked).overall.latency
    logs = np.log(np.array(plays.per_seed_s, dtype=float))
    sigmas = logs.std(axis=0, ddof=1) / np.sqrt(observed.points)
    deviations = (np.log([known[name] for name in names]) - logs.mean(axis=0)) / sigmas
    return Held(
        per_s,
        {name: known[name] for name in names},
        {name: float(value or np.nan) for name, value in zip(names, steady, strict=True)},
        dict(zip(names, sigmas.tolist(), strict=True)),
        dict(zip(names, deviations.tolist(), strict=True)),
    )


def print_held(name: str, all_held: Sequence[Held], most_per_s: float) -> None:
    for one in all_held:
        cells = [
            f"{1000 * one.measured_s[key]:.1f} | {1000 * one.predicted_s[key]:.1f} ({100 * one.error(key):+.0f} %)"
            if key in one.measured_s
            else "n/a | n/a"
            for key in PERCENTILES
        ]
        chance = f"±{196 * one.sigma['p99']:.0f} %" if "p99" in one.sigma else "n/a"
        print(f"| {name} | {one.per_s:.4g}/s ({one.per_s / most_per_s:.0%}) | {' | '.join(cells)} | {chance} |")


def print_summary(name: str, all_held: Sequence[Held]) -> None:
    cells = []
    for key in PERCENTILES:
        sizes = [abs(one.error(key)) for one in all_held if key in one.measured_s]
        cells.append(f"{100 * np.median(sizes):.1f} % / {100 * max(sizes):.0f} %" if sizes else "n/a")
    deviations = [deviation for one in all_held for deviation in one.deviations.values()]
    inside = f"{sum(abs(one) <= 1.96 for one in deviations)} of {len(deviations)}"
    print(f"| {name} | {' | '.join(cells)} | {inside} |")


def checked(server: Server, folder: Path, hold_s: float) -> None:
    with contextlib.ExitStack() as stack:
        ports = [server.start(stack, folder, number) for number in range(max(1, *server.fleets))]
        most_per_s = server.most_per_s or most_of(server, ports[0], folder)
        sweep = rates(most_per_s, server.shares, hold_s)
        rungs = [
            rung
            for number in range(SWEEPS)
            for rung in measured(server, ports[0], sweep, folder / f"sweep-{number}", 1 + number)
        ]
        observed = observe(rungs)
        halves = observed[::2], observed[1::2]
        fitted_per_s = {one.offered_per_s for one in halves[0]}
        half = fit_service([rung for rung in rungs if rung.offered_per_s in fitted_per_s])
        print(f"\n## {server.name}: {most_per_s:.4g}/s at most\n")
        tell("half of the rates", half)
        print_held(
            server.name, rungs_held := [held(service_of(half), 1, "random", one) for one in halves[1]], most_per_s
        )
        print_summary(server.name, rungs_held)
        whole = fit_service(rungs)
        tell("all rates", whole)
        tell_balancer(server, ports[0], folder, most_per_s, hold_s)
        for router in server.routers:
            for replicas in server.fleets:
                balancer = stack.enter_context(child("tests.fakes.balancer", router, *map(str, ports[:replicas])))
                fleet = rates(replicas * most_per_s, FLEET_SHARES, hold_s)
                seen = observe(measured(server, balancer, fleet, folder / f"{router}-{replicas}", 11))
                name = f"{replicas} × {server.name}, {router.replace('_', ' ')}"
                print_held(name, fleet_held := [held(service_of(whole), replicas, router, one) for one in seen],
                           replicas * most_per_s)  # fmt: skip
                print_summary(name, fleet_held)


def service_of(fit: ServiceFit) -> ServiceModel:
    return fit.laws[0].service


def tell(of: str, fit: ServiceFit) -> None:
    print(f"fitted to {of}: {fit.laws[0]}; its median error {fit.median_error:.1%}, spread {fit.spread:.2f}\n")


def most_of(server: Server, port: int, folder: Path) -> float:
    """What is answered to sixteen clients that ask again at once."""
    run = folder / "most"
    measured(server, port, {"concurrency": [16], "hold": "8s"}, run, 1)
    (stage,) = [stage for stage in StoredRun(run).measured.stages if stage.kind != "warmup"]
    assert stage.achieved_per_s.value is not None
    return stage.achieved_per_s.value


def tell_balancer(server: Server, port: int, folder: Path, most_per_s: float, hold_s: float) -> None:
    """What it adds to the median of one replica at the least rate."""
    with child("tests.fakes.balancer", "round_robin", str(port)) as balancer:
        (through,) = measured(server, balancer, rates(most_per_s, [LOW_SHARE], hold_s), folder / "balancer", 1)
    direct = measured(server, port, {}, folder / "sweep-0", 1)[0]
    times = [1000 * one.latencies_s["latency"]["p50"] for one in (direct, through)]
    print(f"p50 at {direct.offered_per_s:.4g}/s: {times[0]:.2f} ms, through the balancer {times[1]:.2f} ms\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", type=int, choices=range(len(SERVERS)), action="append", help="by its number")
    parser.add_argument("--hold", type=float, default=15.0, metavar="SECONDS", help="of each rate")
    parser.add_argument("--runs", type=Path, help="where the runs are kept; those that are there are read again")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        for number in given.server or range(len(SERVERS)):
            folder = (given.runs or Path(temporary)) / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            checked(SERVERS[number], folder, given.hold)


if __name__ == "__main__":
    main()
