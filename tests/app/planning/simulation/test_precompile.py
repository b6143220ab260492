from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

# runs in its own process, because other tests have compiled kernels in this one
COUNTING = """
import importlib, json, pkgutil
import numpy as np
import app.planning.simulation as package
from app.planning.sizing.bursts import Bursts, draw_arrivals
from app.planning.days.day import simulate_fleet_day
from app.planning.simulation.design import FleetDesign
from app.planning.simulation.replay import replay
from app.planning.simulation.steady import simulate_steady
from app.planning.simulation.precompile import compile_all, compile_planner
from app.planning.service_models.stage_simulation import StageSimulation
from app.records.scaling import ColdStartModel, FailureModel, Keda, Operations
from app.records.service import BatchService, RequestService, TokenService
from app.records.traffic import Dispersion, TraceRows

def count_compiled():
    "Count the versions of each kernel that are compiled or loaded from the cache."
    names = [f"{package.__name__}.{info.name}" for info in pkgutil.iter_modules(package.__path__)]
    versions = {}
    for module in map(importlib.import_module, names):
        for name, kernel in vars(module).items():
            if hasattr(kernel, "signatures") and kernel.__module__ == module.__name__:
                versions[f"{module.__name__}.{name}"] = len(kernel.signatures)
    return versions

SERVICES = (RequestService(3, 0.1, 0.0), BatchService(0.1, 0.01, 4), TokenService(0.1, 0.0, 0.0, 2, 100))
"""
PLAN = """
stage = StageSimulation.draw(1.0, 10, 2, np.random.SeedSequence(1))
TWO_PHASE = RequestService(3, 0.1, 0.5, slow_share=0.1, slow_factor=5.0)
for service in (*SERVICES[:2], TWO_PHASE, RequestService(3, 0.1, 0.5, discipline="processor sharing")):
    stage.simulate(service, np.array([0.5]))
for service in SERVICES:
    simulate_steady(FleetDesign((service,) * 3, router="least-work", lengths=((5, 5), (9, 9))), 1.0, 60, seeds=(1,))
"""
BURSTS = """
at_us, tokens = np.arange(30, dtype="<u4") * 300_000, np.arange(1, 31, dtype="<i4")
rows = TraceRows(9.0, at_us.tobytes(), tokens.tobytes(), tokens.tobytes())
for bursts in (Bursts(None, Dispersion(4.0, 1.0), 3.0), Bursts(rows, Dispersion(), 3.0)):
    for service in SERVICES:
        replay(FleetDesign((service,) * 3, lengths=((5, 5),) * 30), 3.0, draw_arrivals(bursts, 1.0), (50,), 3)
"""
DAY = """
for service in SERVICES:
    operations = Operations(ColdStartModel(node_s=20.0), FailureModel(0.05))
    simulate_fleet_day(FleetDesign((service,)), np.repeat([5.0, 0.0, 5.0], 8), 60.0, Keda(2.0, 3), operations, seed=1)
"""


REPORT = "print(json.dumps(count_compiled()))\n"


def test_precompiled_kernels_need_no_compilation_in_plan_and_day() -> None:
    code = "\n".join(
        (COUNTING, "compile_planner()", REPORT, PLAN, BURSTS, REPORT, "compile_all()", REPORT, DAY, REPORT)
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    planner, after_plan, all_kernels, after_day = (json.loads(line) for line in process.stdout.splitlines())
    assert after_plan == planner
    assert after_day == all_kernels
    for compiled in (planner, all_kernels):
        assert compiled["app.planning.simulation.serving._serve"] == 1
