"""Runs of a local model, built by hand: the records of a real session, with simple numbers."""

from __future__ import annotations

import msgspec
import numpy as np
import pandas as pd

from app.analysis.estimates import compute_distribution, estimate_proportion
from app.analysis.local.accuracy import compute_accuracy
from app.analysis.local.variants import mark_variant_headlines
from app.analysis.validity import compute_verdict
from app.records.local import (
    BatchModel,
    Bottleneck,
    Fidelity,
    LocalResult,
    Peaks,
    Placement,
    Scenario,
    VariantColdStart,
    VariantData,
)
from app.records.result import (
    Check,
    Estimate,
    Exit,
    Hardware,
    Objective,
    ObjectiveResult,
    Result,
    Stage,
    Target,
    Variant,
    Verdict,
    Window,
)
from tests.fakes.results import START_NS, Run, full_run

SLO = Objective("service_ms.p99 < 8", "service_ms", "p99", "<", 8.0)
SPEC = """\
sizewise: 1
name: digits-here
target: {protocol: local, model: [digits], precision: [as-is, int8-static], batch: [1, 4, 16]}
load: {seed: 7, warmup: 10s, min_duration: 1s, max_duration: 5s, half_width: 2%, cold_starts: 2}
slo: ["service_ms.p99 < 8"]
"""
ROWS = pd.DataFrame()
_CALLS = 600
_PEAKS = Peaks(
    name="this CPU with 1 thread",
    flops_per_s=250e9,
    bytes_per_s=100e9,
    basis="measured",
    source="MatMul of 768 × 768 float32 matrices",
)
_CLOSED_LOOP = Estimate(None, reason="closed loop: the next call starts when the previous one ends")


def variant(
    precision: str = "as-is", batch: int = 1, *, model: str = "digits", provider: str = "cpu", streams: int = 1
) -> Variant:
    return Variant(model, provider, precision, batch, 1, streams)


def stage(of: Variant, scenario: Scenario, call_ms: float, *, check: Check | None = None, number: int = 0) -> Stage:
    """600 calls of about `call_ms`; from their due times they take half as long again."""
    random = np.random.default_rng(of.batch + len(of.precision) + len(scenario))
    times_ms = random.gamma(900, call_ms / 900, _CALLS)
    checks = () if check is None else (check,)
    metrics = {
        "service_ms": compute_distribution(times_ms),
        "prepare_ms": compute_distribution(times_ms * 0.01),
        "execute_ms": compute_distribution(times_ms),
        "post_process_ms": compute_distribution(times_ms * 0.02),
        "throughput_per_s": {"value": _around(1e3 * of.batch / call_ms)},
    }
    if scenario == "server":
        metrics["latency_ms"] = compute_distribution(times_ms * 1.5)
    start_ns = START_NS + number * 2_000_000_000
    return Stage(
        name=f"{scenario}{' at 50/s' if scenario == 'server' else ''}: {of.label}",
        kind="steady" if scenario == "server" else "closed",
        repeat=1,
        tags={"scenario": scenario},
        variant=of,
        window=Window(start_ns, start_ns + 1_800_000_000),
        offered_per_s=_CLOSED_LOOP,
        achieved_per_s=_around(1e3 / call_ms),
        good_per_s=Estimate(None, reason="individual calls of a local model are not evaluated"),
        completed=_CALLS,
        errors={},
        metrics=metrics,
        verdict=compute_verdict(checks),
        checks=checks,
        scheduled_per_s=50.0 if scenario == "server" else None,
        arrivals="Poisson" if scenario == "server" else None,
        arrival_kind="poisson" if scenario == "server" else None,
    )


def build_variant_data(of: Variant, **changes: object) -> VariantData:
    data = VariantData(
        variant=of,
        model_file=f"/home/someone/models/{of.model}.onnx",
        model_sha256="5d3c" * 16 if of.precision == "as-is" else "476b" * 16,
        size_bytes=1_474_781,
        failure=None,
        provider_used=of.provider,
        placements=(
            Placement("Conv", "CPUExecutionProvider", 10),
            Placement("Gemm", "CPUExecutionProvider", 1),
        ),
        fidelity=_fidelity(of),
        bottleneck=_bound(),
        peak_memory_gib=0.21,
    )
    return msgspec.structs.replace(data, **changes)


def local_run(*, usd_per_hour: float | None = 0.36) -> Run:
    """Two precisions at three batches: the quantised batch 4 is best, one variant misses the SLO, one ended early
    before its first call, and one was left out."""
    plain, small = [variant("as-is", batch) for batch in (1, 4, 16)], [variant("int8-static", b) for b in (1, 4, 16)]
    labelled = np.array([1.0] * 440 + [0.0] * 10)
    quantised = np.array([1.0] * 436 + [0.0] * 14)
    stages = (
        stage(plain[0], "single-stream", 2.0, number=0),
        stage(plain[0], "server", 2.1, number=1),
        stage(plain[1], "single-stream", 6.0, number=2),
        stage(plain[2], "single-stream", 22.0, number=3),
        stage(small[0], "single-stream", 1.0, number=4),
        stage(small[0], "server", 1.1, number=5, check=Check("steady_times", 0.4, 0.25, "share", "WARN")),
        stage(small[1], "single-stream", 2.5, number=6),
    )
    variants = (
        build_variant_data(plain[0], cold_starts=_cold_starts(), accuracy=compute_accuracy(labelled, None, "top-1")),
        build_variant_data(plain[1], accuracy=compute_accuracy(labelled, labelled, "top-1")),
        build_variant_data(plain[2], accuracy=compute_accuracy(labelled, labelled, "top-1")),
        build_variant_data(small[0], accuracy=compute_accuracy(quantised, labelled, "top-1")),
        build_variant_data(
            small[1], accuracy=compute_accuracy(quantised, labelled, "top-1"), notes=("calibrated with 128 rows.",)
        ),
        _never_ran(small[2], failure="batch 4 is beyond the SLO already", is_excluded=True),
        _never_ran(
            variant("as-is", 1, provider="cuda"),
            failure="cuda needs an NVIDIA GPU",
            hint="Choose the cpu provider.",
        ),
    )
    evaluated = stages[-1].metrics["service_ms"]["p99"]
    return run_of(
        stages,
        LocalResult(
            variants=variants,
            batch_models=(_build_batch_model(plain[0]),),
            best=small[1],
            best_reason=None,
            usd_per_hour=usd_per_hour,
        ),
        slo=(ObjectiveResult(SLO, evaluated, "PASS", stages[-1].name),),
    )


