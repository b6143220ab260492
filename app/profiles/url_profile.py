"""Build the profile of a URL that is measured without a profile file, from the options of the
command line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from app.errors import UsageError
from app.profiles.document import MAX_BYTES
from app.records.protocols import PROTOCOLS, get_default_protocol, get_protocol

_OUTSIDE_NAME = re.compile(r"[^A-Za-z0-9._]+")
_MAX_NAME_LENGTH = 64
DEFAULT_DURATION = "10s"
_CONTENT_TYPE = "content-type"


class UrlTarget(msgspec.Struct, frozen=True, kw_only=True):
    """A target that is named by its URL, and the requests that are sent to it.

    `headers` are lines such as `Name: value`. `data` is the body of a request, or `@` and the path
    of a file with the body. `api_key` is a reference, such as env:API_KEY.
    """

    url: str
    protocol: str = get_default_protocol().id
    model: str | None = None
    api_key: str | None = None
    headers: tuple[str, ...] = ()
    method: str | None = None
    data: str | None = None
    input_tokens: str | None = None
    output_tokens: str | None = None
    is_permitted: bool = False
    verifies_certificate: bool = True


class UrlLoad(msgspec.Struct, frozen=True, kw_only=True):
    """Load on a URL, in the notation of profiles.

    Each of `rates` and of `concurrency` is one load. Without any, the run replays `trace`, searches
    for the highest rate within the SLO, for `max_duration` at most, or, without an SLO, sends one
    request after another. A language model's prompts are those of `trace`, if given.
    """

    rates: tuple[str, ...] = ()
    concurrency: tuple[int, ...] = ()
    duration: str | None = None
    requests: int | None = None
    warmup: str | None = None
    max_duration: str | None = None
    slo: tuple[str, ...] = ()
    trace: str | None = None


def build_url_tree(target: UrlTarget, load: UrlLoad) -> dict[str, Any]:
    """Return the profile of a URL as a mapping with only the keys that differ from the defaults.
    Raises UsageError for options that cannot be combined, and for a body that cannot be read."""
    workload = _build_workload(target, load)
    if "trace" in workload and load.warmup is None and not load.rates and not load.concurrency:
        # A warm-up would send the prompts that the replay sends again, from the prefix cache.
        load = msgspec.structs.replace(load, warmup="0s")
    tree: dict[str, Any] = {
        "sizewise": 1,
        "name": _build_name(target.url),
        "target": _build_target(target),
        "workload": workload,
        "load": _build_load(load),
        "slo": list(load.slo),
    }
    return {key: value for key, value in tree.items() if value not in ({}, [])}


def _build_name(url: str) -> str:
    """Return the host, port and path of a URL as the name of a profile."""
    try:
        url_parts = urlsplit(url)
    except ValueError:  # is reported when the URL itself is checked
        return "url"
    host_and_port = url_parts.netloc.rpartition("@")[2]
    return build_profile_name(f"{host_and_port}{url_parts.path}", "url")


def build_profile_name(text: str, default: str) -> str:
    """Return the text with dashes in place of characters that are not allowed in the name of a
    profile, or `default` if nothing is left."""
    return _OUTSIDE_NAME.sub("-", text).strip("-._")[:_MAX_NAME_LENGTH].rstrip("-._") or default


def _build_target(target: UrlTarget) -> dict[str, Any]:
    headers = dict(_parse_header(line) for line in target.headers)
    keys: dict[str, Any] = {
        "protocol": target.protocol,
        "url": target.url,
        "model": target.model,
        "api_key": target.api_key,
        "headers": {name: value for name, value in headers.items() if name.casefold() != _CONTENT_TYPE},
        "tls": {} if target.verifies_certificate else {"verify": False},
        "permitted": target.is_permitted,
    }
    return {key: value for key, value in keys.items() if value not in (None, {}, False)}


def _parse_header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise UsageError(f"--header {name.strip()!r} has no value", hint="Write it as 'Name: value'.")
    return name.strip(), value.strip()


def _build_workload(target: UrlTarget, load: UrlLoad) -> dict[str, Any]:
    protocol = get_protocol(target.protocol)
    prompts, text_options = protocol.workload.get("prompts", {}), list_url_options(has_text=True)
    if protocol.generates_text:
        if load.trace is not None:
            _refuse_lengths(target, "cannot be combined with --trace", "The trace has the lengths.")
            return {"trace": load.trace}
        return {
            "prompts": {
                "input_tokens": _parse_length(target.input_tokens or str(prompts["input_tokens"])),
                "output_tokens": _parse_length(target.output_tokens or str(prompts["output_tokens"])),
            }
        }
    if load.trace is not None and (load.rates or load.concurrency):
        raise UsageError(
            f"--trace cannot be combined with --rate or --concurrency without {text_options}",
            hint="Remove one of them; only the prompts of a language model can come from a trace.",
        )
    if prompts:
        without_input = msgspec.structs.replace(target, input_tokens=None)
        _refuse_lengths(without_input, "is only for a language model", "Remove it.")
        return {"prompts": {"input_tokens": _parse_length(target.input_tokens or str(prompts["input_tokens"]))}}
    if "audio" in protocol.workload:
        _refuse_lengths(target, "is only for requests with texts", "Remove it.")
        return {"audio": dict(protocol.workload["audio"])}
    _refuse_lengths(target, f"requires {text_options}", "Use --openai URL for an OpenAI-compatible API.")
    if protocol.has_model:
        return dict(protocol.workload)
    body = None if target.data is None else _read_body(target.data)
    keys = {
        "method": None if target.method is None else target.method.upper(),
        "body": body,
        "content_type": next(
            (value for name, value in map(_parse_header, target.headers) if name.casefold() == _CONTENT_TYPE),
            "application/json" if isinstance(body, str) else None,  # text is then checked when the profile is loaded
        ),
    }
    return {key: value for key, value in keys.items() if value is not None}


def list_url_options(*, has_text: bool = False) -> str:
    """Return the options of `sizewise run` whose value is a URL as text, such as --openai or --anthropic:
    all of them, or only those for generated text."""
    rows = [row for row in PROTOCOLS if row.generates_text or not has_text]
    *options, last = [f"--{row.url_option.name}" for row in rows if row.url_option is not None]
    return f"{', '.join(options)} or {last}"


def _refuse_lengths(target: UrlTarget, problem: str, hint: str) -> None:
    for option, value in (("--input-tokens", target.input_tokens), ("--output-tokens", target.output_tokens)):
        if value is not None:
            raise UsageError(f"{option} {problem}", hint=hint)


def _parse_length(text: str) -> int | str:
    """Return a number of tokens, or a distribution as it is written in a profile."""
    return int(text) if text.isascii() and text.isdecimal() else text


def _read_body(data: str) -> Any:
    """Return the body of a request as JSON, or as text if it is not JSON or a JSON string, which a
    profile would send without its quotes."""
    text = _read_body_file(Path(data[1:])) if data.startswith("@") else data
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, str) else value


def _read_body_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--data @{path}: {error.strerror}", hint="Check the path.") from error
    if len(content) > MAX_BYTES:
        raise UsageError(f"--data @{path} is larger than 1 MiB", hint="Use a profile with workload.dataset.")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        hint = "Use a profile with workload.dataset, which sends files unchanged."
        raise UsageError(f"--data @{path} is not UTF-8 text", hint=hint) from error


def _build_load(load: UrlLoad) -> dict[str, Any]:
    if load.rates and load.concurrency:
        raise UsageError("--rate and --concurrency cannot be combined", hint="Use one of them.")
    warmup = {} if load.warmup is None else {"warmup": load.warmup}
    is_replay = load.trace is not None and not load.rates and not load.concurrency
    is_search = not (is_replay or load.rates or load.concurrency) and bool(load.slo) and load.requests is None
    if load.max_duration is not None and not is_search:
        hint = "It limits the search that --slo starts without --rate, --concurrency, --requests and --trace."
        raise UsageError("--max-duration requires a search", hint=hint)
    if is_replay:
        if load.requests is not None:
            raise UsageError("--requests cannot be combined with --trace", hint="Use --duration to shorten the replay.")
        duration = {} if load.duration is None else {"duration": load.duration}
        return {**warmup, "stages": [{"name": "replay", "trace": load.trace, **duration}]}
    if is_search:
        times = {"step_duration": load.duration, "max_duration": load.max_duration}
        step = {key: value for key, value in times.items() if value is not None}
        return {**warmup, "search": {"arrivals": "poisson", "start": "10/s", **step}}
    if load.requests is None and len(load.rates) + len(load.concurrency) > 1:
        loads = {"rates": list(load.rates)} if load.rates else {"concurrency": list(load.concurrency)}
        return {**warmup, "sweep": {**loads, "step_duration": load.duration or DEFAULT_DURATION}}
    stages: list[dict[str, Any]] = [{"rate": rate} for rate in load.rates]
    stages = stages or [{"concurrency": clients} for clients in load.concurrency or (1,)]
    return {**warmup, "stages": [_build_stage(stage, load, is_single=len(stages) == 1) for stage in stages]}


def _build_stage(stage: dict[str, Any], load: UrlLoad, *, is_single: bool) -> dict[str, Any]:
    form, value = next(iter(stage.items()))
    name = "steady" if is_single else f"{form}-{_OUTSIDE_NAME.sub('-', str(value).removesuffix('/s'))}"
    duration = load.duration or (DEFAULT_DURATION if load.requests is None else None)
    limits = {"duration": duration, "requests": load.requests}
    return {"name": name, **stage, **{key: limit for key, limit in limits.items() if limit is not None}}


def parse_list(text: str) -> tuple[str, ...]:
    """Return the values of a list that is separated by commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
