"""Run a no-op server: `python -m loadgen.reference.null`. The server responds immediately with an
empty JSON object.

The maximum rate that a load generator reaches against this server is the capacity of the load
generator. The server prints its port, and exits when standard input closes.
"""

from __future__ import annotations

import asyncio
from typing import cast

from loadgen.reference.child import RequestSplitter, serve_until_stdin_closes

REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class NullProtocol(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast(asyncio.Transport, transport).write
        self._split_requests = RequestSplitter().split

    def data_received(self, data: bytes) -> None:
        count = len(self._split_requests(data))
        if count:
            self._write(REPLY if count == 1 else REPLY * count)


if __name__ == "__main__":
    serve_until_stdin_closes(NullProtocol, 0)
