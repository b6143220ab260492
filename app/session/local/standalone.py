"""Standalone measurement of an embedded endpoint's model before the endpoint serves it. The calls
are sequential, one batch size after another."""

from __future__ import annotations

from functools import partial

import msgspec
import pyarrow as pa

from app.analysis.local.accuracy import compute_accuracy
from app.analysis.local.call_stages import summarize_calls
from app.analysis.validity import check_execution_provider, compute_verdict, list_fallback_nodes
from app.inference.job import CallRows, Measure, MeasurementStarted, VariantOpened
from app.records.calls import CallStage, unpack_calls
from app.records.estimate import Estimate, Variant
from app.records.result import Check, Stage
from app.session.dependencies import SessionDependencies
from app.session.interruption import Interruption
from app.session.local.references import decode_scores
from app.session.local.variant_stages import CallProgress
from app.session.run_log import RunLog
from app.session.spec import StandaloneModelSpec

_OPEN_TIMEOUT_S = 60.0
_SCORE_TIMEOUT_S = 120.0
_TARGET_HALF_WIDTH = 0.02
_MIN_DURATION_SHARE = 0.5


class StandaloneResult(msgspec.Struct, frozen=True):
    """Stages of the standalone measurement. The first stage also contains the accuracy and the
    cold-start times."""

    stages: tuple[Stage, ...]
    provider_check: Check


def measure_standalone(
    spec: StandaloneModelSpec, dependencies: SessionDependencies, run_log: RunLog, interruption: Interruption
) -> StandaloneResult:
    """Measure the model of the embedded endpoint without the endpoint.

    In events, the stages of the standalone measurement have negative indices, because the stages of
    the run start at 0. Raises UsageError, UnavailableError or MeasurementError."""
    assert dependencies.start_standalone_model is not None
    running_variant = dependencies.start_standalone_model(spec.job)
    interruption.set_stop_callback(lambda _: running_variant.kill())
    try:
        opened_report = running_variant.wait_until_open(_OPEN_TIMEOUT_S)
        provider_check = _build_provider_check(spec, opened_report)
        stages = []
        for index, batch in enumerate(spec.batches):
            packed_rows: list[bytes] = []
            started_reports: list[MeasurementStarted] = []
            plan, variant = _build_measure_plan(spec, batch), _build_variant(spec, opened_report, batch)
            progress = CallProgress(index - len(spec.batches), plan, variant, run_log, dependencies.now_ns)
            measured_report = running_variant.measure(
                plan, partial(_on_report, index, packed_rows, started_reports, progress)
            )
            stage_data = CallStage(
                index=index,
                variant=variant,
                scenario="single-stream",
                start_ns=started_reports[0].start_ns,
                end_ns=measured_report.end_ns,
                warmup_windows=started_reports[0].warmup_windows,
                is_stationary=started_reports[0].is_stationary,
                half_width=measured_report.half_width,
                target_half_width=_TARGET_HALF_WIDTH,
            )
            calls = pa.Table.from_batches([unpack_calls(index, b"".join(packed_rows))])
            stages.append(_finalize_stage(summarize_calls(calls, stage_data, (provider_check,)), provider_check))
        cold_start_metrics = _build_cold_start_metrics(opened_report)
        if spec.job.label is not None:
            scores = decode_scores(running_variant.score(_SCORE_TIMEOUT_S))
            cold_start_metrics["accuracy"] = {"value": compute_accuracy(scores.values, None, scores.metric).value}
    finally:
        running_variant.close()
    first_stage = msgspec.structs.replace(stages[0], metrics={**stages[0].metrics, **cold_start_metrics})
    return StandaloneResult((first_stage, *stages[1:]), provider_check)


def _on_report(
    index: int,
    packed_rows: list[bytes],
    started_reports: list[MeasurementStarted],
    progress: CallProgress,
    report: MeasurementStarted | CallRows,
) -> None:
    match report:
        case MeasurementStarted():
            started_reports.append(report)
        case CallRows(packed=packed):
            packed_rows.append(packed)
            progress.report_rows(unpack_calls(index, packed), started_reports[0].start_ns if started_reports else None)


def _build_measure_plan(spec: StandaloneModelSpec, batch: int) -> Measure:
    return Measure(
        scenario="single-stream",
        batch=batch,
        streams=1,
        min_duration_s=spec.max_duration_s * _MIN_DURATION_SHARE,
        max_duration_s=spec.max_duration_s,
        half_width=_TARGET_HALF_WIDTH,
        min_calls=1,
        max_warmup_s=spec.max_duration_s,
    )


def _finalize_stage(stage: Stage, provider_check: Check) -> Stage:
    """Return a standalone stage that is named after its batch size and has the provider check as
    its only check. Other checks do not apply, because standalone stages are short and not part of
    the headline."""
    assert stage.variant is not None
    name = f"batch {stage.variant.batch}"
    return msgspec.structs.replace(
        stage, name=name, checks=(provider_check,), verdict=compute_verdict((provider_check,))
    )


def _build_variant(spec: StandaloneModelSpec, opened_report: VariantOpened, batch: int) -> Variant:
    return Variant(spec.name, opened_report.provider_used, "as-is", batch, spec.job.settings.threads)


def _build_provider_check(spec: StandaloneModelSpec, opened_report: VariantOpened) -> Check:
    return check_execution_provider(
        spec.job.provider,
        opened_report.provider_used,
        list_fallback_nodes(opened_report.placements),
        opened_report.provider_reason,
    )


def _build_cold_start_metrics(opened_report: VariantOpened) -> dict[str, dict[str, Estimate]]:
    durations_ms_by_name = {
        "library_load_ms": opened_report.library_load_ms,
        "session_build_ms": opened_report.session_build_ms,
        "first_inference_ms": opened_report.first_inference_ms,
    }
    return {name: {"value": Estimate(value, n=1)} for name, value in durations_ms_by_name.items()}
