"""The stages of a load as a line of planned rates with handles, and what a moved handle makes of them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from app.profiles.load import StageSettings

Stage = Mapping[str, Any]
"""As it stands in the YAML."""
Way = Literal["x", "y", "both"]
Points = tuple[tuple[float, float], ...]
TraceKey = tuple[str, str, int]
"""File, speed, copies: of what makes a replay's rates."""
_LEAST_S = 0.1
_UNKNOWN_S = 60.0
"""Drawn for what lasts until a trace ends that was not read yet."""
_FORMS = ("rate", "ramp", "steps", "spike", "sine", "diurnal", "trace", "concurrency")


class StageHandle(msgspec.Struct, frozen=True):
    """`what` of the stage it sets: rate, from, to, peak or duration; `starts_s` is when the stage begins."""

    stage: int
    what: Literal["rate", "from", "to", "peak", "duration"]
    x: float
    y: float
    name: str
    way: Way
    starts_s: float


class Drawn(msgspec.Struct, frozen=True):
    """One stage in the line. No `points` where its rate is not known; `problem` is what is wrong with it, in words."""

    name: str
    start_s: float
    end_s: float
    points: Points
    label: str
    problem: str | None = None


class StageLine(msgspec.Struct, frozen=True):
    stages: tuple[Drawn, ...]
    handles: tuple[StageHandle, ...]
    missing: tuple[TraceKey, ...] = ()
    """Traces whose rates are still to be read."""

    @property
    def total_s(self) -> float:
        return self.stages[-1].end_s if self.stages else 0.0


def form_of(stage: Stage) -> str | None:
    """The key that says what comes; None where there is none yet."""
    return next((form for form in _FORMS if stage.get(form) not in (None, [])), None)


def stage_line(stages: Sequence[Stage], folder: Path, traces: Mapping[TraceKey, Points]) -> StageLine:
    """Each once, whatever its repeats, after its lead-in; `traces` are the rates of those already read."""
    drawn: list[Drawn] = []
    handles: list[StageHandle] = []
    missing: list[TraceKey] = []
    at_s = 0.0
    for index, stage in enumerate(stages):
        one, settings = _drawn(stage, at_s, folder, traces)
        drawn.append(one)
        if settings is not None:
            handles += _handles(index, stage, settings, one)
        key = trace_key(stage, folder)
        if key is not None and key not in traces and settings is not None:
            missing.append(key)
        at_s = one.end_s
    return StageLine(tuple(drawn), tuple(handles), tuple(missing))


def trace_key(stage: Stage, folder: Path) -> TraceKey | None:
    path = stage.get("trace")
    if not isinstance(path, str) or not path:
        return None
    copies = stage.get("superpose")
    return str((folder / path).resolve()), str(stage.get("speed") or "1x"), copies if isinstance(copies, int) else 1


