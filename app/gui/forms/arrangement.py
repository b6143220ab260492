"""Layout of the profile form: order of the fields, rarely used fields, labels, and initial values
of new fields and groups."""

from __future__ import annotations

from typing import Any

from app.profiles.document import KeyPath
from app.profiles.fields import FieldSpec
from app.records.protocols import find_target_protocol

_DISPLAY_NAMES = {
    "slo": "SLO", "url": "URL", "urls": "URLs", "usd": "US dollars", "tls": "TLS", "api_key": "API key",
    "api_price": "API price", "vcpus": "vCPUs", "ca_file": "CA file", "io_binding": "I/O binding",
    "cuda_graph": "CUDA graph", "sizewise": "File format", "max_price_age": "Max price age", "cv": "CV",
    "json_schema": "JSON schema",
}  # fmt: skip
_RARE_FIELDS: dict[tuple[str, ...], tuple[str, ...]] = {
    (): ("sizewise", "slo", "gates"),
    ("target",): (
        "socket", "balance", "max_connections", "wake", "timeouts", "tls", "start", "version", "signature", "runtime",
        "traceparent", "variants", "streams", "threads", "devices",
    ),
    ("target", "serve"): ("queue_limit", "queue_delay"),
    ("target", "scripted"): ("seed", "parallel"),
    ("workload",): (
        "popularity", "content_type", "template", "expect", "tokenizer", "extra_body", "calibration",
        "calibration_rows", "binary", "rows_per_request", "user_classes", "cache_bust", "classes",
    ),
    ("workload", "prompts"): (
        "unique", "turns", "think_time", "history", "reasoning", "tool_tokens", "tool_time", "parallel",
        "context_tokens", "documents", "images", "audio",
        "tools", "response_format",
    ),
    ("workload", "classes", "*"): ("extra_body", "template", "expect", "content_type", "popularity"),
    ("workload", "dataset"): ("tools", "response_format"),
    ("load",): ("stages", "sweep", "search", "workers", "seed", "half_width", "min_duration", "cold_starts"),
    ("load", "stages", "*"): ("lead_in", "repeats", "superpose"),
    ("load", "sweep"): ("repeats", "points"),
    ("traffic",): ("campaigns", "spikes", "uncertainty", "dispersion", "classes", "week", "cache", "tokens"),
    ("plan",): (
        "max_unavailable", "zones", "router", "vendors", "max_power", "max_accelerators", "max_price_age",
        "low_trust_prices", "unmeasured_gpus", "sources", "api_price", "api_prices",
    ),
}  # fmt: skip
_FIRST_FIELDS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("target",): (
        "protocol", "url", "urls", "serve", "scripted", "file", "model", "permitted", "api_key", "headers",
    ),
    ("workload",): ("method", "path", "template", "expect", "content_type"),
    ("load", "stages", "*"): (
        "name", "rate", "ramp", "steps", "spike", "sine", "diurnal", "trace", "concurrency", "arrivals",
        "cv", "speed", "think_time", "duration",
    ),
}  # fmt: skip
_REQUIRED_SIBLINGS: dict[tuple[str, str], tuple[str, ...]] = {
    ("StageSettings", "speed"): ("trace",),
    ("StageSettings", "superpose"): ("trace",),
    ("StageSettings", "think_time"): ("concurrency",),
    ("StageSettings", "arrivals"): ("rate", "ramp", "steps", "spike", "sine", "diurnal"),
    ("SweepSettings", "points"): ("from", "to"),
    ("SweepSettings", "arrivals"): ("from", "to", "rates"),
    ("HttpRequests", "template"): ("dataset",),
    ("HttpClassSettings", "template"): ("dataset",),
    ("PromptRequests", "block_tokens"): ("trace",),
}
"""Required sibling keys by settings class and field key. A field is shown only if at least one of
its required siblings is set."""
_INITIAL_GROUPS: dict[str, Any] = {
    "ApiPricesSettings": {"input": "3 USD/1M", "cached_input": "0.3 USD/1M", "output": "15 USD/1M"},
    "StageSettings": {"name": "steady", "rate": "50/s", "duration": "30s"},
    "SweepSettings": {"from": "10/s", "to": "200/s"},
    "HardwareSettings": {"offer": "aws/g6.2xlarge"},
    "ExpectSettings": {"status": [200]},
    "TrafficSettings": {"peak": "900/s"},
    "TextSettings": {"input_tokens": 512},
    "PromptSettings": {"input_tokens": 512, "output_tokens": 128},
    "TextDatasetSettings": {"path": "prompts.jsonl"},
    "PromptDatasetSettings": {"path": "prompts.jsonl"},
    "SessionFileSettings": {"path": "sessions.jsonl"},
    "LengthPairSettings": {"path": "pairs.csv"},
    "ToolSettings": {"count": 8},
    "ResponseFormatSettings": {"json_schema": {"type": "object"}},
    "GeneratedAudioSettings": {"seconds": 10},
    "UnmeasuredGpuSettings": {"dtype": "fp16"},
    "ClassSettings": {"name": "premium", "share": "100%"},
    "PromptClassSettings": {"name": "chat", "prompts": {"input_tokens": 512, "output_tokens": 128}},
    "HttpClassSettings": {"name": "read", "path": "/"},
    "VariantSettings": {"batch": 1},
    "ScriptedResponses": {"delay": "20ms"},
    "ScriptedTokens": {"delay": "180ms", "tokens": "60/s"},
    "ScriptedTexts": {"delay": "20ms"},
    "ScriptedTensors": {"delay": "20ms"},
    "BatchSettings": {"requests": 1000},
    "SinglePromptSettings": {"input_tokens": 512, "output_tokens": 128},
    "SinglePromptDatasetSettings": {"path": "prompts.jsonl"},
}
_INITIAL_VALUES: dict[str, Any] = {
    "urls": ["http://127.0.0.1:8000", "http://127.0.0.1:8001"],
    "body": {"inputs": [0.1, 0.2]},
    "bodies": [{"inputs": [0.1, 0.2]}, {"inputs": [0.3, 0.4]}],
    "dataset": "data.jsonl",
    "trace": "trace.csv",
}


