"""Target of a load worker: an endpoint and a workload, prepared for sending.

The module also detects when the memory of this process grows too much, because some libraries do
not report how much data they buffer. API keys are read from files, and read again when a key has
been renewed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns

import msgspec

from loadgen.protocols import build_requests, load_builder
from loadgen.protocols.expectation import is_empty
from loadgen.protocols.prepared import (
    PreparedWorkload,
    ResponseCheck,
    TargetError,
    WorkloadError,
    check_response,
    describe_outcome,
    get_tokens,
    read_key,
)
from loadgen.records import Endpoint, PreflightDone, WorkerShare
from loadgen.transport.address import Address, EndpointError, parse_grpc_url, parse_url
from loadgen.transport.exchange import CallKind, Exchange, Headers, ResolveError, StreamReader, Transport
from loadgen.transport.http_transport import create_http_transport
from loadgen.workloads import GrpcWorkload, OipWorkload, RealtimeWorkload, Workload


def read_private_bytes() -> int | None:
    """Return the resident memory of this process in bytes, without pages that are backed by files.
    Return None if the OS does not report it; only Linux does."""
    try:
        _, resident_pages, shared_pages, *_ = map(int, Path("/proc/self/statm").read_bytes().split())
    except (OSError, ValueError):
        return None
    return (resident_pages - shared_pages) * os.sysconf("SC_PAGE_SIZE")


class MemoryLimit:
    """Limit on the growth of this process's memory.

    `is_exceeded` is true if the memory has grown by more than `max_growth_bytes` bytes since the
    MemoryLimit was created.
    """

    def __init__(self, max_growth_bytes: int) -> None:
        self._initial_bytes = read_private_bytes()
        self._max_growth_bytes = max_growth_bytes

    @property
    def is_exceeded(self) -> bool:
        if self._initial_bytes is None or (current_bytes := read_private_bytes()) is None:
            return False
        return current_bytes - self._initial_bytes > self._max_growth_bytes


_MIN_RENEWAL_INTERVAL_NS = 1_000_000_000


class ApiKeys:
    """API keys, read from files, for the headers of requests.

    All methods must be called on the thread of the event loop. After a renewal, another thread
    reads the files and rewrites the requests.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint) -> None:
        """Read the API keys. Raises WorkloadError if a key file cannot be read."""
        self._loop, self._base_endpoint, self._key_files = loop, endpoint, endpoint.key_files
        self._key_values = [read_key(key_file) for key_file in self._key_files]
        self._requests: list[bytes] = []
        self._on_renewed: Callable[[Endpoint], None] | None = None
        self._last_read_ns = 0
        self._renewal_task: asyncio.Task[None] | None = None

    def __bool__(self) -> bool:
        return bool(self._key_files)

    @property
    def endpoint(self) -> Endpoint:
        """Endpoint whose headers include the current API keys."""
        headers = [(key_file.header, value) for key_file, value in zip(self._key_files, self._key_values, strict=True)]
        return msgspec.structs.replace(self._base_endpoint, headers=(*self._base_endpoint.headers, *headers))

    def set_requests(self, requests: list[bytes], on_renewed: Callable[[Endpoint], None] | None) -> None:
        """Set the prepared requests, in which a renewed API key replaces the old one in place.

        After a renewal, `on_renewed` is called with the endpoint and its new headers, for
        transports that add the headers themselves.
        """
        self._requests, self._on_renewed = requests, on_renewed

    def on_unauthorized(self) -> None:
        """Handle a response with status 401: read the key files again, but at most once per
        second."""
        now_ns = perf_counter_ns()
        is_renewing = self._renewal_task is not None and not self._renewal_task.done()
        if self._key_files and not is_renewing and now_ns - self._last_read_ns >= _MIN_RENEWAL_INTERVAL_NS:
            self._last_read_ns = now_ns
            self._renewal_task = self._loop.create_task(self._renew())

    async def _renew(self) -> None:
        renewal = await self._loop.run_in_executor(None, self._read_renewed_keys)
        if renewal is not None:
            self._key_values, self._requests[:] = renewal
            if self._on_renewed is not None:
                self._on_renewed(self.endpoint)

    def _read_renewed_keys(self) -> tuple[list[str], list[bytes]] | None:
        try:
            new_values = [read_key(key_file) for key_file in self._key_files]
        except WorkloadError:  # the file may be incomplete while it is written; the next 401 response reads it again
            return None
        if new_values == self._key_values:
            return None
        requests = list(self._requests)
        for key_file, old_value, new_value in zip(self._key_files, self._key_values, new_values, strict=True):
            old_line = _encode_header_line(key_file.header, old_value)
            new_line = _encode_header_line(key_file.header, new_value)
            requests = [request.replace(old_line, new_line, 1) for request in requests]
        return new_values, requests


def _encode_header_line(name: str, value: str) -> bytes:
    return f"\r\n{name}: {value}\r\n".encode("latin-1")


_CLOSE_DETECTION_S = 0.05
"""Time in seconds to wait after the preflight response, to detect whether the target then closes
the connection."""