def rates_of_trace(key: TraceKey) -> Points:
    """In up to a hundred equal pieces of its time. Raises BadValueError for a file that is no trace."""
    import numpy as np

    from app.profiles.traces import read_trace
    from app.profiles.units import parse_speed

    at_s = read_trace(Path(key[0])).at_s / parse_speed(key[1])
    edges = np.linspace(0.0, max(float(at_s[-1]), 1e-3), 1 + min(100, max(4, len(at_s) // 20)))
    counts, _ = np.histogram(at_s, edges)
    rates = counts / np.diff(edges) * key[2]
    points: list[tuple[float, float]] = []
    for start, end, rate in zip(edges[:-1], edges[1:], rates, strict=True):
        points += [(float(start), float(rate)), (float(end), float(rate))]
    return tuple(points)


def _drawn(
    stage: Stage, at_s: float, folder: Path, traces: Mapping[TraceKey, Points]
) -> tuple[Drawn, StageSettings | None]:
    from pydantic import ValidationError

    from app.profiles.load import StageSettings

    name = str(stage.get("name") or "steady")[:40]
    try:
        # a trace is looked into in the background, not here
        settings = StageSettings.model_validate(dict(stage), context={"directory": folder, "files_must_exist": False})
    except ValidationError as error:
        return Drawn(name, at_s, at_s + _duration_of(stage), (), name, _first_words(error)), None
    start_s = at_s + settings.lead_in_s
    key = trace_key(stage, folder)
    replayed = traces.get(key, ()) if key is not None else ()
    lasts_s = settings.duration_s or (replayed[-1][0] - settings.lead_in_s if replayed else _UNKNOWN_S)
    curve = settings.curve or replayed
    points = _between(curve, lasts_s) if curve else ()
    moved = tuple((start_s + at, rate) for at, rate in points)
    return Drawn(name, at_s, start_s + lasts_s, moved, _label(name, settings)), settings


def _label(name: str, settings: StageSettings) -> str:
    from app.profiles.rates import ShareOfStage

    repeats = f" ×{settings.repeats}" if settings.repeats > 1 else ""
    if settings.concurrency is not None:
        return f"{name}: {settings.concurrency} clients" + repeats
    if isinstance(settings.rate_per_s, ShareOfStage):
        share = settings.rate_per_s
        return f"{name}: {100 * share.share:.4g}% of {share.stage[:30]}" + repeats
    return name + repeats


def _between(curve: Points, end_s: float) -> Points:
    inside = tuple((at, rate) for at, rate in curve if at <= end_s)
    if not inside:
        return ((0.0, curve[0][1]), (end_s, curve[0][1]))
    return inside if inside[-1][0] == end_s else (*inside, (end_s, inside[-1][1]))


def _duration_of(stage: Stage) -> float:
    from app.profiles.problems import BadValueError
    from app.profiles.units import parse_duration_s

    try:
        return max(_LEAST_S, parse_duration_s(stage.get("duration") or "10s"))
    except BadValueError:
        return 10.0


def _first_words(error: Any) -> str:
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    place = ".".join(str(part) for part in first["loc"])
    said = str(cause) if cause is not None else str(first["msg"])
    return f"{place}: {said}" if place and place not in said else said


def _handles(index: int, stage: Stage, settings: StageSettings, one: Drawn) -> list[StageHandle]:
    start_s = one.end_s - (settings.duration_s or 0.0)
    at_end = one.points[-1][1] if one.points else 0.0

    def handle(what: Any, x: float, y: float, words: str, way: Way) -> StageHandle:
        return StageHandle(index, what, x, y, f"{one.name}, {words}", way, start_s)

    if settings.duration_s is None:
        return []
    match form_of(stage):
        case "rate" if one.points:
            return [handle("rate", one.end_s, at_end, "rate and end", "both")]
        case "ramp" if settings.ramp is not None:
            return [
                handle("from", start_s + 0.04 * settings.duration_s, settings.ramp.from_per_s, "first rate", "y"),
                handle("to", one.end_s, settings.ramp.to_per_s, "last rate and end", "both"),
            ]
        case "spike" if settings.spike is not None:
            spike = settings.spike
            return [
                handle("peak", start_s + spike.at_s + spike.for_s / 2, spike.peak_per_s, "peak", "y"),
                handle("rate", one.end_s, spike.base_per_s, "base rate and end", "both"),
            ]
        case _:
            return [handle("duration", one.end_s, at_end, "end", "x")]


def moved(stages: Sequence[Stage], handle: StageHandle, x: float, y: float) -> list[dict[str, Any]]:
    """The stages with a handle of their line at another place, in round numbers."""
    from app.profiles.units import format_duration, format_rate

    changed = [dict(stage) for stage in stages]
    stage = changed[handle.stage]
    rate = format_rate(max(_rounded(y), 0.0 if handle.what in ("from", "to") else 0.01))
    match handle.what:
        case "from" | "to":
            ramp = {**stage["ramp"], handle.what: rate}
            if {ramp["from"], ramp["to"]} != {"0/s"}:  # it would send nothing
                stage["ramp"] = ramp
        case "peak":
            stage["spike"] = {**stage["spike"], "peak": rate}
        case "rate" if form_of(stage) == "spike":
            stage["spike"] = {**stage["spike"], "base": rate}
        case "rate":
            stage["rate"] = rate
        case _:
            pass
    if handle.way != "y" and x != handle.x:
        stage["duration"] = format_duration(_lasting(stage, x - handle.starts_s))
    return changed


def _lasting(stage: Stage, wanted_s: float) -> float:
    """Whole seconds from ten on, and never less than a spike needs."""
    from app.profiles.units import parse_duration_s

    least_s = _LEAST_S
    if form_of(stage) == "spike":
        least_s = 1.05 * (parse_duration_s(stage["spike"]["at"]) + parse_duration_s(stage["spike"]["for"]))
    lasting_s = max(wanted_s, least_s)
    step = 0.1 if lasting_s < 10 else 1.0 if lasting_s < 600 else 10.0
    return round(max(step, math.ceil(least_s / step - 1e-9) * step, round(lasting_s / step) * step), 6)


def _rounded(rate: float) -> float:
    """To two significant digits, three from a hundred on: what a hand can place."""
    return 0.0 if rate <= 0 else float(f"{rate:.{2 if rate < 100 else 3}g}")
