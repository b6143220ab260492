"""An endpoint and a workload made ready to send."""

from __future__ import annotations

import asyncio

from loadgen.protocols.built import Built, WorkloadError, judged, status_error
from loadgen.protocols.http import build_http, request_bytes
from loadgen.protocols.oip import ModelMetadata, build_oip, metadata_path, read_metadata
from loadgen.protocols.oip_answers import AnswerError
from loadgen.records import Endpoint, HttpWorkload, OipWorkload, PreflightDone, Workload
from loadgen.transport.address import UrlError, address_of
from loadgen.transport.exchange import Exchange, ResolveError, StreamReader, Transport
from loadgen.transport.pool import ConnectionPool


class TargetError(Exception):
    """The target cannot be used: `error` is one of ERROR_CLASSES; the message is a sentence for the user."""

    def __init__(self, message: str, error: str, status: int | None = None) -> None:
        super().__init__(message)
        self.error, self.status = error, status


class Target:
    """Belongs to the sending thread. The constructor raises WorkloadError for a URL nothing can be sent to."""

    def __init__(self, loop: asyncio.AbstractEventLoop, endpoint: Endpoint, workload: Workload) -> None:
        try:
            self._address = address_of(endpoint.urls[0])
        except UrlError as error:
            raise WorkloadError(str(error)) from error
        self._loop, self._endpoint, self._workload = loop, endpoint, workload
        self._built: Built | None = None
        try:
            self.transport: Transport = ConnectionPool(loop, self._address, endpoint)
        except OSError as error:
            raise WorkloadError(f"the file of trusted certificates cannot be used: {error}") from error

    async def prepare(self) -> Built:
        """Resolve the host, and build the requests if they are not built yet. Raises TargetError and WorkloadError."""
        try:
            await self.transport.resolve()
        except ResolveError as error:
            raise TargetError(str(error), "dns") from error
        if self._built is None:
            self._built = await self._build(self._workload)
        return self._built

    async def preflight(self) -> PreflightDone:
        """One request of the workload. Raises WorkloadError."""
        try:
            built = await self.prepare()
        except TargetError as error:
            return PreflightDone(error=error.error, status=error.status, detail=str(error), service_ms=None)
        reader = None if built.new_reader is None else built.new_reader()
        exchange = await self._ask(built.requests[0], built.is_head, reader)
        error_class = judged(built.judge, exchange).error
        return PreflightDone(
            error=error_class,
            status=exchange.status,
            detail=_told(built.shown, exchange, error_class),
            service_ms=_service_ms(exchange),
            notes=built.notes,
        )

    def close(self) -> None:
        self.transport.close()

    async def _build(self, workload: Workload) -> Built:
        match workload:
            case HttpWorkload():
                return build_http(workload, self._endpoint, self._address)
            case OipWorkload():
                return build_oip(workload, await self._read_metadata(workload), self._endpoint, self._address)
            case other:
                raise NotImplementedError(type(other).__name__)

    async def _read_metadata(self, workload: OipWorkload) -> ModelMetadata:
        path = metadata_path(self._address, workload.model)
        request = request_bytes("GET", path, self._address, self._endpoint.headers, None)
        exchange = await self._ask(request)
        error = exchange.error
        if error is None and exchange.status is not None:
            error = status_error(exchange.status)
        if error is not None:
            raise TargetError(_told(f"GET {self._address.shown(path)}", exchange, error), error, exchange.status)
        try:
            return read_metadata(exchange.body)
        except AnswerError as answer_error:
            raise TargetError(str(answer_error), "bad-payload", exchange.status) from answer_error

    async def _ask(self, request: bytes, is_head: bool = False, reader: StreamReader | None = None) -> Exchange:
        answer: asyncio.Future[Exchange] = self._loop.create_future()
        self.transport.submit(Exchange(0, 0, 0, request, answer.set_result, is_head, reader))
        return await answer


def _service_ms(exchange: Exchange) -> float | None:
    if exchange.error is not None or exchange.sent_ns is None or exchange.end_ns is None:
        return None
    return (exchange.end_ns - exchange.sent_ns) / 1e6


_SENTENCES = {
    "connect": "no connection",
    "tls": "no trusted TLS connection",
    "send": "the connection was closed without an answer",
    "timeout": "no complete answer in time",
    "truncated": "the connection was closed in the middle of the answer",
    "bad-payload": "the answer is not what the protocol promises",
    "bad-output": "the output holds NaN",
}


def _told(request: str, exchange: Exchange, error: str | None) -> str:
    """What happened, from facts that hold no secret: neither headers nor the body, which may echo them."""
    parts = [request, *([f"status {exchange.status}"] if exchange.status is not None else [])]
    if error is None:
        return f"{', '.join(parts)}: as promised"
    if exchange.status is not None and 300 <= exchange.status < 400:
        parts.append("redirects are not followed")
    else:
        parts.extend(filter(None, (_SENTENCES.get(error), exchange.detail)))
    return ", ".join(parts)
