"""Convert a run to report data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from app.analysis.objectives import format_objective
from app.analysis.rows import StageRows
from app.records.bundle import Labels
from app.records.result import Result, Stage
from app.records.stage_kinds import STAGE_KINDS
from app.reporting.comparison import build_comparison_section
from app.reporting.load import (
    build_breakdown_section,
    build_curve_labels,
    build_load_tiles,
    build_objective_rows,
    build_sections,
    build_stage_row,
    build_steady_rows,
    choose_latency_metric,
    find_headline_stage,
    find_headline_stages,
)
from app.reporting.local import build_local_section, build_local_tiles, build_model_section
from app.reporting.machine import build_telemetry_series, build_worker_rows, list_environment_entries
from app.reporting.method import MethodSpec, describe_method, read_spec
from app.reporting.metric_sections import fill_metric_sections
from app.reporting.plan import build_plan_section, build_shape_plan_section
from app.reporting.quantities import build_check_row, build_quantity
from app.reporting.request_classes import build_class_section
from app.reporting.rows import (
    build_distributions,
    build_error_rows,
    build_group_tables,
    build_heat_map,
    build_load_series,
    build_spectra,
    read_request_times,
)
from app.reporting.verdict import build_verdict, format_reevaluated
from reports import formatting, model
from reports.plan_section import SourceRow
from reports.sections.comparison import ComparisonSection

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_NO_LABELS = Labels()
_UNTESTED_RATES_NOTE = (
    "No higher rate was tested, so the fleet may be larger than needed. Run a search or higher stages to find the max "
    "rate of one replica."
)


def build_report(
    result: Result,
    rows: pd.DataFrame | pa.Table,
    telemetry: pd.DataFrame,
    spec_text: str,
    command: str,
    result_json: str,
    labels: Labels = _NO_LABELS,
    *,
    stage_rows: StageRows | None = None,
    unverified_files: Sequence[str] = (),
) -> model.Report:
    """Build the report of a complete or interrupted run.

    `rows` and `telemetry` may be empty. `stage_rows` contains the decoded rows that charts should
    show; by default, charts show all `rows`. `unverified_files` lists the files in the run
    directory that have no checksum.
    """
    spec, request_times = read_spec(spec_text), read_request_times(rows, result, stage_rows)
    latency_metric, start_ns = choose_latency_metric(result), result.time_zero_ns
    load_stages = tuple(stage for stage in result.stages if stage.variant is None)
    curve = build_curve_labels(result)
    model_section, headline_stages = build_model_section(result), find_headline_stages(result)
    pooled_stages = _select_poolable_stages(headline_stages, find_headline_stage(result, curve))
    report = model.Report(
        header=_build_header(result),
        verdict=build_verdict(result),
        tiles=_build_tiles(result, curve, model_section),
        checks=tuple(build_check_row(check) for check in result.validity),
        objectives=build_objective_rows(result),
        model=model_section,
        stages=tuple(build_stage_row(stage, curve, latency_metric, start_ns) for stage in load_stages),
        max_rate=_build_max_rate_section(result),
        curve=curve,
        load=build_load_series(request_times, latency_metric),
        telemetry=build_telemetry_series(telemetry, start_ns),
        spectra=build_spectra(request_times, pooled_stages),
        errors=build_error_rows(request_times, result.stages),
        plan=_build_plan(result),
        shape_plan=None if result.shape_plan is None else build_shape_plan_section(result.shape_plan),
        method=describe_method(result, spec, telemetry),
        environment=list_environment_entries(result),
        reproduce=_build_reproduce(spec, command, spec_text),
        artifacts=_build_artifact_rows(result),
        result_json=result_json,
        times=latency_metric,
        classes=build_class_section(result, find_headline_stage(result, curve), latency_metric),
        steady=build_steady_rows(load_stages, latency_metric, start_ns),
        breakdown=build_breakdown_section(find_headline_stage(result, curve)),
        local=build_local_section(result),
        groups=build_group_tables(rows, headline_stages, result.target.urls),
        workers=build_worker_rows(result),
        comparison=_build_comparison(result),
        selftest=_build_selftest_row(result),
        distributions=build_distributions(request_times, pooled_stages),
        heat_map=build_heat_map(request_times, latency_metric),
    )
    report = msgspec.structs.replace(fill_metric_sections(report, load_stages), **build_sections(result, load_stages))
    return apply_labels(report, result, labels, unverified_files)


def apply_labels(
    report: model.Report, result: Result, labels: Labels, unverified_files: Sequence[str] = ()
) -> model.Report:
    """Return the report with the current title, tags and notes of the run, which replace those of
    the report."""
    return msgspec.structs.replace(
        report,
        header=msgspec.structs.replace(report.header, user_title=labels.title or None),
        notes=(
            *_format_reevaluation_notes(result),
            *_format_unverified_notes(unverified_files),
            *map(_format_sentence, result.notes),
            *_format_label_notes(labels),
        ),
    )


def _build_comparison(result: Result) -> ComparisonSection | None:
    return None if result.comparison is None else build_comparison_section(result.comparison)


def _build_plan(result: Result) -> model.PlanSection | None:
    """Build the section of the plan; `None` without a plan. If the max rate of the run is only a
    lower bound, the section has a warning that the capacity of the plan is the highest tested
    rate."""
    if result.plan is None:
        return None
    section = build_plan_section(result.plan, _build_plan_source_rows(result))
    if result.max_rate is None or not result.max_rate.is_lower_bound:
        return section
    return msgspec.structs.replace(section, notes=(_UNTESTED_RATES_NOTE, *section.notes))


def _build_plan_source_rows(result: Result) -> tuple[SourceRow, ...]:
    """Return the run as the measurement on which its plan is based, with the name that the plan
    uses for the run; empty if unknown."""
    hardware = result.target.hardware
    recommendation = result.plan.recommendation if result.plan else None
    if hardware is None or recommendation is None or recommendation.fleet.measured_on is None:
        return ()
    section = _build_max_rate_section(result)
    max_rate = model.Quantity(None, "1/s") if section is None else section.per_s
    name, validity = recommendation.fleet.measured_on, result.verdict.status
    return (SourceRow(name=name, hardware=hardware.description, max_rate=max_rate, validity=validity),)


def _build_artifact_rows(result: Result) -> tuple[model.ArtifactRow, ...]:
    return tuple(model.ArtifactRow(path=artifact.path, sha256=artifact.sha256) for artifact in result.artifacts)


def _select_poolable_stages(stages: tuple[Stage, ...], headline_stage: Stage | None) -> tuple[Stage, ...]:
    """Return the headline stages whose responses can be pooled into one distribution.

    Only stages with the same arrival process and rate as `headline_stage` are pooled. If
    `headline_stage` is a closed-loop stage or a stage with a changing rate, it is not pooled with
    another stage.
    """
    if headline_stage is None:
        return stages
    if STAGE_KINDS[headline_stage.kind].has_variable_rate:
        return (headline_stage,)
    return tuple(stage for stage in stages if _get_load_key(stage) == _get_load_key(headline_stage))


def _get_load_key(stage: Stage) -> tuple[object, ...]:
    return stage.arrival_kind, stage.arrival_cv, stage.scheduled_per_s, stage.sessions


def _format_sentence(note: str) -> str:
    return f"{note[:1].upper()}{note[1:]}{'' if note.endswith(('.', '!', '?')) else '.'}"


def _build_selftest_row(result: Result) -> model.SelfTestRow | None:
    selftest = result.selftest
    if selftest is None:
        return None
    return model.SelfTestRow(id=selftest.id, at=selftest.at, passed=selftest.passed, failed=selftest.failed)


def _format_reevaluation_notes(result: Result) -> Iterator[str]:
    if result.reevaluation is not None:
        yield f"{format_reevaluated(result.reevaluation)}."


def _format_unverified_notes(files: Sequence[str]) -> Iterator[str]:
    if files:
        names = ", ".join(files)
        yield f"These files are not verified: {names}. The run has no checksums for them, so damage cannot be detected."


def _format_label_notes(labels: Labels) -> Iterator[str]:
    """Yield the tags and notes that users have added to the run, as sentences."""
    if labels.tags:
        noun_text = "tag" if len(labels.tags) == 1 else "tags"
        yield f"The run has the {noun_text} {', '.join(labels.tags)}."
    for note in labels.notes:
        yield _format_sentence(f"Note of {note.at}: {note.text}")


def _build_header(result: Result) -> model.ReportHeader:
    target = result.target
    return model.ReportHeader(
        title=result.name,
        run_id=result.run_id,
        started=result.clock.wall_start,
        duration_s=result.clock.duration_s,
        tool=f"{result.tool.name} {result.tool.version}",
        profile_hash=result.profile_hash,
        target=_format_target(result),
        hardware=target.hardware.description if target.hardware else None,
        accelerator_count=(target.hardware.accelerator_count or None) if target.hardware else None,
    )


def _format_target(result: Result) -> str:
    target = result.target
    endpoint_text = f"{target.protocol} at {', '.join(target.urls)}" if target.urls else target.protocol
    if result.local is not None:
        return f"{target.model}, local model" if target.model else "local model"
    return f"{target.model} over {endpoint_text}" if target.model else endpoint_text


def _build_max_rate_section(result: Result) -> model.MaxRateSection | None:
    max_rate = result.max_rate
    if max_rate is None:
        return None
    per_s = build_quantity(max_rate.per_s, "sessions/s" if max_rate.sessions else "1/s", result.verdict.status)
    return model.MaxRateSection(
        per_s=per_s,
        slo=max_rate.slo,
        limited_by=max_rate.limited_by,
        is_lower_bound=max_rate.is_lower_bound,
        is_generator_limit=max_rate.is_generator_limit,
        slo_labels=tuple(map(format_objective, max_rate.slo)),
        has_failed_rate=max_rate.failed_per_s is not None,
    )


def _build_tiles(
    result: Result, curve: model.CurveLabels, model_section: model.ModelSection | None
) -> tuple[model.HeadlineTile, ...]:
    stage = find_headline_stage(result, curve)
    load_tiles = build_load_tiles(result, stage) if stage is not None else ()
    return (
        (*_build_max_rate_tiles(result), *load_tiles, *_build_cost_tiles(result))
        or build_local_tiles(result)
        or _build_model_tiles(model_section)
    )


def _build_max_rate_tiles(result: Result) -> tuple[model.HeadlineTile, ...]:
    section = _build_max_rate_section(result)
    if section is None or (section.per_s.value is None and not any(stage.kind == "probe" for stage in result.stages)):
        return ()  # without a search, the max rate is not missing
    if section.is_lower_bound:
        note = "load generator limit" if section.is_generator_limit else "highest rate tested"
        return (model.HeadlineTile(label="Max rate (lower bound)", quantity=section.per_s, note=note),)
    return (model.HeadlineTile(label="Max rate", quantity=section.per_s),)


def _build_cost_tiles(result: Result) -> tuple[model.HeadlineTile, ...]:
    plan = result.plan
    if plan is None or plan.recommendation is None:
        return ()
    fleet = plan.recommendation.fleet
    fleet_text = f"{fleet.instances} × {fleet.offer}"
    cost, cost_note = build_quantity(fleet.usd_per_month, "USD/month"), fleet_text
    if (cost_range := fleet.usd_per_month_needed) is not None:  # the range of a cost that all other places show
        low_text, high_text = formatting.format_money(cost_range.p10), formatting.format_money(cost_range.p90)
        cost, cost_note = msgspec.structs.replace(cost, ci95=None), f"P10–P90: ${low_text}–{high_text}; {fleet_text}"
    return (
        model.HeadlineTile(label="Fleet cost", quantity=cost, note=cost_note),
        model.HeadlineTile(
            label="Cost per 1k inferences", quantity=build_quantity(fleet.usd_per_1k_inferences, "USD"), note=fleet_text
        ),
    )


def _build_model_tiles(model_section: model.ModelSection | None) -> tuple[model.HeadlineTile, ...]:
    if model_section is None:
        return ()
    fastest_batch = max(model_section.batches, key=lambda row: row.throughput.value or 0.0)
    first_batch = model_section.batches[0]
    tiles = [
        model.HeadlineTile(
            label="Model only: throughput", quantity=fastest_batch.throughput, note=f"batch {fastest_batch.batch}"
        ),
        model.HeadlineTile(
            label="Model only: p50 service time", quantity=first_batch.p50, note=f"batch {first_batch.batch}"
        ),
        model.HeadlineTile(
            label="Model only: p99 service time", quantity=first_batch.p99, note=f"batch {first_batch.batch}"
        ),
    ]
    if model_section.accuracy is not None:
        tiles.append(model.HeadlineTile(label="Model only: accuracy", quantity=model_section.accuracy))
    return tuple(tiles)


def _build_reproduce(spec: MethodSpec, command: str, spec_text: str) -> model.Reproduce:
    return model.Reproduce(command=command, seed=spec.seed, spec_text=spec_text)
