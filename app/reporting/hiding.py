"""A report without the names of hosts and models, and without what was sent: for whoever may see the numbers only.

Each name is replaced by the same word in every place of the report, of the result and the profile
that travel in it, and of what is written beside it. The run itself is not changed.

The texts of records and documents: read, and written otherwise, wherever they stand.

The names of hosts and models that a run tells, and the words each of them may be written by.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import PurePath
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from app.errors import ProfileError
from app.profiles.document import document_text, read_document
from app.profiles.editing import REMOVED, value_at, with_value
from app.records.result import Result
from app.storage.run_directory import LONGEST_WORD, word_of_id
from reports.model import Report

_Any = TypeVar("_Any")
_MEANT = {"unit", "metric", "percentile", "latency_metric", "aggregate", "comparator", "times"}
"""Fields that a renderer decides by, and that no user writes."""
_FREE_KEYS = {"tags", "labels", "env", "headers", "axes"}
"""Mappings whose keys are the user's own words."""


def texts_of(value: object) -> Iterator[str]:
    """Every text in it, and the free keys of its mappings, in their order."""
    return _texts(value, "")


def with_texts(value: _Any, changed: Callable[[str], str]) -> _Any:
    """The same with every free text changed: not one of a fixed set, nor what a renderer decides by."""
    made: _Any = _with_texts(value, changed, "")
    return made


def _texts(value: object, name: str) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, msgspec.Struct):
        for field in _free_fields(type(value)):
            yield from _texts(getattr(value, field), field)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _texts(one, name)
    elif isinstance(value, dict):
        if name in _FREE_KEYS:
            yield from (key for key in value if isinstance(key, str))
        for key, one in value.items():
            yield from _texts(one, str(key))


def _with_texts(value: Any, changed: Callable[[str], str], name: str) -> Any:
    if isinstance(value, str):
        return changed(value)
    if isinstance(value, msgspec.Struct):
        old = {field: getattr(value, field) for field in _free_fields(type(value))}
        return msgspec.structs.replace(value, **{field: _with_texts(one, changed, field) for field, one in old.items()})
    if isinstance(value, tuple | list):
        return type(value)([_with_texts(one, changed, name) for one in value])
    if isinstance(value, dict):
        keys = [changed(key) if name in _FREE_KEYS and isinstance(key, str) else key for key in value]
        return dict(zip(keys, (_with_texts(one, changed, str(key)) for key, one in value.items()), strict=True))
    return value


@cache
def _free_fields(record: type[msgspec.Struct]) -> tuple[str, ...]:
    fields = msgspec.structs.fields(record)
    return tuple(one.name for one in fields if one.name not in _MEANT and not _is_of_a_set(one.type))


def _is_of_a_set(annotation: object) -> bool:
    return get_origin(annotation) is Literal or any(map(_is_of_a_set, get_args(annotation)))


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


Kind = Literal["hosts", "models", "prompts"]
KINDS: tuple[Kind, ...] = get_args(Kind)
HIDDEN = "(hidden)"
_WORDS: dict[Kind, str] = {
    "hosts": "the names and addresses of hosts",
    "models": "the names of models",
    "prompts": "what was sent, and what was to be answered",
}
_SENT = (
    ("workload", "body"), ("workload", "bodies"), ("workload", "template"), ("workload", "extra_body"),
    ("workload", "expect"), ("target", "scripted", "answer"),
)  # fmt: skip
_UNREADABLE = "# Left out: it cannot be read, so that nothing in it can be hidden.\n"
_EVERYDAY = {
    "api", "chat", "cpu", "cuda", "default", "endpoint", "engine", "generator", "gpu", "host", "latency", "local",
    "machine", "model", "request", "requests", "run", "server", "stage", "target", "test", "tokens", "worker",
}  # fmt: skip
"""Words of every report: as a name they are replaced where they stand alone."""
_BETWEEN = r"(?:%[0-9a-f]{2}|[\W_]){1,2}"
_BEFORE, _AFTER = r"(?:(?<![^\W_])|(?<=%[0-9a-f]{2}))", r"(?![^\W_])"


class StandIn(msgspec.Struct, frozen=True):
    """`shown` in place of what was `written`, in so many `places` of the report and of what it carries. Of what was
    sent `written` is the profile's key."""

    kind: Kind
    written: str
    shown: str
    places: int


class Hidden(msgspec.Struct, frozen=True):
    """`result` is what the report tells, without the names too."""

    report: Report
    result: Result
    stand_ins: tuple[StandIn, ...]
    names: tuple[Name, ...]

    def renaming(self) -> Callable[[str], str]:
        """Of texts from elsewhere, as the report has them."""
        return _Replaced(self.names)


