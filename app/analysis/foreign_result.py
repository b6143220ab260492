"""Convert load points measured by another tool to a result that can be reported and compared."""

from __future__ import annotations

from itertools import accumulate

from app.analysis.comparisons.environment_differences import NOT_REPORTED
from app.analysis.headline import mark_headline
from app.records.planning_inputs import GapDistribution, ImportedCurve, MeasuredLoadPoint
from app.records.result import (
    ArrivalKind,
    Check,
    Clock,
    Environment,
    Estimate,
    Exit,
    Result,
    Stage,
    Target,
    Tool,
    Verdict,
    Window,
)

_METRIC_NAMES = {"latency": "latency_ms", "ttft": "ttft_ms", "tpot": "tpot_ms", "itl": "itl_ms"}
_NO_INTERVAL = "the file contains no interval"
_UNKNOWN_ENVIRONMENT = Environment(
    host=NOT_REPORTED, os=NOT_REPORTED, python=NOT_REPORTED, cpu_model=None, cpu_architecture=NOT_REPORTED,
    physical_cores=None, logical_cores=0, memory_gib=0.0, cpu_governor=None,
    cpu_limit_cores=None, gpus=(), nvidia_driver=None,
    onnxruntime=None, providers=(), packages={}, clock_resolution_ns=0, fingerprint=NOT_REPORTED,
)  # fmt: skip
"""Environment of a run that another tool measured. No value is known, because the tool's files do
not describe the machine."""


def build_foreign_result(curve: ImportedCurve) -> Result:
    """Convert a load curve measured by another tool to a result. Values are copied from the tool,
    without confidence intervals. The verdict is WARN, because Sizewise did not check the
    measurement."""
    ends_s = list(accumulate(point.duration_s or 0.0 for point in curve.load_points))
    stages = tuple(_build_stage(point, end_s) for point, end_s in zip(curve.load_points, ends_s, strict=True))
    tool_text = curve.tool if curve.version is None else f"{curve.tool} {curve.version}"
    reason = f"the run was measured by {tool_text} and not checked by Sizewise"
    check = Check("measured_by", tool_text, None, None, "WARN", "Measure with `sizewise run` to get validity checks.")
    return Result(
        tool=Tool(curve.tool, curve.version or NOT_REPORTED),
        run_id=curve.source,
        name=curve.source,
        profile_hash=NOT_REPORTED,
        target=Target("an endpoint", (), curve.model, None),
        environment=_UNKNOWN_ENVIRONMENT,
        clock=Clock(0, NOT_REPORTED, ends_s[-1] if ends_s else 0.0, None),
        verdict=Verdict("WARN", (reason,)),
        validity=(check,),
        stages=mark_headline(stages),
        max_rate=None,
        slo=(),
        gates=(),
        plan=None,
        notes=curve.notes,
        artifacts=(),
        exit=Exit(0, ()),
    )


def _build_stage(point: MeasuredLoadPoint, end_s: float) -> Stage:
    """Convert one load point to a stage. The rate or number of clients becomes the name of the
    stage, so that stages of two files can be matched."""
    is_open_loop = point.offered_per_s is not None
    load_text = f"{point.offered_per_s:.4g}/s" if is_open_loop else _format_clients(point)
    failed_count, completed_count = point.failed or 0, point.completed or 0
    sent_count = failed_count + completed_count
    metrics = {
        _METRIC_NAMES[latency_name]: {aggregate: Estimate(1000 * value) for aggregate, value in estimates.items()}
        for latency_name, estimates in point.latencies_s.items()
    }
    if point.completed is not None and point.failed is not None and sent_count:
        metrics["error_rate"] = {"value": Estimate(failed_count / sent_count, n=sent_count)}
    for metric_name, mean in (("input_tokens", point.input_tokens_mean), ("output_tokens", point.output_tokens_mean)):
        if mean is not None:
            metrics[metric_name] = {"mean": Estimate(mean)}
    return Stage(
        name=load_text,
        kind="steady" if is_open_loop else "closed",
        repeat=1,
        tags={},
        variant=None,
        window=Window(round(1e9 * (end_s - (point.duration_s or 0.0))), round(1e9 * end_s)),
        offered_per_s=Estimate(
            point.offered_per_s, reason=None if is_open_loop else "a closed loop has no offered rate"
        ),
        achieved_per_s=Estimate(point.achieved_per_s),
        good_per_s=Estimate(None, reason="no SLO was evaluated"),
        completed=completed_count,
        errors={"failed": failed_count} if failed_count else {},
        metrics=metrics | {"completed_per_s": {"value": Estimate(point.achieved_per_s)}},
        verdict=Verdict("WARN", (_NO_INTERVAL,)),
        scheduled_per_s=point.offered_per_s,
        concurrency=None if point.clients is None else max(1, round(point.clients)),
        arrivals=_ARRIVALS_TEXTS[point.gaps] if is_open_loop else "closed loop",
        arrival_kind=_ARRIVAL_KINDS.get(point.gaps) if is_open_loop else "closed",
    )


_ARRIVALS_TEXTS: dict[GapDistribution, str] = {"random": "Poisson (assumed)", "even": "constant", "other": "bursty"}
_ARRIVAL_KINDS: dict[GapDistribution, ArrivalKind] = {"random": "poisson", "even": "constant"}


def _format_clients(point: MeasuredLoadPoint) -> str:
    if point.clients is None:
        return "all at once"
    return "1 client" if point.clients == 1 else f"{point.clients:g} clients"
