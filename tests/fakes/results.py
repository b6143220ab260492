"""A whole run like the quickstart's, built by hand: result, request rows and telemetry that match each other.

The endpoint is one server with 4 ms of work per request, so that it saturates near 250 req/s. Everything is seeded."""

from __future__ import annotations

import functools
import math

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from app.analysis.estimates import compute_distribution, estimate_proportion, estimate_rate
from app.analysis.headline import mark_headline
from app.records.result import (
    Cause,
    Check,
    Clock,
    Environment,
    Estimate,
    Exit,
    Fleet,
    Gpu,
    Hardware,
    MaxRate,
    Objective,
    ObjectiveResult,
    Plan,
    Recommendation,
    Result,
    Stage,
    StageKind,
    Target,
    Tool,
    Traffic,
    Variant,
    Verdict,
    Window,
)

START_NS = 5_000_000_000_000
LIMIT_MS = 50.0
SLO = Objective("latency_ms.p95 < 50", "latency_ms", "p95", "<", LIMIT_MS)
ERRORS_SLO = Objective("error_rate < 1%", "error_rate", None, "<", 0.01)
GATE = Objective("latency_ms.p99 < 80 | warn", "latency_ms", "p99", "<", 80.0, "warn")
COMMAND = "sizewise quickstart --seconds 3"
SPEC = """\
sizewise: 1
name: quickstart
target: {protocol: oip, url: "http://127.0.0.1:41837", model: digits}
load:
  seed: 7
  search: {arrivals: poisson, start: 25/s, step_duration: 3s, repeats: 3}
slo: ["latency_ms.p95 < 50", "error_rate < 1%"]
traffic: {peak: 900/s, shape: workday}
"""
_SEARCH: tuple[tuple[str, StageKind, int, float], ...] = (
    ("warm-up", "warmup", 1, 50.0),
    ("probe 25 req/s", "probe", 1, 25.0),
    ("probe 50 req/s", "probe", 1, 50.0),
    ("probe 100 req/s", "probe", 1, 100.0),
    ("probe 200 req/s", "probe", 1, 200.0),
    ("probe 400 req/s", "probe", 1, 400.0),
    ("probe 283 req/s", "probe", 1, 283.0),
    ("probe 238 req/s", "probe", 1, 238.0),
    ("probe 218 req/s", "probe", 1, 218.0),
    ("step 218 req/s", "step", 1, 218.0),
    ("step 218 req/s", "step", 2, 218.0),
    ("step 218 req/s", "step", 3, 218.0),
)
_STAGE_S = 3.0


class Run(msgspec.Struct, frozen=True):
    result: Result
    rows: pd.DataFrame
    telemetry: pd.DataFrame


def run_exit(code: int, *texts: str) -> Exit:
    return Exit(code, tuple(Cause("target_failed", code, text) for text in texts))


def full_run(*, gpu: bool = False) -> Run:
    """A valid search with a plan: everything a report can show."""
    run = _simulated_run(gpu)
    return Run(run.result, run.rows.copy(), run.telemetry.copy())


@functools.cache
def _simulated_run(gpu: bool) -> Run:
    rows, loaded = _loaded()
    loaded = mark_headline(loaded, loaded[-1:])
    result = Result(
        tool=Tool("sizewise", "0.1.0"),
        run_id="20260801T091500-quickstart-4f2a",
        name="quickstart",
        profile_hash="sha256:9b1c6a4de0",
        target=Target("oip", ("http://127.0.0.1:41837",), "digits", Hardware("this machine, 2 vCPU", vcpus=2)),
        environment=_environment(gpu),
        clock=Clock(START_NS, "2026-08-01T09:15:00+00:00", 58.4, 1.0000021),
        verdict=Verdict("WARN", ("the holds are short: 3 s each",)),
        validity=_checks(),
        stages=(*_local(), *loaded),
        max_rate=MaxRate(
            Estimate(218.0, (218.0, 238.0), n=3),
            (SLO.text, ERRORS_SLO.text),
            "at 238 req/s p95 latency was 51.05 ms (objective: p95 latency < 50 ms); there the endpoint used 0.94 "
            "cores",
        ),
        slo=(
            ObjectiveResult(SLO, loaded[-1].metrics["latency_ms"]["p95"], "PASS", "3 steps at 218 req/s"),
            ObjectiveResult(ERRORS_SLO, loaded[-1].metrics["error_rate"]["value"], "PASS", "3 steps at 218 req/s"),
        ),
        gates=(ObjectiveResult(GATE, loaded[-1].metrics["latency_ms"]["p99"], "INCONCLUSIVE", "3 steps at 218 req/s"),),
        plan=_plan(),
        artifacts=(),
        exit=Exit(0, ()),
    )
    return Run(result, rows, _telemetry(gpu))


