"""Prepare plain HTTP workloads, with fixed bodies or with a template that is filled with the rows
of a dataset.

`{{column}}` in a body or a path is replaced by the value of this column in the row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from mimetypes import guess_type
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from loadgen.decoding import decode_json
from loadgen.payloads.datasets import DatasetError, DatasetReader, DatasetRow, draw_indices, encode_cell, encode_row
from loadgen.protocols.expectation import build_check
from loadgen.protocols.prepared import MAX_REQUESTS_BYTES, PreparedWorkload, WorkloadError
from loadgen.records import Endpoint
from loadgen.transport.address import Address
from loadgen.workloads import HttpWorkload, find_json_type

_PLACEHOLDER_PATTERN = re.compile(r"\{\{([^{}]+)\}\}")
_QUOTE_OR_ESCAPE_PATTERN = re.compile(r'\\.|"', re.DOTALL)
_MAX_PATH_CHARS = 64 * 1024


class _Placeholder(NamedTuple):
    column: str
    is_in_string: bool


class BodyTemplate:
    """Template of a request body with placeholders.

    If `is_json` is true, the template must be valid JSON, otherwise the constructor raises
    WorkloadError. If `is_json` is None, a template that is valid JSON is treated as JSON.
    """

    def __init__(self, text: str, *, is_json: bool | None, is_csv: bool) -> None:
        self._is_csv = is_csv
        self._parts = _split_placeholders(text)
        is_json_template = is_json is not False and _is_json(self._parts)
        if is_json and not is_json_template:
            raise WorkloadError(
                "the template is not valid JSON", hint="Every {{column}} outside quotes becomes a JSON value."
            )
        self.is_json = is_json_template
        self._encoded_parts = [part.encode() if isinstance(part, str) else part for part in self._parts]

    @property
    def has_placeholders(self) -> bool:
        return any(isinstance(part, _Placeholder) for part in self._parts)

    def fill(self, row: Mapping[str, object]) -> bytes:
        """Return the request body for a dataset row. Raises WorkloadError if the row lacks a column
        or the body is too large, and DatasetError if a value cannot be encoded."""
        body = bytearray()
        for part in self._encoded_parts:
            body += part if isinstance(part, bytes) else self._fill_placeholder(part, row)
            if len(body) > MAX_REQUESTS_BYTES:
                raise WorkloadError(f"the request for a row of the dataset exceeds {MAX_REQUESTS_BYTES >> 20} MiB")
        return bytes(body)

    def _fill_placeholder(self, placeholder: _Placeholder, row: Mapping[str, object]) -> bytes:
        value = _get_cell(placeholder.column, row)
        if not self.is_json:
            return value if isinstance(value, bytes) else _format_cell(value).encode()
        if not placeholder.is_in_string:
            return encode_cell(value, is_csv=self._is_csv)
        is_text = isinstance(value, str | bytes)  # bytes are encoded as base64
        return msgspec.json.encode(value if is_text else _format_cell(value))[1:-1]


class PathTemplate:
    def __init__(self, text: str) -> None:
        self._parts = _split_placeholders(text)

    @property
    def has_placeholders(self) -> bool:
        return any(isinstance(part, _Placeholder) for part in self._parts)

    def fill(self, row: Mapping[str, object]) -> str:
        """Return the request path for a dataset row. Raises WorkloadError if the row lacks a column
        or a value is too long, and DatasetError if a value cannot be encoded."""
        return "".join(part if isinstance(part, str) else self._fill_placeholder(part, row) for part in self._parts)

    @staticmethod
    def _fill_placeholder(placeholder: _Placeholder, row: Mapping[str, object]) -> str:
        value = _get_cell(placeholder.column, row)
        text = value if isinstance(value, bytes) else _format_cell(value)
        if len(text) > _MAX_PATH_CHARS:
            raise WorkloadError(
                f"a value of {placeholder.column!r} is too long for a path: it has {len(text):,} characters "
                f"(maximum: {_MAX_PATH_CHARS:,})"
            )
        return quote(text, safe="")


def _split_placeholders(text: str) -> list[str | _Placeholder]:
    """Split a template into fixed parts and placeholders, which alternate."""
    parts: list[str | _Placeholder] = []
    position, is_in_string = 0, False
    for match in _PLACEHOLDER_PATTERN.finditer(text):
        fixed_text = text[position : match.start()]
        is_in_string ^= sum(part == '"' for part in _QUOTE_OR_ESCAPE_PATTERN.findall(fixed_text)) % 2 == 1
        parts += [fixed_text, _Placeholder(match[1].strip(), is_in_string)]
        position = match.end()
    return [*parts, text[position:]]


def _is_json(parts: list[str | _Placeholder]) -> bool:
    try:
        decode_json("".join(part if isinstance(part, str) else "0" for part in parts))
    except msgspec.DecodeError:
        return False
    return True


def _get_cell(column: str, row: Mapping[str, object]) -> object:
    if column not in row:
        raise WorkloadError(
            f"a row of the dataset has no column {column!r}",
            hint=f"The row has these columns: {', '.join(row)[:200] or 'none'}.",
        )
    return row[column]


def _format_cell(value: object) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else encode_cell(value, is_csv=False).decode()


_TOKEN_PATTERN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_REQUEST_TARGET_PATTERN = re.compile(r"[!-~]+")
_BODILESS_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")


def encode_request(
    method: str, path: str, address: Address, headers: Sequence[tuple[str, str]], body: bytes | None
) -> bytes:
    """Serialize an HTTP request. Later headers replace earlier headers of the same name.
    Content-Length is always computed from the body.

    Raises WorkloadError for characters that HTTP does not allow.
    """
    if not _TOKEN_PATTERN.fullmatch(method) or not _REQUEST_TARGET_PATTERN.fullmatch(path):
        raise WorkloadError(
            "the method or path contains a character that is not allowed in a request line",
            hint="Percent-encode the character (%XX).",
        )
    fields = {
        "host": ("Host", address.authority),
        "user-agent": ("User-Agent", "sizewise"),
        "accept-encoding": ("Accept-Encoding", "identity"),
    }
    for name, value in headers:
        if not _TOKEN_PATTERN.fullmatch(name) or "\r" in value or "\n" in value or "\0" in value:
            raise WorkloadError(
                f"the header {name!r} contains a line break or another character that HTTP does not allow"
            )
        fields[name.lower()] = (name, value)
    fields.pop("content-length", None)
    if body is not None:
        fields["content-length"] = ("Content-Length", str(len(body)))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.values()), "", ""]
    try:
        return "\r\n".join(lines).encode("latin-1") + (body or b"")
    except UnicodeEncodeError as error:
        raise WorkloadError("a header contains a character outside ISO 8859-1") from error


class RequestParts(NamedTuple):
    """Parts of a request that can differ between the requests of a workload."""

    path: str
    body: bytes | None
    content_type: str | None = None


def build_http(workload: HttpWorkload, endpoint: Endpoint, address: Address) -> PreparedWorkload:
    """Prepare a plain HTTP workload. Raises WorkloadError if the requests cannot be built."""
    method, path = workload.method.upper(), workload.path or address.path
    reader = None if workload.dataset is None else DatasetReader(workload.dataset, MAX_REQUESTS_BYTES)
    request_parts = (
        _build_fixed_requests(workload, method, path)
        if reader is None
        else _build_filled_requests(workload, method, path, reader)
    )
    try:
        requests, is_truncated = encode_within_memory(request_parts, method, endpoint, address)
    except DatasetError as error:
        raise WorkloadError(str(error)) from error
    return PreparedWorkload(
        requests=requests,
        check=build_check(workload.expect, method),
        label=f"{method} {address.format_url(path)}",
        is_head=method == "HEAD",
        request_indices=draw_indices(workload.popularity, len(requests), workload.seed),
        notes=build_omitted_request_notes(requests, is_truncated or (reader is not None and reader.is_truncated)),
    )


def _build_fixed_requests(workload: HttpWorkload, method: str, path: str) -> Iterator[RequestParts]:
    if PathTemplate(workload.path or "").has_placeholders:
        raise WorkloadError("the path contains a {{column}}, but no dataset is set")
    if workload.template is not None:
        template = BodyTemplate(workload.template, is_json=find_json_type(workload.content_type), is_csv=False)
        if template.has_placeholders:
            raise WorkloadError("the template contains a {{column}}, but no dataset is set")
        yield RequestParts(path, template.fill({}), workload.content_type or _get_template_type(template))
    elif workload.bodies:
        yield from (RequestParts(path, body, workload.content_type) for body in workload.bodies)
    else:
        yield RequestParts(path, None if method in _BODILESS_METHODS else b"")


def _build_filled_requests(
    workload: HttpWorkload, method: str, path: str, reader: DatasetReader
) -> Iterator[RequestParts]:
    path_template = PathTemplate(workload.path or "")
    build_path = path_template.fill if path_template.has_placeholders else lambda _row: path
    build_body = _create_body_builder(workload, method, reader.format)
    for row in reader:
        yield RequestParts(build_path(row.cells), *build_body(row))


_BodyAndType = tuple[bytes | None, str | None]
"""Body of a request and its content type; each is None if not sent."""


def _create_body_builder(workload: HttpWorkload, method: str, format_: str) -> Callable[[DatasetRow], _BodyAndType]:
    is_csv, explicit_type = format_ == "csv", workload.content_type
    if workload.template is not None:
        template = BodyTemplate(workload.template, is_json=find_json_type(explicit_type), is_csv=is_csv)
        content_type = explicit_type or _get_template_type(template)
        return lambda row: (template.fill(row.cells), content_type)
    if method in _BODILESS_METHODS:
        return lambda _: (None, None)
    return lambda row: (encode_row(row, is_csv=is_csv), explicit_type or _guess_content_type(row))


def _guess_content_type(row: DatasetRow) -> str:
    """Return the content type of a dataset row that is sent unchanged: application/json, or for a
    file the type guessed from its name."""
    return (guess_type(row.name)[0] or "application/octet-stream") if row.name else "application/json"


def _get_template_type(template: BodyTemplate) -> str:
    return "application/json" if template.is_json else "text/plain; charset=utf-8"


def encode_within_memory(
    request_parts: Iterable[RequestParts], method: str, endpoint: Endpoint, address: Address
) -> tuple[list[bytes], bool]:
    """Serialize as many requests as fit into the memory limit, but at least one. Return the
    serialized requests, and True if requests were omitted."""
    requests: list[bytes] = []
    total_bytes = 0
    for path, body, content_type in request_parts:
        fields = [] if content_type is None else [("Content-Type", content_type)]
        request = encode_request(method, path, address, [*fields, *endpoint.headers], body)
        total_bytes += len(request)
        if requests and total_bytes > MAX_REQUESTS_BYTES:
            return requests, True
        requests.append(request)
    return requests, False


def build_omitted_request_notes(requests: Sequence[bytes], is_truncated: bool) -> tuple[str, ...]:
    if not is_truncated:
        return ()
    return (
        f"only the first {len(requests):,} requests were used, because more would exceed {MAX_REQUESTS_BYTES >> 20} "
        "MiB",
    )
