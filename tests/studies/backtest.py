"""The planner held against real servers: python -m tests.studies.backtest prints the tables of the docs.

A server is measured by the product at rising rates. Its service model is fitted to every other rate, and what that says
of the rates between is held against what was measured there; fitted to all rates, it predicts two and three such
replicas behind a balancer, which are measured too. Takes about 40 minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from app.analysis.curve import build_load_points
from app.analysis.objectives import parse_objective
from app.planning.service_models.moments import ObservedLoad
from app.planning.service_models.service_fit import fit_service, group_load_points
from app.planning.simulation.design import FleetDesign
from app.planning.simulation.steady import simulate_steady
from app.planning.sizing.fleet_rate import FleetShape, find_highest_rate
from app.planning.sizing.slo_objectives import build_slo_objectives
from app.records.offers import Router
from app.records.planning_inputs import MeasuredLoadPoint
from app.records.result import Stage
from app.records.service import BatchService, RequestService, ServiceFit
from app.storage.run_directory import StoredRun
from tests.studies.backtest_servers import CONSTANT, CONSTANT_PER_S, SERVERS, Server, child

FLEET_SHARES = (0.5, 0.7, 0.85)
BUSY_SHARE = 0.59
"""At lower load time hardly depends on the rate."""
SWEEPS, TRIES = 2, 3
RUN_LIMIT_S = 900
CLIENTS, CLIENTS_S = 16, 8
PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0}
PREDICTED_REQUESTS, SEEDS = 20_000, (1, 2, 3, 4, 5)
CHANCES = range(100, 140)
"""Seeds of simulations as long as the measurement, which show how far these differ from each other."""
Z95 = 1.959964
PROFILE = """sizewise: 1
name: back-test
target: {{protocol: http, url: "{url}"}}
workload: {{method: POST, body: {body}}}
load: {{seed: {seed}, sweep: {sweep}}}
slo: ["latency_ms.p99 < 60000"]
"""


class LoadComparison(NamedTuple):
    """A load: its measured and predicted percentiles in s, and the standard deviation of the logarithm of a
    measurement of this length."""

    name: str
    per_s: float
    share: float
    """The rate as a share of the capacity of the replicas."""
    measured_s: dict[str, float]
    predicted_s: dict[str, float]
    scatter: dict[str, float]
    deviations: dict[str, float]
    """Differences of the measurement from the mean of simulations of this length, in standard deviations."""
    rate_error: float | None
    """Error of the planned rate of this fleet if the measured p95 were its limit; None if the plan has no rate."""

    def error(self, percentile: str) -> float:
        return self.predicted_s[percentile] / self.measured_s[percentile] - 1


class Outcome(NamedTuple):
    name: str
    most_per_s: float
    fit: ServiceFit
    between: list[LoadComparison]
    """Comparisons at the rates that the fit did not use."""
    fleets: list[LoadComparison]


class Bench:
    """Measures a server. A run that is already in the folder is read again."""

    def __init__(self, server: Server, folder: Path, hold_s: float) -> None:
        self._server, self._folder, self._hold_s = server, folder, hold_s

    def load_points(
        self, port: int, most_per_s: float, shares: Sequence[float], run: str, seed: int = 1
    ) -> tuple[MeasuredLoadPoint, ...]:
        """Rates that were not sent on time are measured again, a few times; rates that remain late are left out."""
        rates, on_time = [f"{share * most_per_s:.4g}/s" for share in shares], list[Stage]()
        for number in range(TRIES):
            sweep = {"rates": rates, "step_duration": f"{self._hold_s:g}s"}
            stages = self._measured(port, sweep, f"{run}-try-{number}", seed + 100 * number)
            on_time += [stage for stage in stages if not was_late(stage)]
            rates = [f"{stage.scheduled_per_s:.4g}/s" for stage in stages if was_late(stage)]
            if not rates:
                return build_load_points(on_time)
        print(f"left out: {self._server.name}, {run}, {', '.join(rates)}", file=sys.stderr)
        return build_load_points(on_time)

    def most_per_s(self, port: int) -> float:
        """Throughput of a closed loop."""
        (stage,) = self._measured(port, {"concurrency": [CLIENTS], "step_duration": f"{CLIENTS_S}s"}, "most", 1)
        assert stage.achieved_per_s.value is not None
        return stage.achieved_per_s.value

    def _measured(self, port: int, sweep: dict[str, Any], name: str, seed: int) -> list[Stage]:
        """The stages of the sweep."""
        run = self._folder / name
        if not (run / "result.json").exists():
            self._run(port, sweep, run, seed)
        return [stage for stage in StoredRun(run).complete_result.stages if stage.kind != "warmup"]

    def _run(self, port: int, sweep: dict[str, Any], run: Path, seed: int) -> None:
        """Run the command as a user would."""
        url, body = f"http://127.0.0.1:{port}{self._server.path}", json.dumps(self._server.body)
        profile = self._folder / f"{run.name}.yaml"
        profile.write_text(PROFILE.format(url=url, body=body, seed=seed, sweep=json.dumps(sweep)))
        command = [sys.executable, "-m", "app", "run", str(profile), "--out", str(run)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_LIMIT_S)
        if not (run / "result.json").exists():
            sys.exit(f"{self._server.name}: no result ({done.returncode}): {done.stderr[-2000:]}")


def was_late(stage: Stage) -> bool:
    """Whether the load generator was late, so that the latencies are not those of the server."""
    return stage.verdict.status == "INVALID" or any(reason.startswith("send lag") for reason in stage.verdict.reasons)


def compare_load(
    name: str, fit: ServiceFit, replicas: int, router: Router, most_per_s: float, observed: ObservedLoad
) -> LoadComparison:
    design, per_s = FleetDesign((fit.services[0].service,) * replicas, router), observed.offered_per_s
    measured_s = {name: float(np.exp(log)) for name, log in zip(observed.names, observed.logs, strict=True)}
    names = [name for name in PERCENTILES if name in measured_s]
    percents = [PERCENTILES[name] for name in names]
    steady = simulate_steady(design, per_s, PREDICTED_REQUESTS * replicas, SEEDS, percents).overall.latency
    repeated = [
        simulate_steady(design, per_s, observed.requests, (seed,), percents).overall.latency for seed in CHANCES
    ]
    logs = np.log(np.array([latency.percentiles_s for latency in repeated], dtype=float))
    scatter = logs.std(axis=0, ddof=1) / np.sqrt(observed.point_count)
    deviations = (np.log([measured_s[name] for name in names]) - logs.mean(axis=0)) / scatter
    objectives = build_slo_objectives([parse_objective(f"latency_ms.p95 < {1000 * measured_s['p95']:.9g}")])
    planned_per_s, _ = find_highest_rate(
        fit.services[0].service, FleetShape(router, objectives), replicas, per_s / replicas
    )
    return LoadComparison(
        name,
        per_s,
        per_s / most_per_s / replicas,
        {name: measured_s[name] for name in names},
        {name: value or np.nan for name, value in zip(names, steady.percentiles_s, strict=True)},
        dict(zip(names, scatter.tolist(), strict=True)),
        dict(zip(names, deviations.tolist(), strict=True)),
        planned_per_s * replicas / per_s - 1 if planned_per_s else None,
    )


def check_server(server: Server, folder: Path, hold_s: float) -> Outcome:
    bench = Bench(server, folder, hold_s)
    with contextlib.ExitStack() as stack:
        ports = [server.start(stack, folder, number) for number in range(max(server.fleets))]
        most_per_s = server.most_per_s or bench.most_per_s(ports[0])
        sweeps = [bench.load_points(ports[0], most_per_s, server.shares, f"sweep-{n}", 1 + n) for n in range(SWEEPS)]
        load_points = [load_point for sweep in sweeps for load_point in sweep]
        observed = group_load_points(load_points)
        fitted_rates = {load.offered_per_s for load in observed[::2]}
        half_fit, full_fit = (
            fit_service([load_point for load_point in load_points if load_point.offered_per_s in fitted_rates]),
            fit_service(load_points),
        )
        fleets = []
        for router in server.routers:
            for replicas in server.fleets:
                port = stack.enter_context(child("tests.fakes.balancer", router, *map(str, ports[:replicas])))
                fleet_points = bench.load_points(port, replicas * most_per_s, FLEET_SHARES, f"{router}-{replicas}", 11)
                name = f"{replicas} × {server.name}, {router.replace('_', ' ')}"
                fleets += [
                    compare_load(name, full_fit, replicas, router, most_per_s, load)
                    for load in group_load_points(fleet_points)
                ]
    between = [compare_load(server.name, half_fit, 1, "random", most_per_s, load) for load in observed[1::2]]
    return Outcome(server.name, most_per_s, full_fit, between, fleets)


def measure_balancer(folder: Path, hold_s: float) -> str:
    """Measure the latency that the balancer adds, with a server of constant latency."""
    bench = Bench(CONSTANT, folder, hold_s)
    with contextlib.ExitStack() as stack:
        port = CONSTANT.start(stack, folder, 0)
        balancer_port = stack.enter_context(child("tests.fakes.balancer", "round-robin", str(port)))
        load_points = [
            bench.load_points(address, CONSTANT_PER_S, (1,), run)[0]
            for address, run in ((port, "direct"), (balancer_port, "balancer"))
        ]
    times = [
        f"p50 {1000 * times_s['p50']:.2f} ms, p99 {1000 * times_s['p99']:.2f} ms"
        for times_s in map(latencies, load_points)
    ]
    return f"{CONSTANT.name}: {times[0]}; through the balancer {times[1]}"


def latencies(load_point: MeasuredLoadPoint) -> dict[str, float]:
    return load_point.latencies_s["latency"]


def format_fit(fit: ServiceFit) -> str:
    match service := fit.services[0].service:
        case RequestService():
            many = f"{service.slots} slot{'s' if service.slots > 1 else ''}"
            words = f"{many}, {1000 * service.mean_s:.1f} ms, cv {service.cv:.2f}"
        case BatchService():
            words = (
                f"{1000 * service.fixed_s:.1f} ms + {1000 * service.per_item_s:.2f} ms × b, up to {service.max_batch}, "
            )
            words += f"window {1000 * service.window_s:.1f} ms, cv {service.cv:.2f}"
        case _:
            raise TypeError("no server of this check generates tokens")
    return f"{words}, outside {1000 * service.outside_s:.1f} ms; chance {fit.services[0].probability:.0%}"


def print_loads(comparisons: Sequence[LoadComparison]) -> None:
    print("\n| server | load | p50, ms: measured, predicted | p95 | p99 | p99 by chance | rate at that p95 |")
    print("|---|---|---|---|---|---|---|")
    for load in comparisons:
        cells = [
            f"{1000 * load.measured_s[key]:.1f}, {1000 * load.predicted_s[key]:.1f} ({_signed(load.error(key))})"
            if key in load.measured_s
            else "n/a"
            for key in PERCENTILES
        ]
        chance = f"±{100 * Z95 * load.scatter['p99']:.0f} %" if "p99" in load.scatter else "n/a"
        reported = f"{' | '.join(cells)} | {chance} | {'none' if load.rate_error is None else _signed(load.rate_error)}"
        print(f"| {load.name} | {load.share:.0%}, {load.per_s:.0f}/s | {reported} |")


def print_errors(groups: dict[str, list[LoadComparison]]) -> None:
    print("\n| predicted | loads | p50 | p95 | p99 | inside chance | rate, from 60 % load |")
    print("|---|---|---|---|---|---|---|")
    for name, group in groups.items():
        sizes = [[abs(load.error(key)) for load in group if key in load.measured_s] for key in PERCENTILES]
        cells = [_format_median_and_max(errors) for errors in sizes]
        deviations = [deviation for comparison in group for deviation in comparison.deviations.values()]
        inside = f"{sum(abs(deviation) <= Z95 for deviation in deviations)} of {len(deviations)}"
        rates = _format_median_and_max(
            [
                abs(1.0 if comparison.rate_error is None else comparison.rate_error)
                for comparison in group
                if comparison.share >= BUSY_SHARE
            ]
        )
        print(f"| {name} | {len(group)} | {' | '.join(cells)} | {inside} | {rates} |")


def _signed(share: float) -> str:
    return f"{round(100 * share):+d} %"


def _format_median_and_max(sizes: Sequence[float]) -> str:
    return f"{100 * np.median(sizes):.1f} %, {100 * max(sizes):.0f} %" if sizes else "n/a"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", type=int, choices=range(len(SERVERS)), action="append", help="by its number")
    parser.add_argument("--hold", type=float, default=15.0, metavar="SECONDS", help="of each rate")
    parser.add_argument("--runs", type=Path, help="where the runs are kept; those that are there are read again")
    options = parser.parse_args()
    outcomes = []
    with tempfile.TemporaryDirectory() as temporary:
        for number in options.server or range(len(SERVERS)):
            folder = (options.runs or Path(temporary)) / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            outcomes.append(check_server(SERVERS[number], folder, options.hold))
        constant = (options.runs or Path(temporary)) / "constant"
        constant.mkdir(exist_ok=True)
        print(f"{measure_balancer(constant, options.hold)}\n")
    print("| server | most | fitted |\n|---|---|---|")
    for one in outcomes:
        print(f"| {one.name} | {one.most_per_s:.1f}/s | {format_fit(one.fit)} |")
    print_loads([load for one in outcomes for load in one.between])
    print_loads([load for one in outcomes for load in one.fleets])
    alone = {f"{one.name}, the rates between": one.between for one in outcomes}
    behind = {f"{one.name}, behind a balancer": one.fleets for one in outcomes}
    print_errors(alone | behind)


if __name__ == "__main__":
    main()
