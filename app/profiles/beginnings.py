"""Profiles to begin with, and one protocol's profile turned into another's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.profiles.editing import in_line
from app.profiles.endpoint import PLACES
from app.profiles.fields import FieldSpec, profile_fields

_HEAD = "sizewise: 1\nname: {name}\n"
ENDPOINT = (
    _HEAD
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
LOCAL = (
    _HEAD
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
SCRIPTED = (
    _HEAD
    + """\
# The target is a scripted server: its times are the script's. For a real one, replace scripted: with url:.
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
_TARGETS: dict[str, dict[str, Any]] = {
    "http": {"url": "http://127.0.0.1:8000/score"},
    "openai-chat": {"url": "http://127.0.0.1:8000/v1", "model": "my-model"},
    "openai-completions": {"url": "http://127.0.0.1:8000/v1", "model": "my-model"},
    "openai-responses": {"url": "http://127.0.0.1:8000/v1", "model": "my-model"},
    "openai-embeddings": {"url": "http://127.0.0.1:8000/v1", "model": "my-model"},
    "openai-rerank": {"url": "http://127.0.0.1:8000/v1", "model": "my-model"},
    "oip": {"url": "http://127.0.0.1:8000", "model": "my-model"},
    "oip-grpc": {"url": "grpc://127.0.0.1:8001", "model": "my-model"},
    "tf-serving": {"url": "http://127.0.0.1:8501", "model": "my-model"},
    "torchserve": {"url": "http://127.0.0.1:8080", "model": "my-model"},
    "locust": {"file": "locustfile.py"},
    "local": {"model": "digits"},
}
_PROMPTS = {"prompts": {"input_tokens": 512, "output_tokens": 128}}
_TEXTS = {"prompts": {"input_tokens": 512}}
_WORKLOADS: dict[str, dict[str, Any]] = {
    "http": {"method": "POST", "body": {"features": [0.1, 0.2]}},
    "openai-chat": _PROMPTS,
    "openai-completions": _PROMPTS,
    "openai-responses": _PROMPTS,
    "openai-embeddings": _TEXTS,
    "openai-rerank": _TEXTS,
    "torchserve": {"body": {"inputs": [0.1, 0.2]}},
}
_STAGES = {"stages": [{"name": "steady", "arrivals": "poisson", "rate": "50/s", "duration": "30s"}]}
_BEGUN_WITH = ("body", "prompts")
_USERS = {"stages": [{"name": "steady", "concurrency": 10, "duration": "30s"}]}


def for_model(model: Path) -> str:
    """A local run of a model's file."""
    stem = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in model.stem)
    return LOCAL.format(name=stem.lstrip("._-")[:64] or "model", model=in_line(str(model)))


def converted(tree: dict[str, Any], protocol: str) -> dict[str, Any]:
    """The same question of a target that speaks `protocol`: what it has keys for is kept, what it needs is put in."""
    root = profile_fields(protocol)
    made = {key: value for key, value in tree.items() if root.at(key) is not None}
    old = tree.get("target") if isinstance(tree.get("target"), dict) else {}
    assert isinstance(old, dict)
    made["target"] = _target(old, protocol, _field(root, "target"))
    workload = {**_WORKLOADS.get(protocol, {}), **_kept(tree.get("workload"), _field(root, "workload"))}
    made["workload"] = _one_source(workload, _field(root, "workload"))
    if not made["workload"]:
        del made["workload"]
    made["load"] = _load(tree.get("load"), protocol, _field(root, "load"))
    if protocol == "local" and isinstance(made.get("slo"), list):
        made["slo"] = [str(one).replace("latency_ms", "service_ms") for one in made["slo"] if "latency" in str(one)]
    return made


def _target(old: dict[str, Any], protocol: str, spec: FieldSpec) -> dict[str, Any]:
    kept = _kept(old, spec)
    fresh = dict(_TARGETS[protocol])
    if any(kept.get(place) for place in PLACES):
        fresh.pop("url", None)
    if "url" in kept and (protocol == "oip-grpc") != str(kept["url"]).startswith("grpc"):
        del kept["url"]
        fresh = dict(_TARGETS[protocol])
    if kept.get("scripted") is not None:
        fresh.pop("model", None)
    if isinstance(kept.get("serve"), dict):
        fresh.pop("model", None)
    if protocol == "local":
        served: Any = old.get("serve")
        model = served.get("model") if isinstance(served, dict) else None
        return {**_without(kept, "protocol", "model"), "model": model or fresh["model"]}
    if not isinstance(kept.get("model"), str):
        kept.pop("model", None)
    kept.pop("protocol", None)
    return {"protocol": protocol, **{**fresh, **kept}}


def _load(old: Any, protocol: str, spec: FieldSpec) -> dict[str, Any]:
    kept = _kept(old, spec)
    if protocol == "local":
        kept.pop("search", None)
        return {"scenarios": ["single-stream"], **kept}
    if protocol == "locust":
        return {**_without(kept, "search", "sweep", "workers"), **_USERS}
    if isinstance(kept.get("search"), str):
        del kept["search"]
    return kept if {"stages", "sweep", "search"} & kept.keys() else {**kept, **_STAGES}


def _without(value: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: one for key, one in value.items() if key not in keys}


def _kept(old: Any, spec: FieldSpec) -> dict[str, Any]:
    """What the fields have keys for, all the way down."""
    if not isinstance(old, dict):
        return {}
    known = {field.key: field for field in spec.fields}
    return {
        key: _kept(value, known[key]) if known[key].kind == "group" and isinstance(value, dict) else value
        for key, value in old.items()
        if key in known
    }


def _one_source(value: dict[str, Any], spec: FieldSpec) -> dict[str, Any]:
    """Of keys that exclude each other the last, which the profile had itself, is kept."""
    for forms in spec.one_of.values():
        given = [form for form in forms if value.get(form) not in (None, [])]
        own = [form for form in given if form not in _BEGUN_WITH] or given
        value = {key: one for key, one in value.items() if key not in given or key == own[0]}
    return value


def _field(spec: FieldSpec, key: str) -> FieldSpec:
    found = spec.at(key)
    assert found is not None
    return found
