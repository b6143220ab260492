"""Edits of the load stages through buttons and table cells. The edited stages are YAML values. All
functions are pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from app.gui.formatting import shorten
from app.gui.run.stage_line import Stage, find_load_key

ParsedValue = TypeVar("ParsedValue")
Preset = Literal["constant", "poisson", "closed", "ramp", "spike", "trace"]
_RAMP_PATTERN = re.compile(r"(.+?)\s*(?:→|->|\bto\b|…)\s*(.+)")
_REQUESTS_PATTERN = re.compile(r"\s*(\d[\d,]*)\s*req(?:uest)?s?\s*")
_RATE_KEYS = ("rate", "ramp", "steps", "spike", "sine", "diurnal")
_COMMON_KEYS = ("name", "duration", "lead_in", "repeats")


def convert_stage(preset: Preset, stage: Stage, trace: str = "") -> dict[str, Any]:
    """Convert a stage to another load shape with about the same rate. The name, durations and
    repeats of the stage are preserved."""
    common_values = {key: stage[key] for key in _COMMON_KEYS if stage.get(key) is not None}
    common_values.setdefault("duration", "30s")
    rate = _get_typical_rate(stage)
    match preset:
        case "constant" | "poisson":
            return {**common_values, "arrivals": preset, "rate": rate}
        case "closed":
            return {**common_values, "concurrency": 8}
        case "ramp":
            return {**common_values, "arrivals": "poisson", "ramp": {"from": rate, "to": _scale_rate(rate, 4)}}
        case "spike":
            seconds = _parse_seconds(common_values["duration"])
            spike = {
                "base": rate,
                "peak": _scale_rate(rate, 5),
                "at": _format_time(seconds * 0.3),
                "for": _format_time(seconds * 0.2),
            }
            return {**common_values, "arrivals": "poisson", "spike": spike}
        case "trace":
            return {
                **{key: value for key, value in common_values.items() if key != "duration"},
                "trace": trace,
                "speed": "1x",
            }


def insert_stage(stages: Sequence[Stage], index: int) -> list[dict[str, Any]]:
    """Insert a new Poisson stage after the stage at `index`, with the representative rate and the
    duration of that stage."""
    template = stages[index] if 0 <= index < len(stages) else {}
    name = _find_unused_name(stages, "stage")
    stage = {
        "name": name,
        "arrivals": "poisson",
        "rate": _get_typical_rate(template),
        "duration": template.get("duration") or "30s",
    }
    return [*map(dict, stages[: index + 1]), stage, *map(dict, stages[index + 1 :])]


def duplicate_stage(stages: Sequence[Stage], index: int) -> list[dict[str, Any]]:
    duplicate = {**stages[index], "name": _find_unused_name(stages, str(stages[index].get("name") or "steady"))}
    return [*map(dict, stages[: index + 1]), duplicate, *map(dict, stages[index + 1 :])]


def remove_stage(stages: Sequence[Stage], removed_index: int) -> list[dict[str, Any]]:
    return [dict(stage) for index, stage in enumerate(stages) if index != removed_index]


def swap_stages(stages: Sequence[Stage], first_index: int, second_index: int) -> list[dict[str, Any]]:
    new_stages = [dict(stage) for stage in stages]
    new_stages[first_index], new_stages[second_index] = new_stages[second_index], new_stages[first_index]
    return new_stages


def format_load(stage: Stage) -> str:
    """Format the load of a stage, in the syntax that the user can type if there is one."""
    load_key = find_load_key(stage)
    value = stage.get(load_key) if load_key is not None else None
    match load_key:
        case "rate":
            return str(value)
        case "ramp" if isinstance(value, dict):
            return f"{value.get('from')} → {value.get('to')}"
        case "spike" if isinstance(value, dict):
            return f"{value.get('base')}, peak {value.get('peak')} at {value.get('at')} for {value.get('for')}"
        case "steps" if isinstance(value, list):
            return shorten(", ".join(map(str, value)), 120)
        case "sine" if isinstance(value, dict):
            return f"{value.get('mean')} ± {value.get('amplitude')} every {value.get('period')}"
        case "diurnal" if isinstance(value, dict):
            return f"daily curve, peak {value.get('peak')}"
        case "trace":
            return f"{str(value)[-60:]} {stage.get('speed') or ''}".strip()
        case _:
            return ""


def format_end(stage: Stage) -> str:
    """Format when a stage ends: after its duration, or after its number of requests."""
    duration, requests = stage.get("duration"), stage.get("requests")
    return f"{requests} requests" if duration is None and requests is not None else str(duration or "")


def set_end(stage: Stage, text: str) -> dict[str, Any]:
    """Set when a stage ends, from text: a duration such as `30s`, or a number of requests such as
    `500 requests`. An empty text removes both."""
    other_values = {key: value for key, value in stage.items() if key not in ("duration", "requests")}
    if (match := _REQUESTS_PATTERN.fullmatch(text)) is not None:
        return {**other_values, "requests": int(match[1].replace(",", ""))}
    return {**other_values, "duration": text} if text else other_values


def is_text_editable(stage: Stage) -> bool:
    """Return whether the load of a stage can be typed in a single cell."""
    return find_load_key(stage) in ("rate", "ramp", "steps", None)


def set_load(stage: Stage, text: str) -> dict[str, Any]:
    """Set the load of a stage from text: a rate, a share of another stage's rate such as `80% of
    steady`, a ramp such as `10/s → 50/s`, or steps such as `10/s, 20/s`."""
    other_values = {key: value for key, value in stage.items() if key not in (*_RATE_KEYS, "concurrency", "think_time")}
    if (ramp := _RAMP_PATTERN.fullmatch(text.strip())) is not None:
        return {**other_values, "ramp": {"from": _format_rate_text(ramp[1]), "to": _format_rate_text(ramp[2])}}
    if "," in text:
        return {**other_values, "steps": [_format_rate_text(step) for step in text.split(",") if step.strip()]}
    return {**other_values, "rate": _format_rate_text(text)}


def set_concurrency(stage: Stage, text: str) -> dict[str, Any]:
    """Set the concurrency (the number of clients), which makes a stage closed-loop. An empty text
    converts a closed-loop stage back to an open-loop stage."""
    stripped_text = text.strip()
    if not stripped_text:
        return convert_stage("poisson", stage) if find_load_key(stage) == "concurrency" else dict(stage)
    other_values = {key: value for key, value in stage.items() if key not in (*_RATE_KEYS, "arrivals", "cv", "trace")}
    return {**other_values, "concurrency": int(stripped_text) if stripped_text.isdecimal() else stripped_text}


def set_arrivals(stage: Stage, arrivals: str) -> dict[str, Any]:
    new_stage = {key: value for key, value in stage.items() if key != "cv"}
    new_stage["arrivals"] = arrivals
    return {**new_stage, "cv": stage.get("cv") or 2.0} if arrivals == "gamma" else new_stage


def _format_rate_text(text: str) -> str:
    """Return the text as a rate. A number without a unit is in requests per second."""
    rate = text.strip()
    return f"{rate}/s" if re.fullmatch(r"\d+(?:\.\d+)?", rate) else rate


def _get_typical_rate(stage: Stage) -> str:
    """Return a representative rate of a stage, or 10 req/s if the stage has none."""
    value = stage.get("rate")
    if isinstance(value, str) and _is_rate(value):
        return value
    for load_key, key in (("ramp", "from"), ("spike", "base"), ("sine", "mean"), ("diurnal", "peak")):
        load_values = stage.get(load_key)
        if isinstance(load_values, dict) and _is_rate(str(load_values.get(key))):
            return str(load_values[key])
    steps = stage.get("steps")
    return next((str(step) for step in steps if _is_rate(str(step))), "10/s") if isinstance(steps, list) else "10/s"


def _is_rate(text: str) -> bool:
    from app.profiles.units import parse_rate_per_s

    return _parse_or_default(lambda: parse_rate_per_s(text), 0.0) > 0


def _scale_rate(rate: str, factor: float) -> str:
    from app.profiles.units import format_rate, parse_rate_per_s

    return _parse_or_default(lambda: format_rate(factor * parse_rate_per_s(rate)), "50/s")


def _parse_seconds(duration: object) -> float:
    from app.profiles.units import parse_duration_s

    return _parse_or_default(lambda: parse_duration_s(duration), 30.0) or 30.0


def _format_time(seconds: float) -> str:
    from app.profiles.units import format_duration

    return format_duration(round(seconds, 1) or 0.1)


def _parse_or_default(parse: Callable[[], ParsedValue], default: ParsedValue) -> ParsedValue:
    from app.profiles.problems import BadValueError

    try:
        return parse()
    except BadValueError:
        return default


def _find_unused_name(stages: Sequence[Stage], preferred_name: str) -> str:
    used_names = {str(stage.get("name") or "steady") for stage in stages}
    stem = re.sub(r"-\d+$", "", preferred_name)
    if preferred_name not in used_names and preferred_name != "stage":
        return preferred_name
    return next(name for number in range(2, len(stages) + 3) if (name := f"{stem}-{number}") not in used_names)
