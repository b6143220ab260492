"""Duration of a plan over the whole catalog: analytical estimate, simulated, and first plan of a process.

The replica is an assumed L4; all other GPUs are extrapolated by ratio, so that all priced offers are planned.
"""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from app.analysis.objectives import parse_objective
from app.planning.fleets import plan_fleets
from app.profiles.pricing.catalog import load_bundled_catalog
from app.profiles.traffic import SHAPES
from app.records.offers import CapacityCurve, PlanLimits, UnmeasuredGpus
from app.records.planning_inputs import MeasuredTarget, PlanningInputs
from app.records.result import Hardware
from app.records.service import BatchService, FittedService, ServiceFit
from app.records.traffic import Traffic

_ROUNDS = 7
_DATE = datetime.date(2026, 8, 1)


def question() -> PlanningInputs:
    service = BatchService(0.004, 0.0006, 16, 0.001, 0.1, 0.002)
    covariance = tuple(tuple(0.0004 if row == column else 0.0 for column in range(4)) for row in range(4))
    fitted = FittedService(service, 1.0, ("fixed_s", "per_item_s", "cv", "outside_s"), covariance)
    target = MeasuredTarget(
        "assumed",
        Hardware("one L4", accelerator="l4", accelerator_count=1, vcpus=4),
        CapacityCurve((), "latency_ms.p95", 900.0, (880.0, 920.0), None),
        ServiceFit((fitted,), (), 0.0, 1.0, 10.0, service.max_throughput_per_s),
    )
    limits = PlanLimits(unmeasured_gpus=UnmeasuredGpus("fp16", "saturated", 4.0), router="power-of-two")
    traffic = Traffic(20_000.0, "workday", SHAPES["workday"])
    slo = (parse_objective("latency_ms.p95 < 40"),)
    return PlanningInputs((target,), traffic, slo, limits, load_bundled_catalog(), _DATE)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.performance.planning", description=__doc__)
    parser.add_argument("--once", action="store_true", help="plan once, and print the seconds that took")
    if parser.parse_args().once:
        print(f"{_seconds(lambda: plan_fleets(question()))[0]:.3f}")
        return
    inputs = question()
    plan = plan_fleets(inputs)
    feasible = [fleet for fleet in plan.offers if fleet.rejected is None]
    simulated = sum(fleet.sizing_method == "simulated" for fleet in feasible)
    print(f"{len(plan.offers)} offers, {len(feasible)} feasible, {simulated} of them simulated")
    print(f"estimated, warm: {_median_ms(lambda: plan_fleets(inputs, estimate_only=True)):.0f} ms")
    print(f"planned, warm: {_median_ms(lambda: plan_fleets(inputs)):.0f} ms")
    print(f"first plan of a process, kernels from the cache: {_first({}):.1f} s")
    with tempfile.TemporaryDirectory() as empty:
        print(f"first plan of a process, kernels compiled: {_first({'NUMBA_CACHE_DIR': empty}):.1f} s")


def _median_ms(call: Callable[[], object]) -> float:
    return 1000 * statistics.median(_seconds(call)[0] for _ in range(_ROUNDS))


def _seconds(call: Callable[[], object]) -> tuple[float, object]:
    start_s = time.perf_counter()
    result = call()
    return time.perf_counter() - start_s, result


def _first(environment: dict[str, str]) -> float:
    command = [sys.executable, "-m", "tests.performance.planning", "--once"]
    done = subprocess.run(command, env=os.environ | environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


if __name__ == "__main__":
    main()
