"""One line for each step of the Run page that states what the profile sets in the step. All
functions are pure, and accept any values, because the profile may be incomplete."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Any, Literal

from app.analysis.objectives import format_objective
from app.gui.formatting import shorten
from app.gui.forms.arrangement import display_choice
from app.profiles.profile import find_protocol

Step = Literal["target", "load", "slo"]
_MAX_CHARACTERS = 160
_RATE_SHAPES = ("ramp", "steps", "spike", "sine", "diurnal", "trace")


def summarize_step(step: Step, tree: dict[str, Any]) -> str:
    """Return the line that states what is set in a step."""
    return shorten(_SUMMARIES[step](tree), _MAX_CHARACTERS)


def _summarize_target(tree: dict[str, Any]) -> str:
    target = _read_mapping(tree, "target")
    protocol = find_protocol(tree)
    if protocol == "local":
        model = target.get("model") or target.get("variants")
        providers, precisions = _join(target.get("providers")), _join(target.get("precision"))
        details = "".join(f", {text}" for text in (providers, precisions) if text)
        return f"{_name_model(model)} on this machine{details}"
    name = display_choice("protocol", protocol) if protocol is not None else "No protocol"
    model_text = f", model {target['model']}" if isinstance(target.get("model"), str) else ""
    urls = target.get("url") or target.get("urls")
    if isinstance(target.get("scripted"), dict):
        return f"{name}, scripted server of the run"
    if isinstance(target.get("serve"), dict):
        return f"{name}, {_name_model(target['serve'].get('model'))} served by the run"
    if target.get("file") is not None:
        return f"{name} {_join(target['file'])}"
    return f"{name} at {_join(urls)}{model_text}" if urls else f"{name}, no URL yet"


def _summarize_load(tree: dict[str, Any]) -> str:
    load = _read_mapping(tree, "load")
    parts = [_join(load.get("scenarios")), _join(load.get("tests"))]
    stages = [stage for stage in _read_list(load.get("stages")) if isinstance(stage, dict)]
    if len(stages) == 1:
        parts.append(describe_stage(stages[0]))
    elif stages:
        names = ", ".join(str(stage.get("name") or index) for index, stage in enumerate(stages, 1))
        parts.append(f"{len(stages)} stages ({shorten(names, 60)})")
    if isinstance(load.get("sweep"), dict):
        parts.append(_describe_sweep(load["sweep"]))
    if isinstance(load.get("search"), dict):
        parts.append(f"search for the max rate within the SLO from {_format_rate(load['search'].get('start', '10/s'))}")
    if isinstance(load.get("batch"), dict):
        parts.append("one batch job")
    load_text = ", then ".join(part for part in parts if part) or "No load yet"
    workload_text = _describe_workload(_read_mapping(tree, "workload"))
    return f"{load_text}; {workload_text}" if workload_text else load_text


def describe_stage(stage: dict[str, Any]) -> str:
    """Return the load of one stage, such as `50 req/s for 30s`."""
    duration_text = f" for {stage['duration']}" if stage.get("duration") is not None else ""
    if stage.get("rate") is not None:
        return f"{_format_rate(stage['rate'])}{duration_text}"
    if stage.get("concurrency") is not None:
        return f"{_count_clients([stage['concurrency']])}{duration_text}"
    shape = next((key for key in _RATE_SHAPES if stage.get(key) is not None), None)
    return f"{shape or 'stage without load'}{duration_text}"


def _describe_sweep(sweep: dict[str, Any]) -> str:
    step_text = f", {sweep.get('step_duration', '10s')} each"
    if sweep.get("concurrency") is not None:
        return f"{_count_clients(_read_list(sweep['concurrency']))}{step_text}"
    if sweep.get("max_concurrency") is not None:
        return f"1 to {sweep['max_concurrency']} clients{step_text}"
    if sweep.get("rates") is not None:
        return f"{', '.join(_format_rate(rate) for rate in _read_list(sweep['rates']))}{step_text}"
    return f"{_format_rate(sweep.get('from'))} to {_format_rate(sweep.get('to'))}{step_text}"


def _describe_workload(workload: dict[str, Any]) -> str:
    prompts = workload.get("prompts")
    if isinstance(prompts, dict) and isinstance(prompts.get("input_tokens"), int | str):
        output_tokens = prompts.get("output_tokens")
        output_text = f", {output_tokens} output tokens" if isinstance(output_tokens, int | str) else ""
        return f"prompts of {prompts['input_tokens']} tokens{output_text}"
    if isinstance(prompts, dict):
        return "generated prompts"
    if isinstance(workload.get("audio"), dict):
        return "generated audio"
    dataset = workload.get("dataset") or workload.get("trace") or workload.get("sessions")
    if dataset is not None:
        path = dataset.get("path") if isinstance(dataset, dict) else dataset
        return f"requests from {_name_model(path)}"
    method = workload.get("method")
    return " ".join(str(part) for part in (method, workload.get("path")) if part is not None)


def _summarize_slo(tree: dict[str, Any]) -> str:
    objectives = [format_objective(str(text)) for text in _read_list(tree.get("slo"))]
    gates = _read_list(tree.get("gates"))
    gate_text = f"{len(gates)} gate{'s' * (len(gates) > 1)}" if gates else ""
    return ", ".join([*objectives, *([gate_text] if gate_text else [])]) or "No SLO: the run only measures"


def _read_mapping(tree: dict[str, Any], key: str) -> dict[str, Any]:
    value = tree.get(key)
    return value if isinstance(value, dict) else {}


def _read_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _join(value: Any) -> str:
    return ", ".join(str(element) for element in _read_list(value) if not isinstance(element, dict | list))


def _name_model(value: Any) -> str:
    """Return the file names of paths, which are shorter than the paths."""
    names = [PurePath(element).name or element for element in _read_list(value) if isinstance(element, str)]
    return ", ".join(names) or "no model"


def _format_rate(value: Any) -> str:
    text = str(value)
    return f"{text.removesuffix('/s')} req/s" if text.endswith("/s") else text


def _count_clients(counts: list[Any]) -> str:
    return f"{_join(counts)} {'client' if counts == [1] else 'clients'}"


_SUMMARIES: dict[Step, Callable[[dict[str, Any]], str]] = {
    "target": _summarize_target,
    "load": _summarize_load,
    "slo": _summarize_slo,
}
