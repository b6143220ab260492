"""Redact hosts, models and prompts in a report, for readers who may see only the numbers.

A name is replaced by the same placeholder everywhere: in the report, in the result and the profile
embedded in the report, and in the files that accompany the report. The stored run is not changed.
The module also reads and replaces the strings in records and documents, and finds all spellings of
the names of hosts and models in a run.
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
from app.profiles.document import format_document, read_document
from app.profiles.editing import REMOVED, get_value, set_value
from app.records.result import Result
from app.storage.run_directory import MAX_SLUG_CHARACTERS, slugify
from loadgen.machine import never_leaves_machine
from reports.model import Report

_Value = TypeVar("_Value")
_SEMANTIC_FIELDS = {"unit", "metric", "percentile", "latency_metric", "aggregate", "comparator", "times"}
"""Names of fields that renderers interpret and that never contain user input."""
_USER_KEYED_FIELDS = {"tags", "labels", "env", "headers", "axes"}
"""Names of fields whose value is a mapping with user-defined keys."""


def iterate_texts(value: object) -> Iterator[str]:
    """Yield every string in a record or document, including the keys of mappings with user-defined
    keys, in order."""
    return _iter_texts(value, "")


def replace_texts(value: _Value, change: Callable[[str], str]) -> _Value:
    """Return a copy of a record or document with `change` applied to every free-form string. Enum
    values and fields that renderers interpret are unchanged."""
    result: _Value = _replace_texts(value, change, "")
    return result


def _iter_texts(value: object, field_name: str) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, msgspec.Struct):
        for field in _list_free_text_fields(type(value)):
            yield from _iter_texts(getattr(value, field), field)
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _iter_texts(item, field_name)
    elif isinstance(value, dict):
        if field_name in _USER_KEYED_FIELDS:
            yield from (key for key in value if isinstance(key, str))
        for key, item in value.items():
            yield from _iter_texts(item, str(key))


def _replace_texts(value: Any, change: Callable[[str], str], field_name: str) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, msgspec.Struct):
        free_text_values = {field: getattr(value, field) for field in _list_free_text_fields(type(value))}
        return msgspec.structs.replace(
            value, **{field: _replace_texts(item, change, field) for field, item in free_text_values.items()}
        )
    if isinstance(value, tuple | list):
        return type(value)([_replace_texts(item, change, field_name) for item in value])
    if isinstance(value, dict):
        keys = [change(key) if field_name in _USER_KEYED_FIELDS and isinstance(key, str) else key for key in value]
        return dict(zip(keys, (_replace_texts(item, change, str(key)) for key, item in value.items()), strict=True))
    return value


@cache
def _list_free_text_fields(record_type: type[msgspec.Struct]) -> tuple[str, ...]:
    fields = msgspec.structs.fields(record_type)
    return tuple(field.name for field in fields if field.name not in _SEMANTIC_FIELDS and not _is_literal(field.type))


def _is_literal(annotation: object) -> bool:
    return get_origin(annotation) is Literal or any(map(_is_literal, get_args(annotation)))


NameKind = Literal["hosts", "models"]
_URL_HOST = re.compile(
    r"\b[a-z][a-z0-9+.-]{0,20}://(?:[^\s/@]*@)?(\[[0-9a-f:.]+\]|[^\s/:?#,;'\"<>()\[\]]+)", re.IGNORECASE
)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
_MACHINE_LABEL = re.compile(r"(?=.*[a-z])[a-z0-9]*[0-9-][a-z0-9-]*", re.IGNORECASE)
"""Pattern for the first label of a host name if the label identifies a machine, such as gpu-box-7.
Labels such as `api` or `www` do not match."""
_BUILT_IN_MODELS = ("scripted",)
_MODEL_OPTION = re.compile(r"-m|--?[a-z-]*(?:model|tokenizer)[a-z-]*|--hf-repo|--lora-modules", re.IGNORECASE)
_MODEL_FILE = re.compile(r".*\.(?:onnx|gguf|safetensors|engine|plan|pt)", re.IGNORECASE)
_GENERIC_STEMS = ("model", "tokenizer", "default", "digest")
"""File stems that do not identify a model."""
_HOST_LABELS = ("instance", "host", "hostname", "node", "nodename", "pod")
_MODEL_LABELS = ("model", "model_name", "model_id")


class Name(msgspec.Struct, frozen=True):
    """Name of a host or model with all its spellings, longest first. `replacement` replaces every
    spelling."""

    kind: NameKind
    spellings: tuple[str, ...]
    replacement: str


def find_identifiers(result: Result, spec: object, texts: Iterable[str]) -> tuple[Name, ...]:
    """Return the names of hosts and models in order of occurrence, so that the numbers in the
    replacements are reproducible.

    `spec` is the parsed profile. `texts` are further strings that may contain URLs. Loopback
    addresses and the built-in scripted model are not returned.
    """
    spec_texts = tuple(iterate_texts(spec))
    hosts = [*_find_all(result.target.urls, _URL_HOST), *_iter_hosts(result, spec)]
    hosts += [*_find_all((*iterate_texts(result), *spec_texts, *texts), _URL_HOST), *_find_all(spec_texts, _IPV4)]
    host_spellings = [
        _list_host_spellings(host) for host in map(_strip_host, hosts) if host and not _identifies_no_host(host)
    ]
    model_spellings = [spellings for spellings in map(_merge_spellings, _iter_models(result, spec)) if spellings]
    return (*_number_names("hosts", host_spellings), *_number_names("models", model_spellings))


def _number_names(kind: NameKind, spelling_groups: Iterable[tuple[str, ...]]) -> Iterator[Name]:
    """Yield a name with a numbered replacement for each group of spellings. Groups that share a
    spelling are merged."""
    merged_groups: list[dict[str, str]] = []
    for spellings in spelling_groups:
        spellings_by_key = {spelling.casefold(): spelling for spelling in spellings}
        overlapping_groups = [group for group in merged_groups if group.keys() & spellings_by_key.keys()]
        if overlapping_groups:
            for group in overlapping_groups[1:]:
                overlapping_groups[0].update(group)
                merged_groups.remove(group)
            overlapping_groups[0].update(
                {key: spelling for key, spelling in spellings_by_key.items() if key not in overlapping_groups[0]}
            )
        else:
            merged_groups.append(spellings_by_key)
    for number, group in enumerate(merged_groups, 1):
        yield Name(kind, tuple(group.values()), f"{kind.removesuffix('s')}-{number}")


def _iter_hosts(result: Result, spec: object) -> Iterator[str]:
    yield result.environment.host
    for stage in result.stages:
        yield from (worker.host for worker in stage.workers)
    if result.comparison is not None:
        for difference in result.comparison.differences:
            if difference.id == "machine":
                yield from (*difference.baseline_values, *difference.candidate_values)
    yield from _iter_label_values(spec, _HOST_LABELS)
    for key, value in _as_mapping(_get_nested_value(spec, "target", "headers")).items():
        if str(key).casefold() in ("host", ":authority"):
            yield str(value)


def _find_all(texts: Iterable[str], pattern: re.Pattern[str]) -> Iterator[str]:
    for text in texts:
        for match in pattern.finditer(text):
            yield match[1] if pattern.groups else match[0]


def _strip_host(host: str) -> str:
    """Return the host without port, brackets and a trailing dot."""
    host = host.strip()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return (host if host.count(":") > 1 else host.partition(":")[0]).rstrip(".")


def _identifies_no_host(host: str) -> bool:
    """Return whether a host is unknown or certainly this machine. A name such as `model.localhost` is
    neither: it may be that of any machine, and says what runs there."""
    address = _parse_address(host)
    is_any_address = address is not None and address.is_unspecified
    return host.casefold() == "n/a" or is_any_address or never_leaves_machine(host)


def _parse_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _list_host_spellings(host: str) -> tuple[str, ...]:
    first_label, dot, _ = host.partition(".")
    is_machine_name = dot and _parse_address(host) is None and _MACHINE_LABEL.fullmatch(first_label) is not None
    return (host, first_label) if is_machine_name else (host,)


def _iter_models(result: Result, spec: object) -> Iterator[tuple[str, ...]]:
    """Yield all names of each model in the result and the profile."""
    yield (result.target.model or "",)
    yield from ((stage.variant.model,) for stage in result.stages if stage.variant is not None)
    if result.local is not None:
        for variant in result.local.variants:
            yield variant.variant.model, variant.model_file, variant.model_sha256 or ""
    yield from ((name,) for name in _iter_requested_models(result, spec))


def _iter_requested_models(result: Result, spec: object) -> Iterator[str]:
    target = _as_mapping(_get_nested_value(spec, "target"))
    for section in (target, target.get("serve"), *_as_list(target.get("variants"))):
        yield from (name for name in _as_list(_get_nested_value(section, "model")) if isinstance(name, str))
    for request_class in _as_list(_get_nested_value(spec, "workload", "classes")):
        yield str(_get_nested_value(request_class, "model") or "")
    yield str(_get_nested_value(spec, "workload", "tokenizer") or "")
    yield from _iter_server_models(_as_mapping(target.get("start")))
    yield from _iter_label_values(spec, _MODEL_LABELS)
    if result.comparison is not None:
        for difference in result.comparison.differences:
            if difference.id == "model":
                yield from (*difference.baseline_values, *difference.candidate_values)


def _iter_server_models(start_section: dict[Any, Any]) -> Iterator[str]:
    """Yield the model names in the command line and the environment variables of a server: `vllm
    serve NAME`, `--model NAME`, or the path of a model file."""
    arguments = [argument for argument in _as_list(start_section.get("command")) if isinstance(argument, str)]
    for argument, next_argument in pairwise([*arguments, ""]):
        option, _, value = argument.partition("=")
        if argument == "serve" or _MODEL_OPTION.fullmatch(argument):
            yield "" if next_argument.startswith("-") else next_argument
        elif value and _MODEL_OPTION.fullmatch(option):
            yield value
        elif _MODEL_FILE.fullmatch(argument):
            yield argument
    yield from (
        str(value) for name, value in _as_mapping(start_section.get("env")).items() if "MODEL" in str(name).upper()
    )


def _merge_spellings(names: tuple[str, ...]) -> tuple[str, ...]:
    model_names = (name for name in names if name and name != "n/a" and name not in _BUILT_IN_MODELS)
    return tuple(dict.fromkeys(spelling for name in model_names for spelling in _list_model_spellings(name)))


def _list_model_spellings(model: str) -> tuple[str, ...]:
    """Return the spellings of a model name.

    The spellings of a path include the file name and the file stem. If the file name does not
    identify the model, they include the name of the folder instead of the stem. The spellings of
    `org/name` include `name`.
    """
    path = PurePath(model)
    spellings = [model, path.name]
    if _MODEL_FILE.fullmatch(path.name) or path.suffix == ".json":
        spellings.append(path.stem if path.stem.casefold() not in _GENERIC_STEMS else path.parent.name)
    return tuple(
        dict.fromkeys(spelling for spelling in spellings if spelling and spelling.casefold() not in _GENERIC_STEMS)
    ) or (model,)


def _iter_label_values(spec: object, label_names: tuple[str, ...]) -> Iterator[str]:
    """Yield the values of the labels in `label_names` from the telemetry settings of the
    profile."""
    for scrape in _as_list(_get_nested_value(spec, "telemetry")):
        for name, value in _as_mapping(_get_nested_value(scrape, "labels")).items():
            if str(name).casefold() in label_names:
                yield str(value)


def _get_nested_value(tree: object, *keys: str) -> object:
    for key in keys:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _as_mapping(value: object) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


RedactedKind = Literal["hosts", "models", "prompts"]
REDACTED_KINDS: tuple[RedactedKind, ...] = get_args(RedactedKind)
REDACTED_TEXT = "(redacted)"
_KIND_TEXTS: dict[RedactedKind, str] = {
    "hosts": "host names and addresses",
    "models": "model names",
    "prompts": "prompts and expected responses",
}
_PROMPT_KEYS = (
    ("workload", "body"), ("workload", "bodies"), ("workload", "template"), ("workload", "extra_body"),
    ("workload", "session"), ("workload", "expect"), ("target", "scripted", "response"),
)  # fmt: skip
_UNREADABLE_NOTE = "# This file is omitted: it cannot be read, so nothing in it can be redacted.\n"
_COMMON_WORDS = {
    "api", "chat", "cpu", "cuda", "default", "endpoint", "engine", "generator", "gpu", "host", "latency", "local",
    "machine", "model", "request", "requests", "run", "server", "stage", "target", "test", "tokens", "worker",
}  # fmt: skip
"""Common words of reports. A name that is one of these words is replaced only if it is the whole
string."""
_SEPARATORS = r"(?:%[0-9a-f]{2}|[\W_]){1,2}"
_NAME_START, _NAME_END = r"(?:(?<![^\W_])|(?<=%[0-9a-f]{2}))", r"(?![^\W_])"


class Redaction(msgspec.Struct, frozen=True):
    """Replacement of `original` by `replacement`, with the number of occurrences in the report and
    its embedded documents.

    For prompts, `original` is the profile key of the prompt.
    """

    kind: RedactedKind
    original: str
    replacement: str
    occurrences: int


class RedactedReport(msgspec.Struct, frozen=True):
    """A redacted report and its redacted result, with the redactions and the names that were
    searched for."""

    report: Report
    result: Result
    redactions: tuple[Redaction, ...]
    names: tuple[Name, ...]

    def build_replacer(self) -> Callable[[str], str]:
        """Build a function that redacts the names found in the report in any other string."""
        return _NameReplacer(self.names)


def redact(report: Report, result: Result, kinds: Collection[RedactedKind]) -> RedactedReport:
    """Redact names and prompts of the given kinds in a report and its result."""
    spec = _parse_document(report.reproduce.spec_text)
    names = [name for name in find_identifiers(result, spec, iterate_texts(report)) if name.kind in kinds]
    spec, prompt_redactions = _redact_prompts(spec) if "prompts" in kinds else (spec, ())
    replacer = _NameReplacer(_add_truncated_name(names, result.name))
    shortened_report = msgspec.structs.replace(report, result_json="", reproduce=_clear_spec(report))
    redacted_report, redacted_result, redacted_spec = (
        replace_texts(shortened_report, replacer),
        replace_texts(result, replacer),
        replace_texts(spec, replacer),
    )
    redactions = (*replacer.list_redactions(), *prompt_redactions)
    redacted_kinds = tuple(kind for kind in REDACTED_KINDS if any(redaction.kind == kind for redaction in redactions))
    notes = (_format_note(redacted_kinds),) if redacted_kinds else ()
    redacted_result = msgspec.structs.replace(redacted_result, notes=(*notes, *redacted_result.notes))
    spec_text = (
        report.reproduce.spec_text
        if not redacted_kinds
        else _format_spec_text(report.reproduce.spec_text, redacted_spec)
    )
    redacted_report = msgspec.structs.replace(
        redacted_report,
        notes=(*notes, *redacted_report.notes),
        redacted=redacted_kinds,
        reproduce=msgspec.structs.replace(redacted_report.reproduce, spec_text=spec_text),
        result_json=_encode_result(redacted_result) if report.result_json and redacted_kinds else report.result_json,
    )
    return RedactedReport(redacted_report, redacted_result, redactions, replacer.names)


def find_prompt_keys(spec_text: str) -> tuple[str, ...]:
    """Return the keys of a profile that contain prompts or expected responses. A report contains
    prompts only in its embedded profile."""
    return tuple(redaction.original for redaction in _redact_prompts(_parse_document(spec_text))[1])


def _format_note(kinds: Sequence[RedactedKind]) -> str:
    redacted_text = "; ".join(_KIND_TEXTS[kind] for kind in kinds)
    return f"The following is redacted in this report and its embedded files: {redacted_text}."


class _NameReplacer:
    """Callable that redacts names in strings and counts the replacements.

    Names match in any case, and with any separators between the parts of a name, such as
    `llama-3-1-8b` in a run ID.
    """

    def __init__(self, names: Iterable[Name]) -> None:
        self.names = tuple(names)
        self._counts: Counter[Name] = Counter()
        named_spellings = [(spelling, name) for name in self.names for spelling in name.spellings]
        self._names_by_text = {
            spelling.casefold(): name for spelling, name in named_spellings if not _is_distinctive(spelling)
        }
        distinctive_spellings = sorted(
            (pair for pair in named_spellings if _is_distinctive(pair[0])), key=lambda pair: -len(pair[0])
        )
        self._ordered_names = [name for _, name in distinctive_spellings]
        alternation = "|".join(f"({_build_pattern(spelling)})" for spelling, _ in distinctive_spellings)
        self._pattern = (
            re.compile(f"{_NAME_START}(?:{alternation}){_NAME_END}", re.IGNORECASE) if distinctive_spellings else None
        )

    def __call__(self, text: str) -> str:
        name = self._names_by_text.get(text.casefold())
        if name is not None:
            self._counts[name] += 1
            return name.replacement
        return text if self._pattern is None else self._pattern.sub(self._replace_match, text)

    def list_redactions(self) -> tuple[Redaction, ...]:
        return tuple(
            Redaction(name.kind, name.spellings[0], name.replacement, self._counts[name])
            for name in self.names
            if self._counts[name]
        )

    def _replace_match(self, match: re.Match[str]) -> str:
        name = self._ordered_names[(match.lastindex or 1) - 1]
        self._counts[name] += 1
        return name.replacement


def _add_truncated_name(names: list[Name], profile_name: str) -> list[Name]:
    """Add the truncated form of a name to `names`, if there is one. A run ID contains the name of
    the profile, which may be truncated in the middle of the name of a host or model."""
    slug, redacted_slug = slugify(profile_name), slugify(_NameReplacer(names)(profile_name))
    if len(slug) < MAX_SLUG_CHARACTERS or slug == redacted_slug:
        return names
    kind = next(name.kind for name in names if _NameReplacer([name])(profile_name) != profile_name)
    return [*names, Name(kind, (slug,), redacted_slug)]


def _is_distinctive(spelling: str) -> bool:
    """Return whether every occurrence of a word identifies a host or model.

    Return False for numbers, single letters and common words of reports.
    """
    is_word = sum(character.isalnum() for character in spelling) > 1 and any(
        character.isalpha() for character in spelling
    )
    return (is_word or _is_address(spelling)) and spelling.casefold() not in _COMMON_WORDS


def _is_address(spelling: str) -> bool:
    return spelling.count(".") == 3 or spelling.count(":") > 1


def _build_pattern(spelling: str) -> str:
    if _is_address(spelling) and not any(character.isalpha() for character in spelling):
        return re.escape(spelling)
    return _SEPARATORS.join(re.escape(part) for part in re.split(r"[\W_]+", spelling) if part)


def _redact_prompts(spec: Any) -> tuple[Any, tuple[Redaction, ...]]:
    redactions = []
    class_count = len(_as_list(_get_nested_value(spec, "workload", "classes")))
    class_paths = [
        ("workload", "classes", index, key)
        for index in range(class_count)
        for section, key, *_ in _PROMPT_KEYS
        if section == "workload"
    ]
    for path in (*_PROMPT_KEYS, *class_paths):
        if get_value(spec, path) not in (REMOVED, None, [], {}, "", REDACTED_TEXT):
            spec = set_value(spec, path, REDACTED_TEXT)
            redactions.append(Redaction("prompts", ".".join(map(str, path)), REDACTED_TEXT, 1))
    return spec, tuple(redactions)


def _clear_spec(report: Report) -> Any:
    return msgspec.structs.replace(report.reproduce, spec_text="")


def _parse_document(text: str) -> Any:
    """Parse a profile document.

    Return `None` if the document cannot be read, for example because it was edited by hand or
    written by a newer version.
    """
    try:
        return read_document(text.encode(), "spec.yaml").value
    except ProfileError:
        return None


def _format_spec_text(text: str, document: Any) -> str:
    """Serialize the redacted profile without comments, since comments may contain a name in any
    form."""
    if not text:
        return text
    return format_document(document) if isinstance(document, dict) else _UNREADABLE_NOTE


def _encode_result(result: Result) -> str:
    return msgspec.json.format(msgspec.json.encode(result), indent=2).decode()