_SAFE_HEADERS = frozenset(
    (b"content-type", b"content-length", b"transfer-encoding", b"connection", b"server", b"date", b"retry-after",
     b"cache-control", b"via", b"x-request-id", b"inference-header-content-length")
)  # fmt: skip
"""Names of response headers that contain no secrets and are therefore reported unredacted."""
_MAX_REPORTED_HEADERS, _MAX_HEADER_CHARS = 40, 200

_FULL_SHARE = WorkerShare()


class SendingTarget:
    """Endpoint with its transport and prepared requests, used on the sending thread.

    The constructor raises WorkloadError if a setting of the endpoint or an API key file is invalid.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint, workload: Workload) -> None:
        self._loop, self._workload = loop, workload
        self.api_keys = ApiKeys(loop, endpoint)
        self._endpoint = self.api_keys.endpoint
        self.trace_key = endpoint.trace_key
        """Text from which the trace IDs of the requests follow; None if they have no trace context."""
        self._prepared_workload: PreparedWorkload | None = None
        self._worker_count = 1
        self._call_kind: CallKind | None = None
        self._address, self.transport = _open_transport(loop, self._endpoint, workload)

    async def prepare(self, share: WorkerShare = _FULL_SHARE) -> PreparedWorkload:
        """Resolve the endpoint's host names, and build the requests on the first call. Raises
        TargetError or WorkloadError.

        `max_connections` applies to all workers together. If the number of workers has changed, all
        connections are therefore closed and opened anew.
        """
        if share.worker_count != self._worker_count:
            self._split_connections(share.worker_count)
        try:
            await self.transport.resolve()
        except ResolveError as error:
            raise TargetError(str(error), "dns") from error
        if self._prepared_workload is None:
            prepared_workload = await self._build_workload()
            self._call_kind = prepared_workload.call_kind
            if self._call_kind is not None:
                self._reopen_transport()
                await self.transport.resolve()
            self._prepared_workload = prepared_workload
            self._register_requests(prepared_workload)
        return self._prepared_workload

    async def preflight(self) -> PreflightDone:
        """Send one request of the workload, or of each class of a mix, and return the result of the
        first one that fails. Raises WorkloadError if the requests cannot be built."""
        try:
            prepared_workload = await self.prepare()
        except TargetError as error:
            return PreflightDone(error.error, error.status, str(error), service_ms=None, can_send=False)
        closed_count_before = self.transport.closed_idle_count
        exchange, check, label = await self._send_first_requests(prepared_workload)
        tokens = get_tokens(exchange)
        await asyncio.sleep(_CLOSE_DETECTION_S)
        is_keep_alive = self.transport.closed_idle_count == closed_count_before
        if prepared_workload.identify_server is not None and check.error is None:
            check = await prepared_workload.identify_server(exchange, self._send_query)
        return PreflightDone(
            error=check.error,
            status=exchange.status,
            detail=describe_outcome(label, exchange, check.error),
            service_ms=_compute_service_ms(exchange),
            end_ns=exchange.end_ns,
            notes=prepared_workload.notes if check.note is None else (*prepared_workload.notes, check.note),
            reuses_connection=is_keep_alive,
            prepared=None if prepared_workload.distinct_prompts is None else len(prepared_workload.requests),
            distinct=prepared_workload.distinct_prompts,
            first_byte_ms=_compute_ms_since_sent(exchange, exchange.first_byte_ns),
            first_token_ms=_compute_ms_since_sent(exchange, None if tokens is None else tokens.first_token_ns),
            tokens_out=None if tokens is None else tokens.tokens_out,
            bytes_received=exchange.bytes_received,
            headers=_redact_headers(exchange.headers),
            is_empty=check.error is not None and is_empty(exchange),
        )

    async def _send_first_requests(self, prepared_workload: PreparedWorkload) -> tuple[Exchange, ResponseCheck, str]:
        """Send the first request of the workload, or the one that the preflight sends instead, and then
        those of the other classes at the same time. Return the first failed exchange, or else the
        first one, with its check and its label."""
        classes, indices = prepared_workload.classes, prepared_workload.request_indices
        if classes is None:
            labels_by_index = {0 if indices is None else int(indices[0]): prepared_workload.label}
        else:
            labels = (f"class {name}: {label}" for name, label in zip(classes.names, classes.labels, strict=True))
            labels_by_index = dict(zip(classes.first_requests, labels, strict=True))

        async def send(request_index: int, label: str) -> tuple[Exchange, ResponseCheck, str]:
            reader = None if prepared_workload.new_reader is None else prepared_workload.new_reader()
            request = prepared_workload.preflight_requests.get(request_index, prepared_workload.requests[request_index])
            exchange = await self._send_request(request, request_index, prepared_workload.is_head, reader)
            return exchange, check_response(prepared_workload.check, exchange), label

        (first_index, first_label), *others = labels_by_index.items()
        outcomes = [await send(first_index, first_label)]
        outcomes += await asyncio.gather(*(send(index, label) for index, label in others))
        return next((outcome for outcome in outcomes if outcome[1].error is not None), outcomes[0])

    def create_memory_limit(self) -> MemoryLimit | None:
        """Return the limit on the growth of this process's memory during a stage. When the limit is
        exceeded, `shed_load` must be called. This method may be called from any thread.

        Return None if the transport itself limits how much data it buffers, as the HTTP transport
        does.
        """
        if not hasattr(self.transport, "shed"):
            return None
        from loadgen.transport.grpc import MAX_RECEIVING_BYTES

        return MemoryLimit(MAX_RECEIVING_BYTES)

    def shed_load(self) -> None:
        """End all requests in flight with the error `local-limit`, because their responses use too
        much of this machine's memory."""
        if (shed := getattr(self.transport, "shed", None)) is not None:
            shed()

    def close(self) -> None:
        self.transport.close()

    def _split_connections(self, worker_count: int) -> None:
        self._worker_count = worker_count
        self._reopen_transport()
        if self._prepared_workload is not None:
            self._register_requests(self._prepared_workload)

    def _reopen_transport(self) -> None:
        own_max_connections = -(-self._endpoint.max_connections // self._worker_count)
        endpoint = msgspec.structs.replace(self.api_keys.endpoint, max_connections=own_max_connections)
        self.transport.close()
        _, self.transport = _open_transport(self._loop, endpoint, self._workload, self._call_kind)

    def _register_requests(self, prepared_workload: PreparedWorkload) -> None:
        # The gRPC transport adds the headers itself; over HTTP they are part of the prepared
        # requests.
        self.api_keys.set_requests(prepared_workload.requests, getattr(self.transport, "set_headers", None))

    async def _build_workload(self) -> PreparedWorkload:
        workload, endpoint, address = self._workload, self._endpoint, self._address
        if workload.queries_server:
            built: PreparedWorkload = await load_builder(workload)(workload, endpoint, address, self._send_query)
            return built
        prepared_workload = build_requests(workload, endpoint, address)
        if prepared_workload is None:
            raise RuntimeError("a Locust test and a batch are not sent by a load worker")
        return prepared_workload

    async def _send_query(self, request: bytes, method: str = "") -> Exchange:
        return await self._send_request(request, method=method)

    async def _send_request(
        self,
        request: bytes,
        request_index: int = 0,
        is_head: bool = False,
        reader: StreamReader | None = None,
        method: str = "",
    ) -> Exchange:
        exchange_future: asyncio.Future[Exchange] = self._loop.create_future()
        self.transport.submit(
            Exchange(0, request_index, 0, request, exchange_future.set_result, is_head, reader, method=method)
        )
        return await exchange_future


def _open_transport(
    loop: asyncio.AbstractEventLoop, endpoint: Endpoint, workload: Workload, call_kind: CallKind | None = None
) -> tuple[Address, Transport]:
    """Create the transport for the workload. Return the first address of the endpoint and the
    transport. Raises WorkloadError if a setting of the endpoint is invalid.

    `call_kind` is that of the prepared workload. Until it is known, a gRPC transport can send
    queries for descriptors."""
    try:
        match workload:
            case RealtimeWorkload():
                from loadgen.transport.websocket import create_websocket_transport

                return parse_url(endpoint.urls[0]), create_websocket_transport(loop, endpoint)
            case OipWorkload(transport="grpc" | "grpc-stream"):
                # Import gRPC only when it is used: the import takes 0.1 s.
                from loadgen.protocols.oip_grpc import get_infer_method
                from loadgen.transport.grpc import create_grpc_transport

                kind: CallKind = "server-stream" if workload.transport == "grpc-stream" else "unary"
                transport = create_grpc_transport(loop, endpoint, get_infer_method(workload), kind)
            case GrpcWorkload():
                from loadgen.transport.grpc import create_grpc_transport

                transport = create_grpc_transport(loop, endpoint, f"/{workload.method}", call_kind or "server-stream")
            case _:
                return parse_url(endpoint.urls[0]), create_http_transport(loop, endpoint)
        return parse_grpc_url(endpoint.urls[0]), transport
    except EndpointError as error:
        raise WorkloadError(str(error)) from error


def _compute_service_ms(exchange: Exchange) -> float | None:
    return None if exchange.error is not None else _compute_ms_since_sent(exchange, exchange.end_ns)


def _compute_ms_since_sent(exchange: Exchange, time_ns: int | None) -> float | None:
    return None if exchange.sent_ns is None or time_ns is None else (time_ns - exchange.sent_ns) / 1e6


def _redact_headers(headers: Headers) -> tuple[tuple[str, str], ...]:
    return tuple(
        (_make_printable(name), _make_printable(value) if name.lower() in _SAFE_HEADERS else "<redacted>")
        for name, value in headers[:_MAX_REPORTED_HEADERS]
    )


def _make_printable(text: bytes) -> str:
    return "".join(char if char.isprintable() else " " for char in text[:_MAX_HEADER_CHARS].decode("latin-1"))
