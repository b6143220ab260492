"""Openers of `urllib.request` for the few requests that are no load, such as those for a status or a file."""

from __future__ import annotations

import http.client
import io
import math
import socket
import time
import urllib.request
from collections.abc import Callable, Sequence
from typing import IO, Any, cast
from urllib.error import URLError

from loadgen.records import Tls
from loadgen.transport.tls import build_tls_context

RemainingTime = Callable[[], float]
"""Function that returns how long, in s, a request may wait now, and raises TimeoutError after the time limit."""


def limit_time(
    max_duration_s: float, max_wait_s: float = math.inf, get_time_s: Callable[[], float] = time.monotonic
) -> RemainingTime:
    """Return the time limit of one or several requests: `max_duration_s` in total from now on, and `max_wait_s` without
    progress."""
    end_s = get_time_s() + max_duration_s

    def get_remaining_s() -> float:
        seconds = end_s - get_time_s()
        if seconds <= 0:
            raise TimeoutError("timed out")
        return min(seconds, max_wait_s)

    return get_remaining_s


class Opener:
    """Opener for the servers of some URLs, and for addresses to which they redirect. Without redirects, a key is sent
    only to the host that the user named. `find_proxy` returns the proxy for an address, or `None`; the proxy of the
    environment is not used. The constructor raises TlsFileError."""

    def __init__(
        self, urls: Sequence[str], tls: Tls, find_proxy: Callable[[str], str | None], *, follows_redirects: bool = False
    ) -> None:
        needs_tls = follows_redirects or any(url.casefold().startswith("https:") for url in urls)
        self._director = urllib.request.OpenerDirector()
        for handler in (
            _Proxies(find_proxy),
            _Connections(context=build_tls_context(tls) if needs_tls else None),
            _Redirects(is_enabled=follows_redirects),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
        ):
            self._director.add_handler(handler)

    def open(self, request: str | urllib.request.Request, get_remaining_s: RemainingTime) -> http.client.HTTPResponse:
        """Send a request, and return the response. The time limit applies until the last read of the response, but not
        to DNS lookups. Raises what `urllib.request.urlopen` raises."""
        # urllib hands `timeout` to the connection as it is, also after a redirect.
        return cast(http.client.HTTPResponse, self._director.open(request, timeout=cast(Any, get_remaining_s)))


def read_body(response: http.client.HTTPResponse, max_bytes: int) -> bytes | None:
    """Return the body of a response; `None` if it is larger than `max_bytes`. Raises IncompleteRead for a truncated
    body, and OSError."""
    body = response.read(max_bytes + 1)
    if len(body) > max_bytes:
        return None
    if response.length:
        raise http.client.IncompleteRead(body, response.length)
    return body


class _Connection(http.client.HTTPConnection):
    """Connection whose `timeout` is a RemainingTime."""

    timeout: Any

    def connect(self) -> None:
        self._create_connection = _connect
        super().connect()
        self.sock.settimeout(self.timeout())

    def send(self, data: Any) -> None:
        if self.sock is not None:
            self.sock.settimeout(self.timeout())
        super().send(data)

    def response_class(self, sock: socket.socket, *args: Any, **options: Any) -> http.client.HTTPResponse:  # type: ignore[override]
        response = http.client.HTTPResponse(sock, *args, **options)
        response.fp = io.BufferedReader(_LimitedStream(response.fp.detach(), sock, self.timeout))
        return response


class _TlsConnection(http.client.HTTPSConnection, _Connection):
    """Connection with TLS, which HTTPSConnection adds to the connection of the next base class."""


def _connect(address: tuple[str, int], get_remaining_s: RemainingTime, _source: object) -> socket.socket:
    """Connect to the first IP address of a host that accepts a connection. Raises OSError if no address does."""
    last_error: OSError = ConnectionError()
    for *_, (host, *_) in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
        try:
            return socket.create_connection((str(host), address[1]), get_remaining_s())
        except OSError as error:
            last_error = error
    raise last_error


class _LimitedStream(io.RawIOBase):
    """Stream of a socket, of which each read is limited to the remaining time."""

    def __init__(self, stream: io.RawIOBase, sock: socket.socket, get_remaining_s: RemainingTime) -> None:
        self._stream, self._socket, self._get_remaining_s = stream, sock, get_remaining_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._socket.settimeout(self._get_remaining_s())
        return self._stream.readinto(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()


class _Connections(urllib.request.HTTPSHandler):
    def __init__(self, context: Any) -> None:
        super().__init__(context=context)
        self._tls_context = context

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TlsConnection, request, context=self._tls_context)

    http_request = urllib.request.HTTPSHandler.https_request


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def __init__(self, *, is_enabled: bool) -> None:
        self._is_enabled = is_enabled

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not self._is_enabled:
            return None
        scheme = newurl.partition(":")[0]
        if scheme not in ("http", "https") or (req.type == "https" and scheme != "https"):
            fp.close()
            raise URLError(f"the server redirects to an address with {scheme or 'no scheme'}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Proxies(urllib.request.ProxyHandler):
    """Handler that finds the proxy of each address, redirects included."""

    def __init__(self, find_proxy: Callable[[str], str | None]) -> None:
        super().__init__({})
        self._find_proxy = find_proxy

    def http_open(self, request: urllib.request.Request) -> Any:
        proxy = self._find_proxy(request.full_url)
        return None if proxy is None else self.proxy_open(request, proxy, request.type)

    https_open = http_open