def run_without_load() -> Run:
    """A run that ended before any load: INVALID, without stages, rows or telemetry."""
    full = full_run().result
    check = Check("generator_capacity", None, 250.0, "1/s", "INVALID", "Close other programs and calibrate again.")
    result = msgspec.structs.replace(
        full,
        verdict=Verdict("INVALID", *[("the load generator could not be calibrated",)] * 2),
        validity=(check,),
        stages=(),
        max_rate=None,
        slo=(),
        gates=(),
        plan=None,
        artifacts=(),
        exit=run_exit(4, "the measurement is INVALID: the load generator could not be calibrated"),
    )
    return Run(result, pd.DataFrame(), pd.DataFrame(columns=["at_ns", "source", "metric", "value"]))


def interrupted_run() -> Run:
    """Ctrl-C in the fifth probe: no max rate, no plan, objectives not evaluated."""
    full = full_run()
    no_stage = Estimate(None, reason="not evaluated: no stage qualified")
    stages = tuple(stage for stage in full.result.stages if stage.kind in ("steady", "warmup", "probe"))[:11]
    result = msgspec.structs.replace(
        full.result,
        stages=stages,
        max_rate=None,
        slo=(ObjectiveResult(SLO, no_stage, "INCONCLUSIVE"),),
        gates=(),
        plan=None,
        exit=run_exit(130, "the user stopped the run"),
    )
    return Run(result, full.rows[full.rows["stage"] < 5], full.telemetry.iloc[:400])


def _loaded() -> tuple[pd.DataFrame, tuple[Stage, ...]]:
    random = np.random.default_rng(7)
    frames, stages = [], []
    start_s = 24.0
    for index, (name, kind, repeat, per_s) in enumerate(_SEARCH):
        frame = _requests(random, index, start_s, per_s)
        frames.append(frame)
        stages.append(_stage(frame, name, kind, repeat, start_s, per_s))
        start_s += _STAGE_S + 0.2
    holds = pd.concat(frames[-3:], ignore_index=True)
    length_s = 3 * _STAGE_S + 2 * 0.2
    pooled = _stage(holds, "3 steps at 218 req/s", "step", 1, start_s - 0.2 - length_s, 218.0, length_s)
    stages.append(msgspec.structs.replace(pooled, tags={"pooled": "3"}))
    return pd.concat(frames, ignore_index=True), tuple(stages)


