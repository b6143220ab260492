"""Timeline of the load stages: planned rates as a line with draggable handles, and the edits made
by moving a handle. All functions are pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from app.gui.formatting import shorten

if TYPE_CHECKING:
    from app.profiles.load import StageSettings

Stage = Mapping[str, Any]
"""Keys and values of a stage, as in the YAML."""
DragAxis = Literal["x", "y", "both"]
Points = tuple[tuple[float, float], ...]
TraceKey = tuple[str, str, int]
"""Key of a replayed trace: file, speed and number of superposed copies. These values determine the
rates."""
_MIN_DURATION_S = 0.1
_DEFAULT_DURATION_S = 60.0
"""Drawn duration, in seconds, of a stage that replays a whole trace, until the trace has been
read."""
_LOAD_KEYS = ("rate", "ramp", "steps", "spike", "sine", "diurnal", "trace", "concurrency")


class StageHandle(msgspec.Struct, frozen=True):
    """Draggable handle that sets the value `field` of a stage. `start_s` is the start of the stage
    after its lead-in, in seconds from the start of the load."""

    stage_index: int
    field: Literal["rate", "from", "to", "peak", "duration"]
    x: float
    y: float
    name: str
    drag_axis: DragAxis
    start_s: float


class DrawnStage(msgspec.Struct, frozen=True):
    """Stage as drawn in the timeline. `points` is empty if the rate is unknown; `problem` is the
    validation error of the stage."""

    name: str
    start_s: float
    end_s: float
    points: Points
    label: str
    problem: str | None = None


class StageLine(msgspec.Struct, frozen=True):
    stages: tuple[DrawnStage, ...]
    handles: tuple[StageHandle, ...]
    unread_traces: tuple[TraceKey, ...] = ()
    """Traces whose rates have not been read yet."""

    @property
    def total_duration_s(self) -> float:
        return self.stages[-1].end_s if self.stages else 0.0


def find_load_key(stage: Stage) -> str | None:
    """Return the key that defines the load of a stage, such as `rate` or `ramp`, or `None` if the
    stage has no such key."""
    return next((load_key for load_key in _LOAD_KEYS if stage.get(load_key) not in (None, [])), None)


def build_stage_line(stages: Sequence[Stage], directory: Path, traces: Mapping[TraceKey, Points]) -> StageLine:
    """Build the timeline of the load stages. Each stage is drawn only once, even if the stage has
    repeats; its rates start after its lead-in.

    `traces` contains the rates of the traces that have been read.
    """
    drawn_stages: list[DrawnStage] = []
    handles: list[StageHandle] = []
    unread_traces: list[TraceKey] = []
    stage_start_s = 0.0
    for index, stage in enumerate(stages):
        drawn_stage, settings = _draw_stage(stage, stage_start_s, directory, traces)
        drawn_stages.append(drawn_stage)
        if settings is not None:
            handles += _build_handles(index, stage, settings, drawn_stage)
        trace_key = get_trace_key(stage, directory)
        if trace_key is not None and trace_key not in traces and settings is not None:
            unread_traces.append(trace_key)
        stage_start_s = drawn_stage.end_s
    return StageLine(tuple(drawn_stages), tuple(handles), tuple(unread_traces))


def get_trace_key(stage: Stage, directory: Path) -> TraceKey | None:
    path = stage.get("trace")
    if not isinstance(path, str) or not path:
        return None
    copy_count = stage.get("superpose")
    return (
        str((directory / path).resolve()),
        str(stage.get("speed") or "1x"),
        copy_count if isinstance(copy_count, int) else 1,
    )


def read_trace_rates(key: TraceKey) -> Points:
    """Return the rates of a trace as the points of a step curve (time in s, rate in req/s) with up
    to 100 steps of equal length.

    Raises BadValueError if the file is not a trace.
    """
    import numpy as np

    from app.profiles.traces import read_trace
    from app.profiles.units import parse_speed

    arrivals_s = read_trace(Path(key[0])).at_s / parse_speed(key[1])
    edges = np.linspace(0.0, max(float(arrivals_s[-1]), 1e-3), 1 + min(100, max(4, len(arrivals_s) // 20)))
    counts, _ = np.histogram(arrivals_s, edges)
    rates = counts / np.diff(edges) * key[2]
    points: list[tuple[float, float]] = []
    for start, end, rate in zip(edges[:-1], edges[1:], rates, strict=True):
        points += [(float(start), float(rate)), (float(end), float(rate))]
    return tuple(points)


def _draw_stage(
    stage: Stage, stage_start_s: float, directory: Path, traces: Mapping[TraceKey, Points]
) -> tuple[DrawnStage, StageSettings | None]:
    from pydantic import ValidationError

    from app.profiles.load import StageSettings

    name = shorten(str(stage.get("name") or "steady"), 40)
    try:
        # the trace file itself is read in the background
        settings = StageSettings.model_validate(
            dict(stage), context={"directory": directory, "files_must_exist": False}
        )
    except ValidationError as error:
        return DrawnStage(
            name, stage_start_s, stage_start_s + _get_duration_s(stage), (), name, _format_first_error(error)
        ), None
    start_s = stage_start_s + settings.lead_in_s
    trace_key = get_trace_key(stage, directory)
    trace_rates = traces.get(trace_key, ()) if trace_key is not None else ()
    duration_s = settings.max_duration_s or (
        trace_rates[-1][0] - settings.lead_in_s if trace_rates else _DEFAULT_DURATION_S
    )
    curve = settings.curve or trace_rates
    points = _clip(curve, duration_s) if curve else ()
    shifted_points = tuple((start_s + time_s, rate) for time_s, rate in points)
    return DrawnStage(
        name, stage_start_s, start_s + duration_s, shifted_points, _format_label(name, settings)
    ), settings


def _format_label(name: str, settings: StageSettings) -> str:
    from app.records.search import RateShare

    repeats_text = f" ×{settings.repeats}" if settings.repeats > 1 else ""
    if settings.concurrency is not None:
        return f"{name}: {settings.concurrency} clients" + repeats_text
    if isinstance(settings.rate_per_s, RateShare):
        stage_share = settings.rate_per_s
        return f"{name}: {100 * stage_share.fraction:.4g}% of {shorten(stage_share.stage, 30)}" + repeats_text
    return name + repeats_text


def _clip(curve: Points, end_s: float) -> Points:
    points = tuple((time_s, rate) for time_s, rate in curve if time_s <= end_s)
    if not points:
        return ((0.0, curve[0][1]), (end_s, curve[0][1]))
    return points if points[-1][0] == end_s else (*points, (end_s, points[-1][1]))


def _get_duration_s(stage: Stage) -> float:
    from app.profiles.problems import BadValueError
    from app.profiles.units import parse_duration_s

    try:
        return max(_MIN_DURATION_S, parse_duration_s(stage.get("duration") or "10s"))
    except BadValueError:
        return 10.0


def _format_first_error(error: Any) -> str:
    first_error = error.errors()[0]
    cause = first_error.get("ctx", {}).get("error")
    key = ".".join(str(name) for name in first_error["loc"])
    message = str(cause) if cause is not None else str(first_error["msg"])
    return f"{key}: {message}" if key and key not in message else message


def _build_handles(index: int, stage: Stage, settings: StageSettings, drawn_stage: DrawnStage) -> list[StageHandle]:
    start_s = drawn_stage.end_s - (settings.duration_s or 0.0)
    end_rate = drawn_stage.points[-1][1] if drawn_stage.points else 0.0

    def build_handle(field: Any, x: float, y: float, description: str, drag_axis: DragAxis) -> StageHandle:
        return StageHandle(index, field, x, y, f"{drawn_stage.name}, {description}", drag_axis, start_s)

    if settings.duration_s is None:
        return []
    match find_load_key(stage):
        case "rate" if drawn_stage.points:
            return [build_handle("rate", drawn_stage.end_s, end_rate, "rate and end time", "both")]
        case "ramp" if settings.ramp is not None:
            return [
                build_handle("from", start_s + 0.04 * settings.duration_s, settings.ramp.from_per_s, "start rate", "y"),
                build_handle("to", drawn_stage.end_s, settings.ramp.to_per_s, "end rate and end time", "both"),
            ]
        case "spike" if settings.spike is not None:
            spike = settings.spike
            return [
                build_handle("peak", start_s + spike.at_s + spike.for_s / 2, spike.peak_per_s, "peak", "y"),
                build_handle("rate", drawn_stage.end_s, spike.base_per_s, "base rate and end time", "both"),
            ]
        case _:
            return [build_handle("duration", drawn_stage.end_s, end_rate, "end time", "x")]


def move_handle(stages: Sequence[Stage], handle: StageHandle, x: float, y: float) -> list[dict[str, Any]]:
    """Return the stages after the user has moved a handle to `x` (s) and `y` (req/s). The new
    values are rounded to the precision of dragging."""
    from app.profiles.units import format_duration, format_rate

    new_stages = [dict(stage) for stage in stages]
    stage = new_stages[handle.stage_index]
    rate = format_rate(max(_round_rate(y), 0.0 if handle.field in ("from", "to") else 0.01))
    match handle.field:
        case "from" | "to":
            ramp = {**stage["ramp"], handle.field: rate}
            if {ramp["from"], ramp["to"]} != {"0/s"}:  # a ramp from 0/s to 0/s would send nothing
                stage["ramp"] = ramp
        case "peak":
            stage["spike"] = {**stage["spike"], "peak": rate}
        case "rate" if find_load_key(stage) == "spike":
            stage["spike"] = {**stage["spike"], "base": rate}
        case "rate":
            stage["rate"] = rate
        case _:
            pass
    if handle.drag_axis != "y" and x != handle.x:
        stage["duration"] = format_duration(_round_duration_s(stage, x - handle.start_s))
    return new_stages


def _round_duration_s(stage: Stage, requested_duration_s: float) -> float:
    """Round a duration in s to a multiple of 0.1 s (below 10 s), 1 s (below 600 s) or 10 s. If the
    stage has a spike, the result is long enough for the spike."""
    from app.profiles.units import parse_duration_s

    min_duration_s = _MIN_DURATION_S
    if find_load_key(stage) == "spike":
        min_duration_s = 1.05 * (parse_duration_s(stage["spike"]["at"]) + parse_duration_s(stage["spike"]["for"]))
    duration_s = max(requested_duration_s, min_duration_s)
    step_s = 0.1 if duration_s < 10 else 1.0 if duration_s < 600 else 10.0
    return round(
        max(step_s, math.ceil(min_duration_s / step_s - 1e-9) * step_s, round(duration_s / step_s) * step_s), 6
    )


def _round_rate(rate: float) -> float:
    """Round a rate to the precision of dragging: two significant digits, or three for 100 or
    more."""
    return 0.0 if rate <= 0 else float(f"{rate:.{2 if rate < 100 else 3}g}")
