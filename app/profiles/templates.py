"""Profile templates, and conversion of a profile to another protocol."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote, urlsplit

from app.profiles.editing import REMOVED, format_inline, get_value
from app.profiles.endpoint import ADDRESS_KEYS
from app.profiles.fields import FieldSpec, profile_fields
from app.profiles.generation_tests import DEFAULT_TESTS
from app.profiles.profile import find_protocol
from app.records.language_model import is_gguf_file, is_language_model
from app.records.local import OnnxPrecision, Precision
from app.records.protocols import (
    LOCAL_OBJECTIVES,
    PROTOCOLS,
    TargetProtocol,
    find_target_protocol,
    get_default_protocol,
    get_protocol,
)

_HEADER = "sizewise: 1\nname: {name}\n"
_TEMPLATE_OBJECTIVES = {False: LOCAL_OBJECTIVES[0], True: "itl_ms.p95 < 50"}
"""Objective of the templates of local models, by whether the model is a language model."""
UNUSED_KEYS = {
    True: (
        "load.scenarios", "load.rates", "workload.tensors", "workload.labels", "workload.output",
        "workload.calibration", "workload.calibration_rows", "target.streams", "target.devices", "target.runtime",
    ),
    False: ("load.tests", "workload.text", "workload.text_tokens"),
}  # fmt: skip
"""Keys that do not apply to a local model, by whether it is a language model."""
ENDPOINT_TEMPLATE = (
    _HEADER
    + """\
target:
  protocol: http
  url: http://127.0.0.1:8000/score
workload:
  method: POST
  body: {{features: [0.1, 0.2]}}
load:
  stages:
    - {{name: steady, arrivals: poisson, rate: 50/s, duration: 30s}}
slo:
  - latency_ms.p95 < 50
  - error_rate < 1%
"""
)
OPENAI_TEMPLATE = (
    _HEADER
    + """\
target:
  protocol: openai-chat
  url: http://127.0.0.1:8000/v1
  model: my-model
workload:
  prompts: {{input_tokens: 512, output_tokens: 128}}
load:
  sweep: {{concurrency: [1, 2, 4, 8, 16, 32], step_duration: 20s}}
slo:
  - ttft_ms.p95 < 500
  - tpot_ms.p95 < 50
  - goodput_share >= 90%
"""
)
LOCAL_TEMPLATE = (
    _HEADER
    + """\
target:
  model: {model}
  providers: [cpu]
  precision: [as-is]
  batch: [1, 8]
load:
  scenarios: [single-stream, offline]
slo:
  - service_ms.p95 < 50
"""
)
LANGUAGE_MODEL_TEMPLATE = (
    _HEADER
    + """\
target:
  model: {model}
  providers: [cpu]
  batch: [1]
load:
  tests: [pp512, tg128]
slo:
  - itl_ms.p95 < 50
"""
)
SCRIPTED_TEMPLATE = (
    _HEADER
    + """\
# The target is a scripted server with configured response times. For a real target, replace scripted: with url:.
target:
  protocol: http
  scripted: {{delay: 5ms, spread: 0.3, parallel: 4}}
workload:
  method: POST
  body: {{features: [0.1, 0.2]}}
load:
  stages:
    - {{name: steady, arrivals: poisson, rate: 100/s, duration: 10s}}
slo:
  - latency_ms.p95 < 50
  - error_rate < 1%
