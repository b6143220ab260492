"""Convert a run to llm-d Benchmark Reports, one report per load point."""

from __future__ import annotations

from datetime import datetime, timedelta

from app.records.result import Estimate, Result, Stage
from app.records.stage_kinds import STAGE_KINDS
from app.reporting.load import format_stage_name
from reports import llm_d
from reports.llm_d import LlmdReport, SequenceLength, Statistics, Unit

_PERCENTILE_FIELDS = {"p50": "p50", "p90": "p90", "p95": "p95", "p99": "p99", "p99_9": "p99p9", "max": "max"}
_UNKNOWN = "unknown"


def build_llm_d_reports(result: Result, spec_text: str) -> tuple[LlmdReport, ...]:
    """Return one report per stage that sent load to an endpoint, in order of execution.

    Warm-ups and pooled stages are excluded, because they are not load points. Latency and TTFT are
    measured from the scheduled start. If no scheduled start is known, they are measured from the
    send.
    """
    measured_stages = (
        stage for stage in result.stages if stage.variant is None and STAGE_KINDS[stage.kind].is_measured
    )
    load_points = [stage for stage in measured_stages if not stage.is_pooled]
    return tuple(_build_report(result, stage, index, spec_text) for index, stage in enumerate(load_points))


def _build_report(result: Result, stage: Stage, index: int, spec_text: str) -> LlmdReport:
    return LlmdReport(
        version=llm_d.VERSION,
        run=_build_run(result, stage, index),
        scenario=llm_d.Scenario(stack=(_build_endpoint(result),), load=_build_load(result, stage, index, spec_text)),
        results=llm_d.Results(request_performance=llm_d.RequestPerformance(aggregate=_build_aggregate(stage))),
    )


def _build_run(result: Result, stage: Stage, index: int) -> llm_d.Run:
    reasons_text = "".join(f"; {reason}" for reason in stage.verdict.reasons)
    return llm_d.Run(
        uid=f"{result.run_id}-{index}",
        eid=result.run_id,
        time=_build_time(result, stage),
        description=f"{result.name}, {format_stage_name(stage)}: measurement {stage.verdict.status}{reasons_text}",
        keywords=("sizewise", stage.kind, stage.verdict.status),
    )


def _build_time(result: Result, stage: Stage) -> llm_d.RunTime:
    run_start, run_start_ns = datetime.fromisoformat(result.clock.wall_start), result.clock.monotonic_start_ns
    start_time, end_time = (
        run_start + timedelta(microseconds=(time_ns - run_start_ns) / 1e3)
        for time_ns in (stage.window.start_ns, stage.window.end_ns)
    )
    return llm_d.RunTime(
        start=start_time.isoformat(),
        end=end_time.isoformat(),
        duration=f"PT{(end_time - start_time).total_seconds():.6f}S",
    )


def _build_endpoint(result: Result) -> llm_d.Component:
    target, hardware = result.target, result.target.hardware
    return llm_d.Component(
        metadata=llm_d.StackMetadata(
            label="endpoint",
            cfg_id=result.profile_hash,
            description=hardware.description if hardware else None,
        ),
        standardized=llm_d.ServingStack(
            kind="generic",
            tool=target.protocol,
            tool_version=_UNKNOWN,
            model=target.model,
            accelerator=hardware.accelerator if hardware else None,
            accelerator_count=hardware.accelerator_count if hardware and hardware.accelerator else None,
            replicas=hardware.replicas if hardware else None,
        ),
        native=llm_d.Native(),
    )


def _build_load(result: Result, stage: Stage, index: int, spec_text: str) -> llm_d.LoadConfig | None:
    input_length, output_length = (
        _build_sequence_length(stage, "input_tokens"),
        _build_sequence_length(stage, "output_tokens"),
    )
    if input_length is None:
        return None
    return llm_d.LoadConfig(
        metadata=llm_d.Metadata(cfg_id=result.profile_hash, description=stage.arrivals),
        standardized=llm_d.StandardLoad(
            tool=result.tool.name,
            tool_version=result.tool.version,
            source="unknown",
            parallelism=max(1, len(stage.workers)),
            stage=index,
            input_seq_len=input_length,
            output_seq_len=output_length,
            rate_qps=None if stage.sessions else stage.scheduled_per_s,
            concurrency=stage.concurrency,
        ),
        native=llm_d.Native(config=spec_text or None),
    )


def _build_sequence_length(stage: Stage, metric: str) -> SequenceLength | None:
    estimates = stage.metrics.get(metric, {})
    mean, max_value = _get_value(estimates, "mean"), _get_value(estimates, "max")
    if mean is None:
        return None
    return SequenceLength(distribution="other", value=mean, max=None if max_value is None else max(1, round(max_value)))


def _build_aggregate(stage: Stage) -> llm_d.Aggregate:
    failed_count = sum(stage.errors.values())
    return llm_d.Aggregate(
        requests=llm_d.Requests(
            total=stage.completed + failed_count,
            failures=failed_count,
            input_length=_build_statistics(stage, "input_tokens", "count"),
            output_length=_build_statistics(stage, "output_tokens", "count"),
        ),
        latency=llm_d.Latency(
            time_to_first_token=_build_statistics(stage, "ttft_ms", "ms")
            or _build_statistics(stage, "ttft_service_ms", "ms"),
            time_per_output_token=_build_statistics(stage, "tpot_ms", "ms/token"),
            inter_token_latency=_build_statistics(stage, "itl_ms", "ms/token"),
            request_latency=_build_statistics(stage, "latency_ms", "ms")
            or _build_statistics(stage, "service_ms", "ms"),
        ),
        throughput=llm_d.Throughput(
            output_token_rate=_build_rate(stage, "output_tokens_per_s", "tokens/s"),
            request_rate=_build_rate(stage, "completed_per_s", "queries/s"),
        ),
    )


def _build_statistics(stage: Stage, metric: str, unit: Unit) -> Statistics | None:
    estimates = stage.metrics.get(metric, {})
    mean = _get_value(estimates, "mean")
    if mean is None:
        return None
    return Statistics(
        units=unit,
        mean=mean,
        **{field: _get_value(estimates, aggregate) for aggregate, field in _PERCENTILE_FIELDS.items()},
    )


def _build_rate(stage: Stage, metric: str, unit: Unit) -> Statistics | None:
    value = _get_value(stage.metrics.get(metric, {}), "value")
    return None if value is None else Statistics(units=unit, mean=value)


def _get_value(estimates: dict[str, Estimate], aggregate: str) -> float | None:
    return estimates[aggregate].value if aggregate in estimates else None
