"""The names of hosts and models that a run tells, and the words each of them may be written by."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import PurePath
from typing import Any, Literal

import msgspec

from app.records.result import Result
from app.reporting.texts import texts_of

NamedKind = Literal["hosts", "models"]
_URL_HOST = re.compile(
    r"\b[a-z][a-z0-9+.-]{0,20}://(?:[^\s/@]*@)?(\[[0-9a-f:.]+\]|[^\s/:?#,;'\"<>()\[\]]+)", re.IGNORECASE
)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
_MACHINE_LIKE = re.compile(r"(?=.*[a-z])[a-z0-9]*[0-9-][a-z0-9-]*", re.IGNORECASE)
"""A first label that names one machine, as gpu-box-7; not `api` or `www`."""
_OUR_MODELS = ("scripted",)
_MODEL_OPTION = re.compile(r"-m|--?[a-z-]*(?:model|tokenizer)[a-z-]*|--hf-repo|--lora-modules", re.IGNORECASE)
_MODEL_FILE = re.compile(r".*\.(?:onnx|gguf|safetensors|engine|plan|pt)", re.IGNORECASE)
_NO_NAMES = ("model", "tokenizer", "default", "digest")
"""Stems of files that say nothing of the model."""
_HOST_LABELS = ("instance", "host", "hostname", "node", "nodename", "pod")
_MODEL_LABELS = ("model", "model_name", "model_id")


class Name(msgspec.Struct, frozen=True):
    """`spellings` begins with what is written most fully; `shown` stands for all of them."""

    kind: NamedKind
    spellings: tuple[str, ...]
    shown: str


def names_told(result: Result, spec: object, texts: Iterable[str]) -> tuple[Name, ...]:
    """In the order in which they are told, so that the same run gives the same. `spec` is the profile as a document;
    `texts` are whatever else may name a host by a URL. Loopback addresses and our own scripted model name nobody."""
    spec_texts = tuple(texts_of(spec))
    hosts = [*_in_texts(result.target.urls, _URL_HOST), *_hosts(result, spec)]
    hosts += [*_in_texts((*texts_of(result), *spec_texts, *texts), _URL_HOST), *_in_texts(spec_texts, _IPV4)]
    told_hosts = [_host_spellings(one) for one in map(_bare, hosts) if one and not _is_here(one)]
    told_models = [one for one in map(_together, _models(result, spec)) if one]
    return (*_numbered("hosts", told_hosts), *_numbered("models", told_models))


def _numbered(kind: NamedKind, told: Iterable[tuple[str, ...]]) -> Iterator[Name]:
    """Those with a spelling in common are one."""
    groups: list[dict[str, str]] = []
    for spellings in told:
        words = {one.casefold(): one for one in spellings}
        same = [group for group in groups if group.keys() & words.keys()]
        if same:
            for one in same[1:]:
                same[0].update(one)
                groups.remove(one)
            same[0].update({key: one for key, one in words.items() if key not in same[0]})
        else:
            groups.append(words)
    for place, group in enumerate(groups, 1):
        yield Name(kind, tuple(group.values()), f"{kind.removesuffix('s')}-{place}")


def _hosts(result: Result, spec: object) -> Iterator[str]:
    yield result.environment.host
    for stage in result.stages:
        yield from (worker.host for worker in stage.workers)
    if result.comparison is not None:
        for one in result.comparison.differences:
            if one.id == "machine":
                yield from (*one.base_values, *one.candidate_values)
    yield from _labels(spec, _HOST_LABELS)
    for key, value in _mapping(_at(spec, "target", "headers")).items():
        if str(key).casefold() in ("host", ":authority"):
            yield str(value)


def _in_texts(texts: Iterable[str], pattern: re.Pattern[str]) -> Iterator[str]:
    for text in texts:
        for match in pattern.finditer(text):
            yield match[1] if pattern.groups else match[0]


def _bare(host: str) -> str:
    """Without port, brackets and the dot at the end."""
    host = host.strip()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return (host if host.count(":") > 1 else host.partition(":")[0]).rstrip(".")


def _is_here(host: str) -> bool:
    if host.casefold() in ("localhost", "n/a") or host.casefold().endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and (address.is_loopback or address.is_unspecified)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _host_spellings(host: str) -> tuple[str, ...]:
    first, dot, _ = host.partition(".")
    is_of_machine = dot and _address(host) is None and _MACHINE_LIKE.fullmatch(first) is not None
    return (host, first) if is_of_machine else (host,)


def _models(result: Result, spec: object) -> Iterator[tuple[str, ...]]:
    """Each by all the names it has."""
    yield (result.target.model or "",)
    yield from ((stage.variant.model,) for stage in result.stages if stage.variant is not None)
    if result.local is not None:
        for facts in result.local.variants:
            yield facts.variant.model, facts.model_file, facts.model_sha256 or ""
    yield from ((one,) for one in _models_asked_for(result, spec))


def _models_asked_for(result: Result, spec: object) -> Iterator[str]:
    target = _mapping(_at(spec, "target"))
    for holder in (target, target.get("serve"), *_items(target.get("variants"))):
        yield from (one for one in _items(_at(holder, "model")) if isinstance(one, str))
    yield str(_at(spec, "workload", "tokenizer") or "")
    yield from _started_models(_mapping(target.get("start")))
    yield from _labels(spec, _MODEL_LABELS)
    if result.comparison is not None:
        for difference in result.comparison.differences:
            if difference.id == "model":
                yield from (*difference.base_values, *difference.candidate_values)


def _started_models(start: dict[Any, Any]) -> Iterator[str]:
    """As servers are told of them: `vllm serve NAME`, `--model NAME`, a model's file."""
    words = [one for one in _items(start.get("command")) if isinstance(one, str)]
    for word, after in pairwise([*words, ""]):
        option, _, given = word.partition("=")
        if word == "serve" or _MODEL_OPTION.fullmatch(word):
            yield "" if after.startswith("-") else after
        elif given and _MODEL_OPTION.fullmatch(option):
            yield given
        elif _MODEL_FILE.fullmatch(word):
            yield word
    yield from (str(value) for name, value in _mapping(start.get("env")).items() if "MODEL" in str(name).upper())


def _together(names: tuple[str, ...]) -> tuple[str, ...]:
    told = (one for one in names if one and one != "n/a" and one not in _OUR_MODELS)
    return tuple(dict.fromkeys(spelling for one in told for spelling in _model_spellings(one)))


def _model_spellings(model: str) -> tuple[str, ...]:
    """A path is known by its file and the stem of it, or by its folder where the file says nothing; `org/name` by the
    name too."""
    path = PurePath(model)
    found = [model, path.name]
    if _MODEL_FILE.fullmatch(path.name) or path.suffix == ".json":
        found.append(path.stem if path.stem.casefold() not in _NO_NAMES else path.parent.name)
    return tuple(dict.fromkeys(one for one in found if one and one.casefold() not in _NO_NAMES)) or (model,)


def _labels(spec: object, wanted: tuple[str, ...]) -> Iterator[str]:
    """Of the pages that were read beside the run."""
    for scrape in _items(_at(spec, "telemetry")):
        for name, value in _mapping(_at(scrape, "labels")).items():
            if str(name).casefold() in wanted:
                yield str(value)


def _at(tree: object, *keys: str) -> object:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _mapping(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}