"""
)
_DEFAULT_LOAD = {"stages": [{"name": "steady", "arrivals": "poisson", "rate": "50/s", "duration": "30s"}]}
_CONCURRENCY_SWEEP = {"sweep": {"concurrency": [1, 2, 4, 8, 16, 32], "step_duration": "20s"}}
_TEMPLATE_KEYS = ("body", "prompts", "audio")
_LOCUST_LOAD = {"stages": [{"name": "steady", "concurrency": 10, "duration": "30s"}]}


def format_local_profile(model: Path) -> str:
    """Return the YAML text of a profile that runs a model file, or the folder of a language model,
    on this machine."""
    stem = "".join(character if character.isalnum() or character in "._-" else "-" for character in model.stem)
    template = LANGUAGE_MODEL_TEMPLATE if is_language_model(model) else LOCAL_TEMPLATE
    return template.format(name=stem.lstrip("._-")[:64] or "model", model=format_inline(str(model)))


def list_model_edits(tree: dict[str, Any], model: Path) -> dict[str, Any]:
    """Return the edits, by dotted path, that adapt a profile of a local model to another kind of
    model: settings that would be rejected are removed. `None` removes a value. The SLO is replaced
    only if it is that of a template."""
    is_generative = is_language_model(model)
    edits: dict[str, Any] = dict.fromkeys(UNUSED_KEYS[is_generative])
    precisions = get_value(tree, ("target", "precision"))
    usable_precisions = ("fp32", *list_usable_precisions(model))
    if any(precision not in usable_precisions for precision in (precisions if isinstance(precisions, list) else [])):
        edits["target.precision"] = None
    if is_generative and get_value(tree, ("load", "tests")) is REMOVED:
        edits["load.tests"] = [test.name for test in DEFAULT_TESTS]
    if tree.get("slo") == [_TEMPLATE_OBJECTIVES[not is_generative]]:
        edits["slo"] = [_TEMPLATE_OBJECTIVES[is_generative]]
    return {
        path: value
        for path, value in edits.items()
        if value is not None or get_value(tree, tuple(path.split("."))) is not REMOVED
    }


def list_usable_precisions(model: Path) -> tuple[str, ...]:
    """Return the precisions in which a model can be measured, by the kind of its file."""
    if not is_language_model(model):
        return get_args(OnnxPrecision)
    is_convertible = is_gguf_file(model)
    weight_precisions = (name for name in get_args(Precision) if name not in get_args(OnnxPrecision))
    return ("as-is", *weight_precisions) if is_convertible else ("as-is",)


def convert_profile(tree: dict[str, Any], protocol: str) -> dict[str, Any]:
    """Convert a profile to a target that uses `protocol`.

    Values whose keys exist for `protocol` are preserved, and missing required values are filled in.
    An SLO that nobody has edited becomes the default SLO of `protocol`.
    """
    profile_spec = profile_fields(protocol)
    profile = {key: value for key, value in tree.items() if profile_spec.find_field(key) is not None}
    original_target = tree.get("target") if isinstance(tree.get("target"), dict) else {}
    assert isinstance(original_target, dict)
    profile["target"] = _convert_target(original_target, protocol, _get_child_field(profile_spec, "target"))
    original_workload = _select_valid_keys(tree.get("workload"), _get_child_field(profile_spec, "workload"))
    original_protocol, new_protocol = find_target_protocol(find_protocol(tree)), get_protocol(protocol)
    if new_protocol.calls_methods != (original_protocol is not None and original_protocol.calls_methods):
        original_workload = _omit_keys(original_workload, "method", "body")  # a method of HTTP is none of a service
    workload = {**new_protocol.workload, **original_workload}
    profile["workload"] = _resolve_exclusive_keys(workload, _get_child_field(profile_spec, "workload"))
    if new_protocol.requires_output_tokens:
        _fill_in_output_tokens(profile["workload"], new_protocol.workload)
    if not profile["workload"]:
        del profile["workload"]
    profile["load"] = _convert_load(tree.get("load"), protocol, _get_child_field(profile_spec, "load"))
    if has_default_slo(tree):
        profile["slo"] = list_default_objectives(protocol)
    elif new_protocol.is_local and isinstance(profile.get("slo"), list):
        profile["slo"] = [
            str(objective).replace("latency_ms", "service_ms")
            for objective in profile["slo"]
            if "latency" in str(objective)
        ]
    return profile


def list_default_objectives(protocol: str) -> list[str]:
    """Return the SLO of a new profile for a protocol."""
    return list((find_target_protocol(protocol) or get_default_protocol()).objectives)


def has_default_slo(tree: dict[str, Any]) -> bool:
    """Return whether the SLO of a profile is still the default SLO of its protocol."""
    protocol = find_target_protocol(find_protocol(tree)) or get_default_protocol()
    defaults = [list(protocol.objectives)]
    if protocol.is_local:
        defaults.append([_TEMPLATE_OBJECTIVES[True]])
    return tree.get("slo") in defaults


def adapt_to_url(tree: dict[str, Any], template: dict[str, Any]) -> dict[str, Any] | None:
    """Return the profile for the API that the URL of its target names, or `None` if the URL names
    no other API than the profile has.

    The URL of a request, such as …/v1/chat/completions, becomes the base URL, and the name of a model
    in the URL becomes the model. If the profile differs from `template` only in its URL, the load
    becomes that of the template for language models.
    """
    target = tree.get("target")
    url = target.get("url") if isinstance(target, dict) else None
    known_protocol = find_target_protocol(find_protocol(tree)) or get_default_protocol()
    recognized = _recognize_api(url, known_protocol) if isinstance(url, str) else None
    if recognized is None or not isinstance(target, dict):
        return None
    protocol, base_url, model = recognized
    if protocol == find_protocol(tree) and base_url == url:
        return None
    is_template = tree == {**template, "target": {**template.get("target", {}), "url": url}}
    adapted = copy.deepcopy({**tree, "target": {**target, "url": base_url}})
    if protocol != find_protocol(tree):
        adapted = convert_profile(adapted, protocol)
        if is_template and get_protocol(protocol).generates_text:
            adapted["load"] = copy.deepcopy(_CONCURRENCY_SWEEP)
    if model is not None:
        adapted["target"]["model"] = model
    return adapted


def recognize_request(url: str) -> tuple[str, str, str | None] | None:
    """Return the protocol, the base URL and the model of the API to whose requests a URL belongs, such as
    …/v1/chat/completions; `None` for any other URL, including one that can be read with GET, such as …/v1/models."""
    recognized = _recognize_api(url, get_default_protocol())
    if recognized is None:
        return None
    path = url.removeprefix(recognized[1]).rstrip("/")
    if not path or any(path in row.readable_paths for row in PROTOCOLS):
        return None
    return recognized


def _recognize_api(url: str, known_protocol: TargetProtocol) -> tuple[str, str, str | None] | None:
    """Return the protocol, the base URL and the model that a URL names, or `None` if the URL is
    that of no known API. In the profile of a gRPC service, any other HTTP URL names the protocol
    http. The path /v1 alone is that of any OpenAI API, so it leaves the profile of another OpenAI
    API as it is."""
    try:
        url_parts = urlsplit(url.strip())
    except ValueError:
        return None
    is_grpc = known_protocol.url_scheme == "grpc"
    if url_parts.scheme in ("grpc", "grpcs") and not is_grpc:
        return get_default_protocol("grpc").id, url.strip(), None
    if url_parts.scheme not in ("http", "https", "ws", "wss") or not url_parts.netloc or url_parts.query:
        return None
    origin, path = f"{url_parts.scheme}://{url_parts.netloc}", url_parts.path.rstrip("/")
    is_web_socket = url_parts.scheme in ("ws", "wss")
    for api_protocol, match in _iterate_matches(path):
        groups = match.groupdict()
        if groups.get("is_any") is not None and is_web_socket:
            api_protocol = get_default_protocol("ws")
        elif groups.get("is_any") is not None and known_protocol.is_openai:
            api_protocol = known_protocol
        if is_web_socket and api_protocol.url_scheme != "ws":
            return None
        model = groups.get("model")
        return api_protocol.id, f"{origin}{groups['base']}", None if model is None else unquote(model)
    return (get_default_protocol().id, url.strip(), None) if is_grpc and not is_web_socket else None


def _iterate_matches(path: str) -> Iterator[tuple[TargetProtocol, re.Match[str]]]:
    """Yield the protocols to whose APIs the path of a URL belongs, with the matches of their patterns."""
    for protocol in PROTOCOLS:
        for pattern in protocol.url_patterns:
            match = re.fullmatch(pattern, path)
            if match is not None:
                yield protocol, match


def _fill_in_output_tokens(workload: dict[str, Any], template: dict[str, Any]) -> None:
    """Set the maximum number of output tokens, which the protocol requires, unless it is set."""
    prompts = workload.get("prompts")
    if isinstance(prompts, dict) and prompts.get("output_tokens") is None:
        workload["prompts"] = {**prompts, "output_tokens": template["prompts"]["output_tokens"]}


def _convert_target(original_target: dict[str, Any], protocol: str, spec: FieldSpec) -> dict[str, Any]:
    preserved_values = _select_valid_keys(original_target, spec)
    original_protocol, new_protocol = find_target_protocol(original_target.get("protocol")), get_protocol(protocol)
    if (None if original_protocol is None else original_protocol.served_model) != new_protocol.served_model:
        preserved_values.pop("serve", None)
    defaults = dict(new_protocol.target)
    if any(preserved_values.get(key) for key in ADDRESS_KEYS):
        defaults.pop("url", None)
    is_grpc = new_protocol.url_scheme == "grpc"
    if "url" in preserved_values and is_grpc != str(preserved_values["url"]).startswith("grpc"):
        del preserved_values["url"]
        defaults = dict(new_protocol.target)
    if preserved_values.get("scripted") is not None:
        defaults.pop("model", None)
    if isinstance(preserved_values.get("serve"), dict):
        defaults.pop("model", None)
    if new_protocol.is_local:
        serve: Any = original_target.get("serve")
        model = serve.get("model") if isinstance(serve, dict) else None
        return {**_omit_keys(preserved_values, "protocol", "model"), "model": model or defaults["model"]}
    if not isinstance(preserved_values.get("model"), str):
        preserved_values.pop("model", None)
    preserved_values.pop("protocol", None)
    return {"protocol": protocol, **{**defaults, **preserved_values}}


def _convert_load(original_load: Any, protocol: str, spec: FieldSpec) -> dict[str, Any]:
    preserved_values = _select_valid_keys(original_load, spec)
    load_form = get_protocol(protocol).load
    if load_form == "scenarios":
        preserved_values.pop("search", None)
        return {"scenarios": ["single-stream"], **preserved_values}
    if load_form == "job":
        return {
            **_omit_keys(preserved_values, "search", "sweep", "stages"),
            "batch": preserved_values.get("batch") or {},
        }
    preserved_values.pop("batch", None)
    if load_form == "users":
        return {**_omit_keys(preserved_values, "search", "sweep", "workers"), **_LOCUST_LOAD}
    if isinstance(preserved_values.get("search"), str):
        del preserved_values["search"]
    return (
        preserved_values
        if {"stages", "sweep", "search"} & preserved_values.keys()
        else {**preserved_values, **_DEFAULT_LOAD}
    )


def _omit_keys(settings: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in keys}


def _select_valid_keys(settings: Any, spec: FieldSpec) -> dict[str, Any]:
    """Return a copy of a mapping without the keys that do not exist in `spec`, at every level."""
    if not isinstance(settings, dict):
        return {}
    fields_by_key = {field.key: field for field in spec.fields}
    return {
        key: _select_valid_keys(value, fields_by_key[key])
        if fields_by_key[key].kind == "group" and isinstance(value, dict)
        else value
        for key, value in settings.items()
        if key in fields_by_key
    }


def _resolve_exclusive_keys(settings: dict[str, Any], spec: FieldSpec) -> dict[str, Any]:
    """Remove all but one of the mutually exclusive keys. Keys of the original profile are preferred
    over keys of the template."""
    for forms in spec.one_of.values():
        set_forms = [form for form in forms if settings.get(form) not in (None, [])]
        preferred_forms = [form for form in set_forms if form not in _TEMPLATE_KEYS] or set_forms
        settings = {key: value for key, value in settings.items() if key not in set_forms or key == preferred_forms[0]}
    return settings


def _get_child_field(spec: FieldSpec, key: str) -> FieldSpec:
    child = spec.find_field(key)
    assert child is not None
    return child
