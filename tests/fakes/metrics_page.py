"""A server that sends the same bytes to every client, and records the requests."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator


class MetricsPage:
    """`answers` are sent one after the other, the last of them repeatedly. With `stays_open`, a response is never
    ended: the connection stays open until the client closes it."""

    def __init__(self, *answers: bytes, stays_open: bool = False, context: ssl.SSLContext | None = None) -> None:
        self._answers, self._holds, self._context = list(answers), stays_open, context
        self.requests: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'http' if context is None else 'https'}://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, name="metrics-page")
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            # a client that does not like what it gets leaves in the middle of it
            with plain, contextlib.suppress(OSError):
                plain.settimeout(10)
                connection = plain if self._context is None else self._context.wrap_socket(plain, server_side=True)
                with connection:
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request and (block := connection.recv(4096)):
            request += block
        self.requests.append(request)
        connection.sendall(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])
        if self._holds:
            connection.recv(1)


@contextlib.contextmanager
def metrics_page(
    *answers: bytes, stays_open: bool = False, context: ssl.SSLContext | None = None
) -> Iterator[MetricsPage]:
    page = MetricsPage(*answers, stays_open=stays_open, context=context)
    try:
        yield page
    finally:
        page.close()


def http_response(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body
