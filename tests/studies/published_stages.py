"""Predictions of open-loop stages on servers that nobody measured: TTFT and TPOT of requests that arrive at a rate.

The service model of each server comes from the fit to published points. It is simulated with the stage's arrivals: once
with its median times for p50, and once each with times that are shorter and longer by the stated errors for p10 and
p90.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from msgspec.structs import replace

from app.analysis.language_models import load_language_models
from app.planning.hardware.rates import Unavailable
from app.planning.language_models.memory import MemoryPlan, compute_kv_bytes, plan_memory
from app.planning.service_models.service_times import speed_up
from app.planning.simulation.replica import simulate_token_latencies
from app.planning.step_times.estimate import FittedEvidence
from app.planning.step_times.positive_sum import Floats
from app.planning.step_times.service import EstimatedService, ServerSettings, estimate_services
from app.planning.step_times.terms import Server
from app.profiles.pricing.catalog import load_catalog
from app.records.evidence import PublishedServer
from app.records.planning_inputs import Engine, Precision
from app.records.service import TokenService
from tests.studies.published_rows import ACCELERATORS, ENGINES, find_architecture

AGGREGATES: dict[str, float | None] = {"mean": None, "p50": 50.0, "p95": 95.0, "p99": 99.0}
QUANTILES = {"p10": -1.2816, "p50": 0.0, "p90": 1.2816}
METRICS = ("ttft", "tpot")
STAGE_COLUMNS = (
    "id",
    *(f"{metric}_{name}_{quantile}_ms" for metric in METRICS for name in AGGREGATES for quantile in QUANTILES),
    "refused",
)
_REQUESTS, _WARM_UP = 3000, 300
_FLAGS = {
    "max_sequences": re.compile(r"max[-_]num[-_]seqs[= ]+(\d+)|max[-_]running[-_]requests[= ]+(\d+)"),
    "chunk_tokens": re.compile(r"max[-_]num[-_](?:batched[-_])?tokens[= ]+(\d+)|chunked[-_]prefill[-_]size[= ]+(\d+)"),
}
"""Flags of engines that limit a step."""
_DEFAULTS = {"max_sequences": 256, "chunk_tokens": 8192}


def predict_stages(rows: Sequence[Mapping[str, str]], evidence: FittedEvidence) -> Iterator[dict[str, object]]:
    for row in rows:
        estimate = _estimate(row, evidence)
        if isinstance(estimate, str):
            yield {"id": row["id"], "refused": estimate}
        else:
            yield {"id": row["id"], "refused": "", **_simulate(row, estimate)}


def _estimate(row: Mapping[str, str], evidence: FittedEvidence) -> EstimatedService | str:
    """Return the service of the server of a stage, or why it is unknown."""
    key = find_architecture(row["model"])
    accelerators = load_catalog().accelerators
    accelerator = accelerators.get(ACCELERATORS.get(row["gpu"], row["gpu"]))
    if key is None or accelerator is None or row["engine"] not in ENGINES:
        return "the shape of the model, the GPU type or the engine is unknown"
    shape, precision, degree = load_language_models()[key].shape, row["precision"] or "bf16", int(row["tp"])
    kv_dtype = "bf16" if precision == "bf16" else "fp8"
    limits = {name: _find_flag(row["flags"], name) for name in _FLAGS}
    engine = Engine(max_sequences=limits["max_sequences"], chunk_tokens=limits["chunk_tokens"])
    memory_plan = plan_memory(shape, accelerator, Precision(precision, precision, kv_dtype), degree, engine)
    if not isinstance(memory_plan, MemoryPlan):
        return memory_plan.reason
    served = PublishedServer(
        model=key, accelerator=accelerator.key, precision=precision, engine=ENGINES[row["engine"]],
        version=row["version"] or "current", accelerators=degree,
    )  # fmt: skip
    lengths = float(row["input_tokens"]), float(row["output_tokens"])
    tokens = lengths[0] + lengths[1] / 2
    kv_tokens = int(memory_plan.kv_pool_bytes / compute_kv_bytes(shape, tokens, kv_dtype, degree) * tokens)
    settings = ServerSettings(limits["max_sequences"], kv_tokens, limits["chunk_tokens"])
    server = Server(served, shape, accelerator, kv_dtype, "inferencex")
    services = estimate_services(evidence, [(server, settings)], *lengths)
    return services.reason if isinstance(services, Unavailable) else services[0]


def _find_flag(flags: str, name: str) -> int:
    match = _FLAGS[name].search(flags)
    return int(next(value for value in match.groups() if value)) if match else _DEFAULTS[name]


def _simulate(row: Mapping[str, str], estimate: EstimatedService) -> dict[str, object]:
    rng, rate_per_s = np.random.default_rng(zlib.crc32(row["id"].encode())), float(row["rate_per_s"])
    gaps_s = np.full(_REQUESTS, 1 / rate_per_s)
    if row["arrivals"].lower() == "poisson":
        gaps_s = rng.exponential(1 / rate_per_s, _REQUESTS)
    cells: dict[str, object] = {}
    for metric, sigma in zip(METRICS, (estimate.ttft_sigma, estimate.tpot_sigma), strict=True):
        for quantile, z in QUANTILES.items():
            factor = float(np.exp(z * sigma))
            service = speed_up(replace(estimate.service, outside_s=estimate.service.outside_s * factor), 1 / factor)
            assert isinstance(service, TokenService)
            times_s = dict(zip(METRICS, simulate_stage(row, service, np.cumsum(gaps_s)), strict=True))[metric]
            for name, percent in AGGREGATES.items():
                value = times_s.mean() if percent is None else np.percentile(times_s, percent)
                cells[f"{metric}_{name}_{quantile}_ms"] = f"{1000 * value:.6g}"
    return cells


def simulate_stage(row: Mapping[str, str], service: TokenService, arrivals_s: Floats) -> tuple[Floats, Floats]:
    """Return TTFT and TPOT in s of the requests after the warm-up."""
    inputs, outputs = (
        np.full(arrivals_s.size, int(float(row[name])), dtype=np.int64) for name in ("input_tokens", "output_tokens")
    )
    first_s, last_s = simulate_token_latencies(arrivals_s, inputs, outputs, np.zeros(arrivals_s.size), service)
    tpot_s = (last_s - first_s) / np.maximum(outputs - 1, 1)
    return first_s[_WARM_UP:], tpot_s[_WARM_UP:]