def _requests(random: np.random.Generator, index: int, start_s: float, per_s: float) -> pd.DataFrame:
    """A first-come, first-served queue (Lindley); requests fail with 429 after a second of waiting."""
    count = int(per_s * _STAGE_S)
    scheduled = np.sort(random.uniform(0, _STAGE_S, count))
    work = random.gamma(16, 0.00396 / 16, count)
    ends = np.empty(count)
    free = 0.0
    for at in range(count):
        free = max(free, scheduled[at]) + work[at]
        ends[at] = free
    sent = scheduled + random.gamma(2, 0.00002, count)
    ends = np.maximum(ends, sent + 0.0005)
    refused = ends - scheduled > 0.6
    ends = np.where(refused, scheduled + 0.002, ends)

    def nanoseconds(times: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        return (START_NS + (start_s + times) * 1e9).astype(np.int64)

    return pd.DataFrame(
        {
            "stage": np.full(count, index, dtype=np.int32),
            "index": np.arange(count),
            "scheduled_ns": nanoseconds(scheduled),
            "sent_ns": nanoseconds(sent),
            "first_byte_ns": nanoseconds(ends - 0.0002),
            "end_ns": nanoseconds(ends),
            "status": np.where(refused, 429, 200).astype(np.int16),
            "error": np.where(refused, np.array("http-4xx", object), np.array(None, object)),
            "bytes_received": np.full(count, 420, dtype=np.int32),
            "reused": np.full(count, True),
        }
    )


def _stage(
    frame: pd.DataFrame,
    name: str,
    kind: StageKind,
    repeat: int,
    start_s: float,
    per_s: float,
    length_s: float = _STAGE_S,
) -> Stage:
    window = Window(START_NS + int(start_s * 1e9), START_NS + int((start_s + length_s) * 1e9))
    ok = frame[frame["error"].isna()]
    latency_ms = ((ok["end_ns"] - ok["scheduled_ns"]) / 1e6).to_numpy()
    service_ms = ((ok["end_ns"] - ok["sent_ns"]) / 1e6).to_numpy()
    failed = len(frame) - len(ok)
    latency = compute_distribution(latency_ms)
    p95 = latency["p95"].value
    edges = (window.start_ns, window.end_ns)
    good = ok["end_ns"].to_numpy()[latency_ms < LIMIT_MS]
    return Stage(
        name=name,
        kind=kind,
        repeat=repeat,
        tags={},
        variant=None,
        window=window,
        offered_per_s=Estimate(per_s, n=len(frame)),
        achieved_per_s=estimate_rate(frame["sent_ns"].to_numpy(), edges),
        good_per_s=estimate_rate(good, edges),
        completed=len(ok),
        errors={"http-4xx": failed} if failed else {},
        metrics={
            "latency_ms": latency,
            "service_ms": compute_distribution(service_ms),
            "error_rate": {"value": estimate_proportion(failed, len(frame))},
        },
        verdict=Verdict("VALID"),
        scheduled_per_s=per_s,
        meets_slo=None if kind == "warmup" else p95 is not None and p95 < LIMIT_MS and failed == 0,
    )


def _local() -> tuple[Stage, ...]:
    random = np.random.default_rng(11)
    check = Check("provider", "CPUExecutionProvider", "CPUExecutionProvider", None, "VALID")
    stages = []
    for number, batch in enumerate((1, 2, 4, 8, 16, 32)):
        call_s = random.gamma(400, (0.0009 + 0.0014 * batch) / 400, 600)
        metrics = {
            "service_ms": compute_distribution(call_s * 1e3),
            "throughput_per_s": {"value": Estimate(600 * batch / float(call_s.sum()), n=600)},
        }
        if number == 0:
            metrics |= {
                "library_load_ms": {"value": Estimate(212.0, n=1)},
                "session_build_ms": {"value": Estimate(38.2, n=1)},
                "first_inference_ms": {"value": Estimate(6.1, n=1)},
                "accuracy": {"value": estimate_proportion(443, 450)},
            }
        closed = Estimate(None, reason="closed loop: the next call starts when the previous one ends")
        stages.append(
            Stage(
                name=f"batch {batch}",
                kind="steady",
                repeat=1,
                tags={"scenario": "single-stream"},
                variant=Variant("digits.onnx", "CPUExecutionProvider", "as-is", batch, 1),
                window=Window(START_NS + number * 2_000_000_000, START_NS + (number + 1) * 2_000_000_000),
                offered_per_s=closed,
                achieved_per_s=Estimate(600 / float(call_s.sum()), n=600),
                good_per_s=closed,
                completed=600,
                errors={},
                metrics=metrics,
                verdict=Verdict("VALID"),
                checks=(check,),
            )
        )
    return tuple(stages)


def _checks() -> tuple[Check, ...]:
    return (
        Check("send_lag_p99", 0.214, 1.0, "ms", "VALID"),
        Check("generator_capacity", 0.031, 0.7, "share", "VALID"),
        Check("achieved_of_offered", 0.999, 0.98, "share", "VALID"),
        Check("arrival_dispersion", 1.03, 1.3, None, "VALID"),
        Check("samples", 654.0, 72.0, None, "VALID"),
        Check("step_duration", 3.0, 10.0, "s", "WARN", "Lengthen each step to 10 s: --seconds 10."),
        Check("stationarity", "level", "level", None, "VALID"),
        Check("provider", "CPUExecutionProvider", "CPUExecutionProvider", None, "VALID"),
        Check("clock", 2.1, 500.0, "ppm", "VALID"),
        Check("telemetry_gaps", 0.0, 0.05, "share", "VALID"),
    )


def _environment(gpu: bool) -> Environment:
    return Environment(
        host="bench-07",
        os="Debian GNU/Linux 12, Linux 6.1.0",
        python="3.11.9",
        cpu_model="AMD EPYC 9354",
        cpu_architecture="x86_64",
        physical_cores=1,
        logical_cores=2,
        memory_gib=7.8,
        cpu_governor=None,
        cpu_limit_cores=2.0,
        gpus=(Gpu(0, "NVIDIA L4", "a81f", 22.5, 72.0),) if gpu else (),
        nvidia_driver="580.65" if gpu else None,
        onnxruntime="1.24.1",
        providers=("CPUExecutionProvider",),
        packages={"locust": "2.44.0", "numpy": "2.4.0", "uvloop": "0.22.1"},
        clock_resolution_ns=1,
        fingerprint="3f9a77c2",
    )


def _telemetry(gpu: bool) -> pd.DataFrame:
    random = np.random.default_rng(3)
    at_s = np.arange(0, 58, 0.1)
    load = np.clip((at_s - 24) / 20, 0, 1)
    levels: dict[tuple[str, str], npt.NDArray[np.float64]] = {
        ("host", "host_cpu_percent"): 12 + 55 * load,
        ("host", "host_memory_gib"): np.full(len(at_s), 2.1),
        ("endpoint", "endpoint_cpu_cores"): 0.02 + 0.9 * load,
        ("generator", "generator_cpu_cores"): 0.03 + 0.05 * load,
        ("engine", "engine_cpu_cores"): np.full(len(at_s), 0.04),
    }
    if gpu:
        levels |= {
            ("gpu0", "gpu_utilization_percent"): 5 + 60 * load,
            ("gpu0", "gpu_memory_gib"): np.full(len(at_s), 1.3),
            ("gpu0", "gpu_power_w"): np.full(len(at_s), np.nan),
        }
    frames = [
        pd.DataFrame(
            {
                "at_ns": (START_NS + at_s * 1e9).astype(np.int64),
                "source": source,
                "metric": metric,
                "value": level * random.normal(1, 0.06, len(at_s)),
            }
        )
        for (source, metric), level in levels.items()
    ]
    return pd.concat(frames, ignore_index=True).sort_values("at_ns", kind="stable", ignore_index=True)


def _fleet(offer: str, vcpus: float, usd_per_hour: float, *, accelerator: str | None = None) -> Fleet:
    provider, rest = offer.split("/")
    instance_type, region = rest.split("@")
    per_instance = 109.0 * vcpus
    instances = None if accelerator else int(np.ceil(900 / (0.8 * per_instance))) + 1
    month = None if instances is None else instances * usd_per_hour * 730
    refusal = "carrying a CPU measurement to a GPU is refused: measure the model on one"
    missing = Estimate(None, basis="extrapolated", reason=refusal)
    return Fleet(
        offer=offer,
        provider=provider,
        instance_type=instance_type,
        region=region,
        accelerator=accelerator,
        accelerator_count=1 if accelerator else 0,
        vcpus=vcpus,
        basis="extrapolated",
        instances=instances,
        spare_instances=None if instances is None else 1,
        replicas_per_instance=None if instances is None else int(vcpus // 2),
        capacity_per_instance_per_s=missing
        if instances is None
        else Estimate(per_instance, (per_instance * 0.8, per_instance * 1.2), basis="extrapolated"),
        utilization_at_peak=missing
        if instances is None
        else Estimate(900 / (per_instance * (instances - 1)), basis="extrapolated"),
        latency_at_peak=missing
        if instances is None
        else Estimate(14 + 40 * 900 / (per_instance * (instances - 1) + 900), basis="extrapolated"),
        usd_per_hour_each=usd_per_hour,
        usd_per_month=missing if month is None else Estimate(month, (month * 0.8, month * 1.25), basis="extrapolated"),
        usd_per_1k_inferences=missing if month is None else Estimate(month / 1_450_000, basis="extrapolated"),
        price_date="2026-07-20",
        price_age_days=12 if provider == "aws" else 44,
        price_source="karp-aws+sky-v9",
        risk=2 if provider == "aws" else 3,
        risk_reasons=("carried to another CPU by vCPU",) if provider == "aws" else ("price is 44 days old",),
        rejected=refusal if accelerator else None,
    )


def _plan() -> Plan:
    feasible = (
        _fleet("aws/c7i.large@us-east-1", 2, 0.08925),
        _fleet("aws/c7i.xlarge@us-east-1", 4, 0.1785),
        _fleet("aws/c7i.4xlarge@us-east-1", 16, 0.714),
        _fleet("gcp/c3-standard-4@us-central1", 4, 0.2019),
        _fleet("gcp/c3-standard-8@us-central1", 8, 0.4038),
        _fleet("azure/F8s_v2@eastus", 8, 0.338),
    )
    refused = (
        _fleet("aws/g6.xlarge@us-east-1", 4, 0.8048, accelerator="l4"),
        _fleet("aws/g4dn.xlarge@us-east-1", 4, 0.526, accelerator="t4"),
    )
    by_cost = sorted(feasible, key=lambda fleet: fleet.usd_per_month.value or 0)
    best, second = by_cost[0], by_cost[1]
    return Plan(
        traffic=Traffic(
            900.0, "workday", tuple(0.2 + 0.8 * max(0.0, math.sin((hour - 6) / 14 * math.pi)) for hour in range(24))
        ),
        slo=(SLO.text, ERRORS_SLO.text),
        confidence=0.9,
        redundancy=1,
        latency_metric="latency_ms.p95",
        planned_on="2026-08-01",
        recommendation=Recommendation(
            fleet=best,
            sentence=f"Rent {best.instances} × {best.offer} for {best.usd_per_month.value:,.0f} USD/month.",
            binding_constraint="capacity at the peak of 900 req/s",
            why=(f"{second.offer} is next and costs more.", "GPU offers were not measured."),
            would_change_it=(
                "A peak above 1,120 req/s needs one more instance.",
                "A price below 0.15 USD/hour for c7i.xlarge.",
            ),
        ),
        runner_up=second,
        cheapest_rejected=refused[1],
        offers=(*feasible, *refused),
        pareto=(best, by_cost[-1]),
        notes=("Measured on 2 vCPU of this machine; carried to other CPUs by vCPU, ± 20 %.",),
    )
