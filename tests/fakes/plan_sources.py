"""Sources of a plan, as files: stored runs of an endpoint and of a local model, a typed curve, a traffic shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from app.planning.fleets import plan_fleets
from app.records.planning_inputs import PlanningInputs
from app.records.result import Result
from app.storage.run_directory import RunWriter
from app.wiring.plan_files import PlanFile, write_plan
from tests.fakes import results
from tests.fakes.local_runs import local_run

ENDPOINT_SPEC = results.SPEC
LOCAL_SPEC = """\
sizewise: 1
name: digits-here
target: {protocol: local, model: [digits], batch: [1, 4, 16]}
slo: ["service_ms.p99 < 20"]
"""
MODEL = """\
name: small
language_model:
  {parameters: 8.03e9, layers: 32, hidden: 4096, heads: 32, kv_heads: 8, head_dim: 128, vocabulary: 128256}
"""
CURVE = "".join(f"- {{offered_per_s: {10 * step}, latency_ms.p95: {20 + step}}}\n" for step in range(1, 5))
OFFERS = """\
- {provider: acme, instance_type: c4, region: here, accelerator_key: none, vcpus: 4, memory_gib: 8,
   cpu_architecture: x86_64, on_demand_usd_per_hour: 0.2}
- {provider: acme, instance_type: c8, region: here, accelerator_key: none, vcpus: 8, memory_gib: 16,
   cpu_architecture: x86_64, on_demand_usd_per_hour: 0.5}
- {provider: own, instance_type: rack, region: cellar, accelerator_key: none, vcpus: 8, memory_gib: 8,
   cpu_architecture: x86_64, capex_usd: 4000, life: 4y}
"""


def store_run(directory: Path, result: Result, spec: str = ENDPOINT_SPEC) -> str:
    with RunWriter(directory) as writer:
        writer.write_spec(spec)
        writer.write_result(result)
    return str(directory)


def endpoint_run(directory: Path, spec: str = ENDPOINT_SPEC, **changes: Any) -> str:
    """A max rate of 218 req/s within latency_ms.p95 < 50 on two vCPUs; no service model can be fitted to it."""
    return store_run(directory, replace(results.full_run().result, **changes), spec)


def local_model_run(directory: Path, spec: str = LOCAL_SPEC, **changes: Any) -> str:
    """The digits model with a batch service model."""
    result = local_run().result
    assert result.local is not None
    return store_run(directory, replace(result, local=replace(result.local, **changes)), spec)


def write_file(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def write_plan_file(path: Path, inputs: PlanningInputs) -> str:
    write_plan(path, PlanFile("sizewise 0.1.0", plan_fleets(inputs, estimate_only=True), inputs))
    return str(path)
