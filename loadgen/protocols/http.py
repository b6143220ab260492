"""Plain HTTP: bodies go round in turn, the status alone is judged."""

from __future__ import annotations

import re
from collections.abc import Sequence

from loadgen.protocols.built import AS_PROMISED, MAX_BUILT_BYTES, Built, Judgement, WorkloadError, status_error
from loadgen.records import Endpoint, HttpWorkload
from loadgen.transport.address import Address
from loadgen.transport.exchange import Exchange

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"[!-~]+")


def request_bytes(
    method: str, path: str, address: Address, headers: Sequence[tuple[str, str]], body: bytes | None
) -> bytes:
    """One request. Later headers of a name replace earlier ones; Content-Length is ours to say."""
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(path):
        raise WorkloadError("the method or path holds a character that a request line cannot", hint="quote it as %XX")
    fields = {"host": ("Host", address.authority), "user-agent": ("User-Agent", "sizewise")}
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


def judge_status(exchange: Exchange) -> Judgement:
    error = status_error(exchange.status or 0)
    return AS_PROMISED if error is None else Judgement(error)


def build_http(workload: HttpWorkload, endpoint: Endpoint, address: Address) -> Built:
    """Raises WorkloadError."""
    method, path = workload.method.upper(), workload.path or address.path
    headers = list(endpoint.headers)
    if workload.bodies and workload.content_type is not None:
        headers.insert(0, ("Content-Type", workload.content_type))
    bodiless = None if method in ("GET", "HEAD", "OPTIONS", "TRACE") else b""
    requests: list[bytes] = []
    total = 0
    for body in workload.bodies or (bodiless,):
        request = request_bytes(method, path, address, headers, body)
        total += len(request)
        if requests and total > MAX_BUILT_BYTES:
            break
        requests.append(request)
    return Built(
        requests=requests, judge=judge_status, shown=f"{method} {address.shown(path)}", is_head=method == "HEAD"
    )
