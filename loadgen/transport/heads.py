"""Heads of answers as the parser has read them, so that the same bytes are not parsed again and again."""

from __future__ import annotations

import msgspec

from loadgen.transport.exchange import Headers

_MOST = 64
_PATIENCE = 64
_REST = 1_000


class KnownHead(msgspec.Struct, frozen=True, gc=False):
    """`length` is that of the whole answer, head and body. The headers are shared: nobody may change them."""

    head: bytes
    length: int
    status: int
    headers: Headers


class KnownHeads:
    """`latest` is the head seen last, which is mostly the next one too.

    Where no head comes again (each has an id of its own, or bodies are chunked), looking is a waste: after so many
    answers looked up in vain the next ones are not looked up at all.
    """

    def __init__(self) -> None:
        self.latest = KnownHead(b"", -1, 0, [])
        self._known: dict[bytes, KnownHead] = {}
        self._in_vain = self._rest = 0

    def find(self, data: bytes) -> KnownHead | None:
        """What is known of the head of `data`, if `data` is that head and its whole body and nothing else."""
        if self._rest:
            self._rest -= 1
            return None
        known = self._known.get(data[: data.find(b"\r\n\r\n") + 4])
        if known is None or known.length != len(data):
            self._in_vain += 1
            if self._in_vain == _PATIENCE:
                self._in_vain, self._rest = 0, _REST
            return None
        self._in_vain = 0
        self.latest = known
        return known

    def learn(self, data: bytes, status: int, headers: Headers, body_length: int) -> None:
        """The parser read `data`, in one piece, as one whole answer after which the connection is kept.

        Learned only when all that follows the head is the body, byte by byte: then the head alone has said how long
        it is, and the same head means the same again.
        """
        if self._rest:
            return
        head_length = data.find(b"\r\n\r\n") + 4
        if len(data) - head_length != body_length:
            return
        if len(self._known) == _MOST:
            self._known.clear()
        head = data[:head_length]
        self.latest = self._known[head] = KnownHead(head, len(data), status, headers)
