"""Prepare calls of any gRPC method, with messages that are built from JSON and from descriptors."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from functools import partial

import msgspec
from google.protobuf import json_format
from google.protobuf.message import DecodeError, EncodeError, Message

from loadgen.decoding import decode_json
from loadgen.payloads.datasets import DatasetError, DatasetReader, draw_indices, encode_row
from loadgen.protocols.expectation import check_http_status
from loadgen.protocols.grpc_descriptors import GrpcMethod, fetch_method, load_method, read_descriptor_set
from loadgen.protocols.http import BodyTemplate, build_omitted_request_notes
from loadgen.protocols.prepared import (
    MAX_REQUESTS_BYTES,
    RESPONSE_OK,
    PreparedWorkload,
    ResponseCheck,
    SendGrpcRequest,
    WorkloadError,
    limit_total_size,
)
from loadgen.records import Endpoint
from loadgen.sanitizing import sanitize_line
from loadgen.transport.address import Address, format_grpc_method
from loadgen.transport.exchange import CallKind, Exchange, Tokens
from loadgen.transport.grpc_calls import frame_messages
from loadgen.workloads import GrpcWorkload

_MAX_RESPONSES = 1_000_000
_MAX_DEPTH = 100
_MAX_REASON_CHARS = 300
_LIST_TYPES = ("google.protobuf.ListValue", "google.protobuf.Value")


async def build_grpc(
    workload: GrpcWorkload, _endpoint: Endpoint, address: Address, send: SendGrpcRequest
) -> PreparedWorkload:
    """Prepare the calls of a gRPC method: find its message types, and build the messages. Raises
    TargetError if the server's descriptors cannot be read, and WorkloadError if the method is
    unknown or a message cannot be built."""
    method = await _find_method(workload, address, send)
    reader = None if workload.requests.dataset is None else DatasetReader(workload.requests.dataset, MAX_REQUESTS_BYTES)
    bodies = _iterate_fixed_bodies(workload) if reader is None else _iterate_filled_bodies(workload, reader)
    try:
        requests, is_truncated = limit_total_size(
            _encode_request(method, body, number) for number, body in enumerate(bodies, 1)
        )
    except DatasetError as error:
        raise WorkloadError(str(error)) from error
    if not requests:
        raise WorkloadError(f"a request is larger than {MAX_REQUESTS_BYTES >> 20} MiB")
    return PreparedWorkload(
        requests=requests,
        check=partial(_check_response, method.response_class),
        label=format_grpc_method(address, method.path),
        new_reader=partial(MessageStreamReader, method.response_class) if method.has_response_stream else None,
        request_indices=draw_indices(workload.requests.popularity, len(requests), workload.requests.seed),
        notes=build_omitted_request_notes(requests, is_truncated or (reader is not None and reader.is_truncated)),
        call_kind=_find_call_kind(method),
    )


async def _find_method(workload: GrpcWorkload, address: Address, send: SendGrpcRequest) -> GrpcMethod:
    if workload.protoset is None:
        return await fetch_method(workload.method, address, send)
    return load_method(workload.method, read_descriptor_set(workload.protoset), workload.protoset)


def _find_call_kind(method: GrpcMethod) -> CallKind:
    if method.has_request_stream:
        return "client-stream"
    return "server-stream" if method.has_response_stream else "unary"


def _iterate_fixed_bodies(workload: GrpcWorkload) -> Iterator[bytes]:
    yield from workload.requests.bodies or (b"{}",)


def _iterate_filled_bodies(workload: GrpcWorkload, reader: DatasetReader) -> Iterator[bytes]:
    is_csv = reader.format == "csv"
    template = (
        None
        if workload.requests.template is None
        else BodyTemplate(workload.requests.template, is_json=True, is_csv=is_csv)
    )
    for row in reader:
        yield encode_row(row, is_csv=is_csv) if template is None else template.fill(row.cells)


def _encode_request(method: GrpcMethod, body: bytes, number: int) -> bytes:
    """Serialize the messages of one call. Raises WorkloadError if `body` does not fit the method."""
    try:
        value = decode_json(body)
    except msgspec.DecodeError as error:
        raise WorkloadError(f"request {number:,} is not valid JSON: {error}") from error
    if not method.has_request_stream:
        return _encode_message(method, value, number)
    elements = value if isinstance(value, list) else [value]
    return frame_messages(_encode_message(method, element, number) for element in elements)


def _encode_message(method: GrpcMethod, value: object, number: int) -> bytes:
    type_name, message = method.request_class.DESCRIPTOR.full_name, method.request_class()
    if isinstance(value, list) and type_name not in _LIST_TYPES:
        raise WorkloadError(f"request {number:,} contains an array where a message {type_name} is expected")
    try:
        # The function accepts any JSON value, for messages such as google.protobuf.Value.
        json_format.ParseDict(
            value,  # type: ignore[arg-type]
            message,
            descriptor_pool=method.pool,
            max_recursion_depth=_MAX_DEPTH,
        )
        return message.SerializeToString()
    except (json_format.Error, EncodeError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise WorkloadError(
            f"request {number:,} cannot be converted to the message {type_name}: "
            f"{sanitize_line(str(error), _MAX_REASON_CHARS)}"
        ) from error


def _check_response(response_class: type[Message], exchange: Exchange) -> ResponseCheck:
    check = check_http_status(exchange)
    if check.error is not None or exchange.reader is not None:
        return check
    try:
        response_class.FromString(exchange.body)
    except DecodeError:
        return ResponseCheck("bad-payload")
    return RESPONSE_OK


class MessageStreamReader:
    """Reader of a stream of response messages, which are not tokens. Only their times are
    recorded."""

    detail: str | None = None

    def __init__(self, response_class: type[Message]) -> None:
        self._response_class = response_class
        self._receive_times_ns = array("q")

    @property
    def tokens(self) -> Tokens:
        return Tokens(chunk_ns=self._receive_times_ns)

    def feed(self, piece: bytes, received_ns: int) -> str | None:
        try:
            self._response_class.FromString(piece)
        except DecodeError:
            return "bad-payload"
        self._receive_times_ns.append(received_ns)
        return "bad-payload" if len(self._receive_times_ns) > _MAX_RESPONSES else None
