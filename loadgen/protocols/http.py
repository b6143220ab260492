"""Plain HTTP: fixed bodies, or a template filled from a dataset.

`{{column}}` in a body or a path, replaced by a row's column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from mimetypes import guess_type
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from loadgen.decoding import decode_json
from loadgen.payloads.datasets import DatasetError, DatasetReading, OneRow, as_body, as_json, picks
from loadgen.protocols.built import MAX_BUILT_BYTES, Built, WorkloadError
from loadgen.protocols.expectation import judge_of
from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.workloads import HttpWorkload

_PLACEHOLDER = re.compile(r"\{\{([^{}]+)\}\}")
_STRING_PARTS = re.compile(r'\\.|"', re.DOTALL)
_MOST_IN_A_PATH = 64 * 1024


class _Hole(NamedTuple):
    column: str
    is_in_string: bool


class Template:
    """Raises WorkloadError when `is_json` is asked for and the text is none; None finds out."""

    def __init__(self, text: str, *, is_json: bool | None, is_csv: bool) -> None:
        self._is_csv = is_csv
        self._parts = _parts(text)
        fits = is_json is not False and _is_json(self._parts)
        if is_json and not fits:
            raise WorkloadError("the template is not JSON", hint="every {{column}} outside quotes becomes a JSON value")
        self.is_json = fits
        self._fixed = [part.encode() if isinstance(part, str) else part for part in self._parts]

    @property
    def has_holes(self) -> bool:
        return any(isinstance(part, _Hole) for part in self._parts)

    def fill(self, row: Mapping[str, object]) -> bytes:
        """Raises WorkloadError when the row lacks a column or fills too much, and DatasetError."""
        filled = bytearray()
        for part in self._fixed:
            filled += part if isinstance(part, bytes) else self._filled(part, row)
            if len(filled) > MAX_BUILT_BYTES:
                raise WorkloadError(f"a row fills the template to more than {MAX_BUILT_BYTES >> 20} MiB")
        return bytes(filled)

    def _filled(self, hole: _Hole, row: Mapping[str, object]) -> bytes:
        value = _value(hole.column, row)
        if not self.is_json:
            return value if isinstance(value, bytes) else _text(value).encode()
        if not hole.is_in_string:
            return as_json(value, is_csv=self._is_csv)
        is_text = isinstance(value, str | bytes)  # bytes come as base64
        return msgspec.json.encode(value if is_text else _text(value))[1:-1]


class PathTemplate:
    def __init__(self, text: str) -> None:
        self._parts = _parts(text)

    @property
    def has_holes(self) -> bool:
        return any(isinstance(part, _Hole) for part in self._parts)

    def fill(self, row: Mapping[str, object]) -> str:
        """Raises WorkloadError when the row lacks a column or fills too much, and DatasetError."""
        return "".join(part if isinstance(part, str) else self._filled(part, row) for part in self._parts)

    @staticmethod
    def _filled(hole: _Hole, row: Mapping[str, object]) -> str:
        value = _value(hole.column, row)
        text = value if isinstance(value, bytes) else _text(value)
        if len(text) > _MOST_IN_A_PATH:
            raise WorkloadError(f"a row's {hole.column!r} is too long for a path")
        return quote(text, safe="")


def _parts(text: str) -> list[str | _Hole]:
    """Fixed text and holes by turns."""
    parts: list[str | _Hole] = []
    at, is_in_string = 0, False
    for found in _PLACEHOLDER.finditer(text):
        fixed = text[at : found.start()]
        is_in_string ^= sum(part == '"' for part in _STRING_PARTS.findall(fixed)) % 2 == 1
        parts += [fixed, _Hole(found[1].strip(), is_in_string)]
        at = found.end()
    return [*parts, text[at:]]


def _is_json(parts: list[str | _Hole]) -> bool:
    try:
        decode_json("".join(part if isinstance(part, str) else "0" for part in parts))
    except msgspec.DecodeError:
        return False
    return True


def _value(column: str, row: Mapping[str, object]) -> object:
    if column not in row:
        raise WorkloadError(
            f"a row of the dataset has no column {column!r}", hint=f"it has {', '.join(row)[:200] or 'none'}"
        )
    return row[column]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else as_json(value, is_csv=False).decode()


_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"[!-~]+")
_BODILESS = ("GET", "HEAD", "OPTIONS", "TRACE")


def request_bytes(
    method: str, path: str, address: Address, headers: Sequence[tuple[str, str]], body: bytes | None
) -> bytes:
    """One request. Later headers of a name replace earlier ones; Content-Length is ours to say."""
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(path):
        raise WorkloadError("the method or path holds a character that a request line cannot", hint="quote it as %XX")
    fields = {
        "host": ("Host", address.authority),
        "user-agent": ("User-Agent", "sizewise"),
        "accept-encoding": ("Accept-Encoding", "identity"),
    }
    for name, value in headers:
        if not _TOKEN.fullmatch(name) or "\r" in value or "\n" in value or "\0" in value:
            raise WorkloadError(f"the header {name!r} holds a line break or a character that a header cannot")
        fields[name.lower()] = (name, value)
    fields.pop("content-length", None)
    if body is not None:
        fields["content-length"] = ("Content-Length", str(len(body)))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.values()), "", ""]
    try:
        return "\r\n".join(lines).encode("latin-1") + (body or b"")
    except UnicodeEncodeError as error:
        raise WorkloadError("a header holds a character outside ISO 8859-1") from error


class Unsent(NamedTuple):
    """What differs from request to request."""

    path: str
    body: bytes | None
    content_type: str | None = None


def build_http(workload: HttpWorkload, endpoint: Endpoint, address: Address) -> Built:
    """Raises WorkloadError."""
    method, path = workload.method.upper(), workload.path or address.path
    reading = None if workload.dataset is None else DatasetReading(workload.dataset, MAX_BUILT_BYTES)
    unsent = _fixed(workload, method, path) if reading is None else _filled(workload, method, path, reading)
    try:
        requests, was_cut = within_memory(unsent, method, endpoint, address)
    except DatasetError as error:
        raise WorkloadError(str(error)) from error
    return Built(
        requests=requests,
        judge=judge_of(workload.expect),
        shown=f"{method} {address.shown(path)}",
        is_head=method == "HEAD",
        picks=picks(workload.popularity, len(requests), workload.seed),
        notes=left_out_notes(requests, was_cut or (reading is not None and reading.was_cut)),
    )


def _fixed(workload: HttpWorkload, method: str, path: str) -> Iterator[Unsent]:
    if PathTemplate(workload.path or "").has_holes:
        raise WorkloadError("the path has a {{column}}, and there is no dataset")
    if workload.template is not None:
        template = Template(workload.template, is_json=_says_json(workload.content_type), is_csv=False)
        if template.has_holes:
            raise WorkloadError("the template has a {{column}}, and there is no dataset")
        yield Unsent(path, template.fill({}), workload.content_type or _type_of(template))
    elif workload.bodies:
        yield from (Unsent(path, body, workload.content_type) for body in workload.bodies)
    else:
        yield Unsent(path, None if method in _BODILESS else b"")


def _filled(workload: HttpWorkload, method: str, path: str, reading: DatasetReading) -> Iterator[Unsent]:
    path_template = PathTemplate(workload.path or "")
    path_of = path_template.fill if path_template.has_holes else lambda _row: path
    body_of = _body_maker(workload, method, reading.format)
    for one in reading:
        yield Unsent(path_of(one.row), *body_of(one))


_Body = tuple[bytes | None, str | None]
"""A body and its content type."""


def _body_maker(workload: HttpWorkload, method: str, format_: str) -> Callable[[OneRow], _Body]:
    is_csv, given_type = format_ == "csv", workload.content_type
    if workload.template is not None:
        template = Template(workload.template, is_json=_says_json(given_type), is_csv=is_csv)
        content_type = given_type or _type_of(template)
        return lambda one: (template.fill(one.row), content_type)
    if method in _BODILESS:
        return lambda _: (None, None)
    return lambda one: (as_body(one, is_csv=is_csv), given_type or _type_of_row(one))


def _type_of_row(one: OneRow) -> str:
    """The content type of a row that is sent as it is: a file's is guessed from its name."""
    return (guess_type(one.name)[0] or "application/octet-stream") if one.name else "application/json"


def _says_json(content_type: str | None) -> bool | None:
    if content_type is None:
        return None
    essence = content_type.partition(";")[0].strip().lower()
    return essence == "application/json" or essence.endswith("+json")


def _type_of(template: Template) -> str:
    return "application/json" if template.is_json else "text/plain; charset=utf-8"


def within_memory(
    unsent: Iterable[Unsent], method: str, endpoint: Endpoint, address: Address
) -> tuple[list[bytes], bool]:
    """At least one request, and whether there were more than the memory for them holds."""
    requests: list[bytes] = []
    total = 0
    for path, body, content_type in unsent:
        fields = [] if content_type is None else [("Content-Type", content_type)]
        request = request_bytes(method, path, address, [*fields, *endpoint.headers], body)
        total += len(request)
        if requests and total > MAX_BUILT_BYTES:
            return requests, True
        requests.append(request)
    return requests, False


def left_out_notes(requests: Sequence[bytes], was_cut: bool) -> tuple[str, ...]:
    if not was_cut:
        return ()
    return (f"only the first {len(requests):,} requests were used: more would take over {MAX_BUILT_BYTES >> 20} MiB",)