def display_name(key: str) -> str:
    """Return the display name of a profile key, such as "API key" for `api_key`."""
    return _DISPLAY_NAMES.get(key) or key.replace("_", " ").capitalize()


def display_path(path: KeyPath) -> str:
    """Return the display names of the keys of a path, such as "Load › Stages › 1 › Duration"."""
    return " › ".join(str(key + 1) if isinstance(key, int) else display_name(key) for key in path)


def display_choice(key: str, choice: str) -> str:
    """Return the display text of a choice of a profile key, such as "OpenAI chat completions" for
    the protocol `openai-chat`."""
    protocol = find_target_protocol(choice) if key == "protocol" else None
    return choice if protocol is None else protocol.title


def path_pattern(path: KeyPath) -> tuple[str, ...]:
    """Return the path with `*` in place of list indices."""
    return tuple("*" if isinstance(key, int) else key for key in path)


def sort_fields(fields: tuple[FieldSpec, ...], path: KeyPath) -> list[FieldSpec]:
    """Return the fields sorted so that the most important fields come first."""
    first_keys = _FIRST_FIELDS.get(path_pattern(path), ())
    return sorted(fields, key=lambda field: first_keys.index(field.key) if field.key in first_keys else len(first_keys))


def is_rare(path: KeyPath) -> bool:
    return bool(path) and path[-1] in _RARE_FIELDS.get(path_pattern(path[:-1]), ())


def is_applicable(settings_class: str, key: str, siblings: dict[str, Any]) -> bool:
    """Return whether the field `key` applies, given the values of its sibling keys in
    `siblings`."""
    if key == "cv":
        return siblings.get("arrivals") == "gamma"
    if key == "permitted":
        return not {"scripted", "serve"} & siblings.keys()
    required_siblings = _REQUIRED_SIBLINGS.get((settings_class, key))
    return required_siblings is None or any(siblings.get(sibling) is not None for sibling in required_siblings)


def initial_value(spec: FieldSpec) -> Any:
    """Return the initial value of a newly added field or group: a valid value that the user can
    recognize as an example."""
    if spec.kind in ("group", "records"):
        settings_class = spec.settings or (spec.item.settings if spec.item else "")
        return (
            dict(_INITIAL_GROUPS[settings_class])
            if settings_class in _INITIAL_GROUPS
            else _build_required_values(spec.item or spec)
        )
    return _INITIAL_VALUES.get(spec.key, spec.default) if spec.example is None else spec.example


def initial_form_values(spec: FieldSpec, form: str) -> dict[str, Any]:
    """Return the initial values of the keys of an alternative form of a group. The keys in `form`
    are separated by plus signs."""
    keys = form.split("+")
    fields = (spec.find_field(key) for key in keys)
    return {field.key: initial_value(field) for field in fields if field is not None}


def _build_required_values(spec: FieldSpec) -> dict[str, Any]:
    return {field.key: initial_value(field) for field in spec.fields if field.is_required}


def unique_name(name: str, used_names: set[str]) -> str:
    """Return `name`, or `name-2`, `name-3` and so on if `name` is already used."""
    stem, number = name, 2
    while name in used_names:
        name, number = f"{stem}-{number}", number + 1
    return name
