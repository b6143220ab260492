"""A run of a language model on this machine, built from steps with simple durations."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.analysis.local.call_stages import summarize_calls
from app.analysis.local.generation import check_drift
from app.analysis.validity import compute_verdict
from app.records.calls import CallStage
from app.records.estimate import Estimate, Variant
from app.records.generation import TextQuality
from app.records.local import Bottleneck, GenerationTest, LanguageModelData, LocalResult, VariantColdStart, VariantData
from app.records.result import Check, Objective, ObjectiveResult, Stage, Target
from tests.fakes.calls import table_of
from tests.fakes.local_runs import run_of
from tests.fakes.results import START_NS, Run
from tests.fakes.steps import steps

SLO = Objective("itl_ms.p50 < 20", "itl_ms", "p50", "<", 20.0)
TESTS = (GenerationTest(512, 0), GenerationTest(0, 16), GenerationTest(512, 16), GenerationTest(0, 16, 1024))
REPETITIONS = 6


def variant(batch: int = 1) -> Variant:
    return Variant("tiny-decoder", "cpu", "as-is", batch, 1)


def measured_stage(
    of: Variant, test: GenerationTest, *, repeat: int = 1, slower: float = 1.0, repetitions: int = REPETITIONS
) -> Stage:
    """Repetitions of a prefill of 200 ms and steps of 10 ms, with some spread; twice as long for each further sequence
    of the batch, and half as long again per 1024 tokens of depth."""
    rows, at_ms = [], 1.0
    for repetition in range(repetitions):
        spread = slower * of.batch * (1 + test.depth / 2048) * (1 + 0.01 * (repetition % 3))
        prefill_ms = 200 * spread if test.prompt_tokens else None
        gaps_ms = [10 * spread] * (test.output_tokens - (prefill_ms is not None)) if test.output_tokens else []
        rows += steps(repetition, at_ms, gaps_ms, prefill_ms=prefill_ms)
        at_ms = rows[-1][-1] + 1
    stage = summarize_calls(
        table_of(rows),
        CallStage(
            index=0,
            variant=of,
            scenario="generation",
            start_ns=10**9,
            end_ns=10**9 + round(at_ms * 1e6),
            warmup_windows=3,
            is_stationary=True,
            half_width=0.01,
            target_half_width=0.02,
            test=test,
            repeat=repeat,
        ),
    )
    window = msgspec.structs.replace(
        stage.window, start_ns=START_NS, end_ns=START_NS + stage.window.end_ns - stage.window.start_ns
    )
    return msgspec.structs.replace(stage, window=window)


def quality(perplexity: float, *, reference: float | None = None) -> TextQuality:
    """The quality on a text; compared with the perplexity of the reference if there is one."""
    predicted = TextQuality(
        tokens=999,
        window_tokens=512,
        stride_tokens=256,
        perplexity=Estimate(perplexity, (perplexity - 1, perplexity + 1), 999),
    )
    if reference is None:
        return predicted
    ratio = perplexity / reference
    return msgspec.structs.replace(
        predicted,
        perplexity_ratio=Estimate(ratio, (ratio - 0.01, ratio + 0.01), 999),
        token_agreement=Estimate(0.95, (0.93, 0.97), 999),
        kl_mean=Estimate(0.005, (0.004, 0.006), 999),
    )


def bottleneck(limit: Literal["compute", "memory"]) -> Bottleneck:
    return Bottleneck(
        limit=limit,
        sentence=f"{limit} bound: 80 % of the peak",
        flops_per_s=2e10,
        bytes_per_s=1e10,
        flops_per_byte=2.0,
        roof_share=0.8,
        peaks=None,
    )


def language_model(predictions: TextQuality) -> LanguageModelData:
    return LanguageModelData(
        architecture="llama",
        context=4096,
        weight_bytes=20_000_000,
        kv_bytes_per_token=4096,
        parameters=5_245_184,
        kv_cache_bytes=1040 * 4096,
        prefill_bottleneck=bottleneck("compute"),
        quality=predictions,
        opened_memory_bytes=150 * 2**20,
    )


def build_variant_data(of: Variant, **changes: object) -> VariantData:
    data = VariantData(
        variant=of,
        model_file="/home/someone/models/tiny-decoder",
        model_sha256="5d3c" * 16,
        size_bytes=20_800_000,
        failure=None,
        provider_used="cpu",
        cold_starts=(
            VariantColdStart(
                is_cached=False, process_ms=20, library_load_ms=150, session_build_ms=300, first_inference_ms=5
            ),
        ),
        language_model=language_model(quality(3.0)),
        peak_memory_gib=0.25,
    )
    return msgspec.structs.replace(data, **changes)


def language_model_run(
    *, usd_per_hour: float | None = None, tests: tuple[GenerationTest, ...] = TESTS, repetitions: int = REPETITIONS
) -> Run:
    """Batch sizes 1 and 2, and a third that failed. Batch 1 is best: the SLO limits the ITL, and a step of two
    sequences takes twice as long. Its last measurement shows a drift of a fifth."""
    single, double, failed = variant(1), variant(2), variant(64)
    stages = [measured_stage(of, test, repetitions=repetitions) for of in (single, double) for test in tests]
    drifting = measured_stage(single, tests[0], repeat=2, slower=1.2)
    checks = (*drifting.checks, check_drift(stages[0], drifting))
    stages.insert(len(tests), msgspec.structs.replace(drifting, checks=checks, verdict=compute_verdict(checks)))
    evaluated = max(
        (stage for stage in stages if stage.variant == single and "itl_ms" in stage.metrics),
        key=lambda stage: stage.metrics["itl_ms"]["p50"].value or 0.0,
        default=None,
    )
    slo = (
        () if evaluated is None else (ObjectiveResult(SLO, evaluated.metrics["itl_ms"]["p50"], "PASS", evaluated.name),)
    )
    run = run_of(
        tuple(stages),
        LocalResult(
            variants=(
                build_variant_data(
                    single, bottleneck=bottleneck("memory"), language_model=language_model(quality(3.0))
                ),
                build_variant_data(double, cold_starts=(), language_model=language_model(quality(3.3, reference=3.0))),
                build_variant_data(
                    failed, failure="out of memory", language_model=None, peak_memory_gib=None, cold_starts=()
                ),
            ),
            best=single,
            usd_per_hour=usd_per_hour,
        ),
        slo=slo,
        validity=(Check("clock", 2.1, 500.0, "ppm", "VALID"),),
    )
    target = Target("local", (), "tiny-decoder", run.result.target.hardware)
    result = msgspec.structs.replace(run.result, name="tiny-decoder", target=target)
    return Run(result, run.rows, run.telemetry)


def with_energy(stage: Stage, joules: float) -> Stage:
    """The stage with a measured energy per output token."""
    energy = {"energy_j_per_output_token": {"value": Estimate(joules, n=10)}}
    return msgspec.structs.replace(stage, metrics=stage.metrics | energy)
