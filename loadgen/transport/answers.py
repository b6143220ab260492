"""Answers read by httptools, one after another, on one connection.

Heads of answers as the parser has read them, so that the same bytes are not parsed again and again.
"""

from __future__ import annotations

from collections.abc import Callable

import httptools
import msgspec

from loadgen.transport.exchange import LOCAL_LIMIT, Exchange, Headers, StreamReader, header_value

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


MAX_RESPONSE_BYTES = 64 * 2**20
"""Of an answer that is kept in memory."""
MAX_RECEIVING_BYTES = 256 * 2**20
"""Of all responses together that have not come whole, in one load worker."""
MAX_HEAD_BYTES = 2**20
"""Of a head, of trailers, and of anything else that comes without a byte of a body."""
_MOST_HEADERS = 1000
"""In memory a header may take twenty times what it takes on the wire."""
_MOST_COUNTED = 2**31 - 1
"""`bytes_received` is an int32 in the rows."""

_ENCODING = b"content-encoding"
_ENCODING_LENGTH = len(_ENCODING)


class ReceivedBytes:
    """Bytes of the responses that a load worker is receiving, which are kept until each is whole."""

    def __init__(self) -> None:
        self.total = 0


class AnswerParser:
    """What is known of the answer that is being read. `status` is 0 until the head is whole.

    The parser's callbacks only take notes, and all that follows from them is done afterwards: nothing that is read, cut
    or sent in consequence of an answer can then meet the parser halfway.
    """

    def __init__(self, received: ReceivedBytes) -> None:
        self._all_received, self._own = received, 0
        self._renew()
        self.status = 0
        self.headers: Headers = []
        self.is_complete = self.keeps_alive = False
        self.error: str | None = None
        self.detail: str | None = None
        self._is_head = self._is_compressed = False
        self._body: list[bytes] = []
        self._reader: StreamReader | None = None
        self._feed_reader: Callable[[bytes, int], str | None] | None = None
        self.received = self._without_body = 0
        self._most = MAX_RESPONSE_BYTES

    def start(self, exchange: Exchange) -> None:
        """The next answer is that of `exchange`."""
        if self._is_head:
            self._renew()  # the old parser waits for a body that a HEAD never gets
        self.status = 0
        self.headers = []
        self.is_complete = self.keeps_alive = False
        self.error = self.detail = None
        self._is_head, self._is_compressed = exchange.is_head, False
        self.drop_body()
        self._reader = exchange.reader
        self._feed_reader = None  # until the status is known to be one of success
        self.received = self._without_body = 0
        self._most = MAX_RESPONSE_BYTES

    def feed(self, data: bytes, at_ns: int) -> None:
        """Take what was read at `at_ns`. After an error nothing more may be fed."""
        received = self.received + len(data)
        if received > self._most:
            self._refuse(f"the answer is larger than {self._most / 2**20:.0f} MiB")
            return
        self.received = received
        self._without_body += len(data)
        pieces = len(self._body)
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.keeps_alive = False
            self._refuse(not_http(data, error))
        if self._feed_reader is not None and self._body:
            self._pass_on(self._feed_reader, at_ns)
        elif self._feed_reader is None and not self.is_complete:
            self._keep(pieces, len(data))
        if len(self.headers) > _MOST_HEADERS:
            self._refuse(f"the answer has more than {_MOST_HEADERS:,} headers")
        if self._without_body > MAX_HEAD_BYTES:
            self._refuse(f"the answer has more than {MAX_HEAD_BYTES / 2**20:.0f} MiB outside its body")

    def take_body(self) -> bytes:
        """The body of an answer that is not streamed; it is not kept here."""
        pieces = self._body
        self.drop_body()
        self._reader = self._feed_reader = None  # a kept connection is not to keep what its last reader holds
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def drop_body(self) -> None:
        self._body = []
        if self._own:
            self._all_received.total -= self._own
            self._own = 0

    def ends_with_connection(self) -> bool:
        """The answer has no end but the connection's."""
        has_length = header_value(self.headers, b"content-length") is not None
        return self.status > 0 and not has_length and header_value(self.headers, b"transfer-encoding") is None

    def release(self) -> None:
        """Nothing is fed any more. The parser holds us as we hold it: without this, both wait for a collection."""
        self.drop_body()
        del self._feed, self._parser

    # httptools

    def on_message_begin(self) -> None:
        if self.is_complete:
            self.keeps_alive = False  # more than was asked for: the next answer could not be told from it

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:  # else it is a trailer
            self.headers.append((name, value))
            if len(name) == _ENCODING_LENGTH and name.lower() == _ENCODING:
                self._is_compressed = value.strip().lower() not in (b"", b"identity")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self.is_complete or self.status:
            return
        if status < 200:
            self.headers, self._is_compressed = [], False
            return
        self.status = status
        if self._is_compressed:
            self._refuse("the answer is compressed, and only identity is accepted")
        elif self._is_head:
            self.is_complete = True
            # the parser takes an answer without a length for one that ends with the connection
            connection = header_value(self.headers, b"connection") or b""
            is_kept = self._parser.get_http_version() == "1.1" and b"close" not in connection.lower()
            self.keeps_alive = self._parser.should_keep_alive() or is_kept
        elif status < 300 and self._reader is not None:
            self._feed_reader = self._reader.feed
            self._most = _MOST_COUNTED

    def on_body(self, body: bytes) -> None:
        self._without_body = 0
        if self.is_complete:
            self.keeps_alive = False
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        if self.status and not self.is_complete:
            self.is_complete = True
            self.keeps_alive = self._parser.should_keep_alive()

    def _keep(self, pieces: int, size: int) -> None:
        """Of a response that goes on: one piece of each read, as chunks of a few bytes would take many times their
        size."""
        if len(self._body) > pieces + 1:
            self._body[pieces:] = [b"".join(self._body[pieces:])]
        self._own += size
        self._all_received.total += size
        if self._all_received.total > MAX_RECEIVING_BYTES:
            megabytes = MAX_RECEIVING_BYTES / 2**20
            self._refuse(f"the responses being received hold more than {megabytes:.0f} MiB together", LOCAL_LIMIT)

    def _pass_on(self, feed_reader: Callable[[bytes, int], str | None], at_ns: int) -> None:
        """All of one read at once: its pieces have one time, and a reader is cheaper called once."""
        pieces = self._body
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        try:
            error = feed_reader(piece, at_ns)
            if error is not None and self._reader is not None:
                self.error, self.detail = error, self._reader.detail
        except Exception as broken:  # it costs the request, not the run
            self.error, self.detail = "bad-payload", f"its reader failed: {type(broken).__name__}"

    def _refuse(self, detail: str, error: str = "bad-payload") -> None:
        if self.error is None and not self.is_complete:
            self.error, self.detail = error, detail

    def _renew(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._feed: Callable[[bytes], None] = self._parser.feed_data


def not_http(data: bytes, error: Exception | None = None) -> str:
    """What is wrong with `data`, in words that hold nothing of it."""
    if data[:2] == b"\0\0" and data[3:4] == b"\x04":  # a SETTINGS frame, which every HTTP/2 server begins with
        return "the server speaks HTTP/2, and only HTTP/1.1 is spoken here"
    if data[:2] in (b"\x15\x03", b"\x16\x03"):
        return "the server speaks TLS: its URL begins with https"
    return "it is not HTTP/1.1" if error is None else f"it is not HTTP/1.1: {error}"
