"""A server that answers at once with nothing: `python -m loadgen.reference.null` prints its port.

What a load generator reaches against it is the generator's own ceiling. It leaves when its standard input closes.
"""

from __future__ import annotations

import asyncio
from typing import cast

from loadgen.reference.child import RequestCutter, serve_until_stdin_closes

REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class NullProtocol(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast(asyncio.Transport, transport).write
        self._cut = RequestCutter().cut

    def data_received(self, data: bytes) -> None:
        count = len(self._cut(data))
        if count:
            self._write(REPLY if count == 1 else REPLY * count)


if __name__ == "__main__":
    serve_until_stdin_closes(NullProtocol, 0)