def hide(report: Report, result: Result, kinds: Collection[Kind]) -> Hidden:
    """`result` is that of the report."""
    spec = _document(report.reproduce.spec_text)
    names = [one for one in names_told(result, spec, texts_of(report)) if one.kind in kinds]
    spec, sent = _without_prompts(spec) if "prompts" in kinds else (spec, ())
    replaced = _Replaced(_with_cut(names, result.name))
    short = msgspec.structs.replace(report, result_json="", reproduce=_without_spec(report))
    told, facts, profile = with_texts(short, replaced), with_texts(result, replaced), with_texts(spec, replaced)
    stand_ins = (*replaced.stand_ins(), *sent)
    hidden = tuple(kind for kind in KINDS if any(one.kind == kind for one in stand_ins))
    notes = (_sentence(hidden),) if hidden else ()
    facts = msgspec.structs.replace(facts, notes=(*notes, *facts.notes))
    spec_text = report.reproduce.spec_text if not hidden else _spec_text(report.reproduce.spec_text, profile)
    told = msgspec.structs.replace(
        told,
        notes=(*notes, *told.notes),
        hidden=hidden,
        reproduce=msgspec.structs.replace(told.reproduce, spec_text=spec_text),
        result_json=_as_json(facts) if report.result_json and hidden else report.result_json,
    )
    return Hidden(told, facts, stand_ins, replaced.names)


def sent_in(spec_text: str) -> tuple[str, ...]:
    """Keys of a profile that hold what was sent, or was to be answered: the only prompts that a report has."""
    return tuple(one.written for one in _without_prompts(_document(spec_text))[1])


def _sentence(hidden: Sequence[Kind]) -> str:
    return f"Hidden in this report, and in what it carries: {'; '.join(_WORDS[one] for one in hidden)}."


class _Replaced:
    """Changes texts, and counts what it changed. A name is found whatever the case and whatever stands between its
    parts, as `llama-3-1-8b` in the id of a run."""

    def __init__(self, names: Iterable[Name]) -> None:
        self.names = tuple(names)
        self._counts: Counter[Name] = Counter()
        spellings = [(word, name) for name in self.names for word in name.spellings]
        self._alone = {word.casefold(): name for word, name in spellings if not _is_telling(word)}
        telling = sorted((one for one in spellings if _is_telling(one[0])), key=lambda one: -len(one[0]))
        self._order = [name for _, name in telling]
        within = "|".join(f"({_pattern(word)})" for word, _ in telling)
        self._pattern = re.compile(f"{_BEFORE}(?:{within}){_AFTER}", re.IGNORECASE) if telling else None

    def __call__(self, text: str) -> str:
        alone = self._alone.get(text.casefold())
        if alone is not None:
            self._counts[alone] += 1
            return alone.shown
        return text if self._pattern is None else self._pattern.sub(self._shown, text)

    def stand_ins(self) -> tuple[StandIn, ...]:
        return tuple(
            StandIn(one.kind, one.spellings[0], one.shown, self._counts[one]) for one in self.names if self._counts[one]
        )

    def _shown(self, match: re.Match[str]) -> str:
        name = self._order[(match.lastindex or 1) - 1]
        self._counts[name] += 1
        return name.shown


def _with_cut(names: list[Name], title: str) -> list[Name]:
    """A run's id has its profile's name, and may have the half of a name that is in it."""
    word, shown = word_of_id(title), word_of_id(_Replaced(names)(title))
    if len(word) < LONGEST_WORD or word == shown:
        return names
    kind = next(one.kind for one in names if _Replaced([one])(title) != title)
    return [*names, Name(kind, (word,), shown)]


def _is_telling(word: str) -> bool:
    """Whether it is the name wherever it stands: not a number, a letter or a word of every report."""
    is_word = sum(one.isalnum() for one in word) > 1 and any(one.isalpha() for one in word)
    return (is_word or _is_address(word)) and word.casefold() not in _EVERYDAY


def _is_address(word: str) -> bool:
    return word.count(".") == 3 or word.count(":") > 1


def _pattern(word: str) -> str:
    if _is_address(word) and not any(one.isalpha() for one in word):
        return re.escape(word)
    return _BETWEEN.join(re.escape(part) for part in re.split(r"[\W_]+", word) if part)


def _without_prompts(spec: Any) -> tuple[Any, tuple[StandIn, ...]]:
    found = []
    for path in _SENT:
        if value_at(spec, path) not in (REMOVED, None, [], {}, "", HIDDEN):
            spec = with_value(spec, path, HIDDEN)
            found.append(StandIn("prompts", ".".join(path), HIDDEN, 1))
    return spec, tuple(found)


def _without_spec(report: Report) -> Any:
    return msgspec.structs.replace(report.reproduce, spec_text="")


def _document(text: str) -> Any:
    """None where it cannot be read: written by hand, or of a newer version."""
    try:
        return read_document(text.encode(), "spec.yaml").value
    except ProfileError:
        return None


def _spec_text(text: str, document: Any) -> str:
    """Written anew: a comment may hold a name in any words."""
    if not text:
        return text
    return document_text(document) if isinstance(document, dict) else _UNREADABLE


def _as_json(result: Result) -> str:
    return msgspec.json.format(msgspec.json.encode(result), indent=2).decode()