def run_of_one_variant() -> Run:
    """Five seconds of one model: no labels, no SLO, no price, no cold starts."""
    only = variant()
    bare = build_variant_data(only, fidelity=None, bottleneck=None, peak_memory_gib=None)
    return run_of((stage(only, "single-stream", 2.0),), LocalResult(variants=(bare,), best=only))


def run_of_failed_variants() -> Run:
    """A run in which no variant could be opened."""
    variants = tuple(_never_ran(variant("as-is", batch), failure="out of memory") for batch in (1, 8))
    check = Check("variants", 0, 1, "measured", "INVALID", "Not one variant could be measured.")
    local = LocalResult(variants=variants, best_reason="not_trusted")
    return run_of((), local, validity=(check,))


def run_with_fallback_nodes() -> Run:
    """A run on CUDA with half of its nodes on the CPU: INVALID, beside a valid variant."""
    astray, plain = variant("as-is", provider="cuda"), variant("as-is")
    check = Check("provider", "cuda; Conv on CPUExecutionProvider", "cuda", None, "INVALID", "Measure on another.")
    placements = (
        Placement("Conv", "CPUExecutionProvider", 10, is_fallback=True),
        Placement("Gemm", "CUDAExecutionProvider", 1),
    )
    stages = (
        stage(astray, "single-stream", 1.0, check=check),
        stage(plain, "single-stream", 2.0, number=1),
    )
    local = LocalResult(
        variants=(build_variant_data(astray, placements=placements), build_variant_data(plain)), best=plain
    )
    return run_of(stages, local, validity=(check,))


def run_of(
    stages: tuple[Stage, ...],
    local: LocalResult,
    *,
    slo: tuple[ObjectiveResult, ...] = (),
    validity: tuple[Check, ...] = (Check("clock", 2.1, 500.0, "ppm", "VALID"),),
) -> Run:
    base = full_run()
    result: Result = msgspec.structs.replace(
        base.result,
        run_id="20261125-103735-digits-here-5f9e",
        name="digits-here",
        target=Target("local", (), "digits", Hardware("this machine (2 vCPUs, x86_64)", vcpus=2)),
        verdict=compute_verdict(validity) if validity else Verdict("VALID"),
        validity=validity,
        stages=mark_variant_headlines([one.objective for one in slo], stages),
        max_rate=None,
        slo=slo,
        gates=(),
        plan=None,
        local=local,
        exit=Exit(0, ()),
    )
    return Run(result, ROWS, base.telemetry.iloc[:400])


def _never_ran(of: Variant, **changes: object) -> VariantData:
    nothing = {"provider_used": None, "placements": (), "fidelity": None, "bottleneck": None, "peak_memory_gib": None}
    return build_variant_data(of, **{**nothing, **changes})


def _around(value: float) -> Estimate:
    return Estimate(value, (0.97 * value, 1.03 * value), n=_CALLS)


def _fidelity(of: Variant) -> Fidelity:
    is_equal = of.precision == "as-is"
    return Fidelity(
        rows=64,
        top1_agreement=estimate_proportion(64 if is_equal else 63, 64),
        cosine_mean=1.0 if is_equal else 0.9991,
        cosine_min=1.0 if is_equal else 0.9972,
        max_abs=0.0 if is_equal else 0.21,
        sqnr_db=None if is_equal else 34.1,
        kl_mean=0.0 if is_equal else 0.0003,
        kl_p99=None,
        is_equal=is_equal,
    )


def _bound() -> Bottleneck:
    return Bottleneck(
        limit="compute",
        sentence="compute bound: 200 GFLOP/s are 80 % of the 250 GFLOP/s measured on this CPU with 1 thread",
        flops_per_s=200e9,
        bytes_per_s=1e9,
        flops_per_byte=200.0,
        roof_share=0.8,
        peaks=_PEAKS,
    )


def _cold_starts() -> tuple[VariantColdStart, ...]:
    return tuple(
        VariantColdStart(
            is_cached=is_cached,
            process_ms=20.0 + extra,
            library_load_ms=150.0 + extra,
            session_build_ms=(4.0 if is_cached else 12.0) + extra,
            first_inference_ms=5.0 + extra,
        )
        for is_cached in (False, True)
        for extra in (0.0, 10.0)
    )


def _build_batch_model(of: Variant) -> BatchModel:
    return BatchModel(
        variant=of,
        t0_ms=Estimate(0.7, (0.5, 0.9), n=3),
        t1_ms=Estimate(1.33, (1.3, 1.36), n=3),
        r2=0.9996,
        batches=(1, 4, 16),
    )
