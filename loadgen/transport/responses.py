"""Parse the HTTP responses on one connection with httptools.

Parsed response heads are cached, so that identical heads are not parsed again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import httptools
import msgspec

from loadgen.transport.exchange import LOCAL_LIMIT, Exchange, Headers, StreamReader, find_header

_MAX_CACHED_HEADS = 64
_MAX_MISS_COUNT = 64
_SKIPPED_LOOKUP_COUNT = 1_000


class CachedHead(msgspec.Struct, frozen=True, gc=False):
    """Cached head of a response, already parsed.

    `response_length` is the size in bytes of the whole response (head and body). Responses share
    the headers, which must therefore not be modified.
    """

    head: bytes
    response_length: int
    status: int
    headers: Headers


class HeadCache:
    """Cache of parsed response heads. `latest_head` is the head that was used last; the next
    response usually has the same head.

    Lookups are wasted if heads do not repeat, for example because each head contains an ID, or if
    bodies are chunked. After 64 consecutive misses, the next 1,000 responses are therefore not
    looked up.
    """

    def __init__(self) -> None:
        self.latest_head = CachedHead(b"", -1, 0, [])
        self._cached_head_by_bytes: dict[bytes, CachedHead] = {}
        self._miss_count = self._remaining_skips = 0

    def find(self, data: bytes) -> CachedHead | None:
        """Return the cached head if `data` is exactly one response with this head and a body of the
        cached length, otherwise None."""
        if self._remaining_skips:
            self._remaining_skips -= 1
            return None
        cached_head = self._cached_head_by_bytes.get(data[: data.find(b"\r\n\r\n") + 4])
        if cached_head is None or cached_head.response_length != len(data):
            self._miss_count += 1
            if self._miss_count == _MAX_MISS_COUNT:
                self._miss_count, self._remaining_skips = 0, _SKIPPED_LOOKUP_COUNT
            return None
        self._miss_count = 0
        self.latest_head = cached_head
        return cached_head

    def add(self, data: bytes, status: int, headers: Headers, body_length: int) -> None:
        """Add the head of a response to the cache. `data` must be one complete response with
        keep-alive, received in a single read.

        The head is cached only if everything after the head is the body. The head then determines
        the length of the response.
        """
        if self._remaining_skips:
            return
        head_length = data.find(b"\r\n\r\n") + 4
        if len(data) - head_length != body_length:
            return
        if len(self._cached_head_by_bytes) == _MAX_CACHED_HEADS:
            self._cached_head_by_bytes.clear()
        head = data[:head_length]
        self.latest_head = self._cached_head_by_bytes[head] = CachedHead(head, len(data), status, headers)


MAX_RESPONSE_BYTES = 64 * 2**20
"""Maximum size in bytes of a response that is stored in memory."""
MAX_RECEIVING_BYTES = 256 * 2**20
"""Maximum total size in bytes of the incomplete responses that one load worker stores in memory."""
MAX_HEAD_BYTES = 2**20
"""Maximum number of consecutive bytes in a response that do not belong to the body, such as the
head or trailers."""
_MAX_HEADERS = 1000
"""Maximum number of headers in a response. In memory, a header can take twenty times its size on
the wire."""
_MAX_BYTES_RECEIVED = 2**31 - 1
"""Maximum number of received bytes per response, because the column `bytes_received` of the request
rows is an int32."""

_ENCODING_HEADER = b"content-encoding"
_IDENTITY = (b"", b"identity")
_DECODED = (b"gzip", b"x-gzip", b"deflate")
"""Content codings that are decoded. The requests accept only identity, but some servers compress in spite of that."""
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_ENCODING_HEADER_LENGTH = len(_ENCODING_HEADER)


class ReceivedBytes:
    """Counter of the bytes of all incomplete responses that a load worker stores in memory."""

    def __init__(self) -> None:
        self.total = 0


class _Decompressor:
    """Decompressor of the body of one response, whose content is at most MAX_RESPONSE_BYTES long."""

    def __init__(self) -> None:
        self._stream: zlib._Decompress | None = None
        self._total_bytes = 0

    def decompress(self, data: bytes) -> bytes:
        """Return the content that the next data of the body adds. Raises ValueError if the data cannot be
        decompressed or their content is too large."""
        contents: list[bytes] = []
        while data:
            if self._stream is None or self._stream.eof:
                self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)  # a body may consist of several gzip members
            try:
                contents.append(self._stream.decompress(data, MAX_RESPONSE_BYTES + 1 - self._total_bytes))
            except zlib.error as error:
                raise ValueError("the compressed response cannot be decompressed") from error
            self._total_bytes += len(contents[-1])
            if self._total_bytes > MAX_RESPONSE_BYTES:
                raise ValueError(f"the decompressed response exceeds {MAX_RESPONSE_BYTES / 2**20:.0f} MiB")
            data = self._stream.unused_data
        return contents[0] if len(contents) == 1 else b"".join(contents)

    @property
    def is_complete(self) -> bool:
        """Whether the content has ended. An empty body has no content, and is complete."""
        return self._stream is None or self._stream.eof


class ResponseParser:
    """Parser of the responses on one connection. The attributes describe the current response;
    `status` is 0 until its head is complete.

    The callbacks of httptools only record their arguments. The arguments are processed after the
    parser has returned, so that no reaction to a response can reenter the parser.
    """

    def __init__(self, received_bytes: ReceivedBytes) -> None:
        self._buffered_bytes, self._stored_bytes = received_bytes, 0
        self._reset_parser()
        self.status = 0
        self.headers: Headers = []
        self.is_complete = self.is_keep_alive = False
        self.error: str | None = None
        self.detail: str | None = None
        self._is_head = False
        self._content_coding = b""
        self._decompressor: _Decompressor | None = None
        self._body_chunks: list[bytes] = []
        self._reader: StreamReader | None = None
        self._feed_reader: Callable[[bytes, int], str | None] | None = None
        self.bytes_received = self._non_body_bytes = 0
        self._max_bytes = MAX_RESPONSE_BYTES

    def start(self, exchange: Exchange) -> None:
        """Reset the parser for the response of `exchange`."""
        if self._is_head:
            self._reset_parser()  # the old parser waits for a body that a HEAD response never has
        self.status = 0
        self.headers = []
        self.is_complete = self.is_keep_alive = False
        self.error = self.detail = None
        self._is_head, self._content_coding, self._decompressor = exchange.is_head, b"", None
        self.drop_body()
        self._reader = exchange.reader
        self._feed_reader = None  # set once the status is known to be a success
        self.bytes_received = self._non_body_bytes = 0
        self._max_bytes = MAX_RESPONSE_BYTES

    def feed(self, data: bytes, received_ns: int) -> None:
        """Parse the next data of the response, which was received at `received_ns`. Must not be
        called again after an error."""
        bytes_received = self.bytes_received + len(data)
        if bytes_received > self._max_bytes:
            self._fail(f"the response exceeds {self._max_bytes / 2**20:.0f} MiB")
            return
        self.bytes_received = bytes_received
        self._non_body_bytes += len(data)
        chunk_count = len(self._body_chunks)
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.is_keep_alive = False
            self._fail(describe_non_http(data, error))
        if self._feed_reader is not None and self._body_chunks:
            self._feed_body(self._feed_reader, received_ns)
        elif self._feed_reader is None and not self.is_complete:
            self._store_body(chunk_count, len(data))
        if len(self.headers) > _MAX_HEADERS:
            self._fail(f"the response has more than {_MAX_HEADERS:,} headers")
        if self._non_body_bytes > MAX_HEAD_BYTES:
            self._fail(f"the response has more than {MAX_HEAD_BYTES / 2**20:.0f} MiB outside its body")

    @property
    def is_compressed(self) -> bool:
        return self._content_coding not in _IDENTITY

    def pop_body(self) -> bytes:
        """Return the decompressed body of a response that was not streamed, and remove the body from the parser. If it
        cannot be decompressed, `error` and `detail` say so."""
        chunks, is_streamed = self._body_chunks, self._feed_reader is not None
        self.drop_body()
        self._reader = self._feed_reader = None  # release the data of the reader on a keep-alive connection
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if self._decompressor is None:
            return body
        content = b"" if is_streamed else self._decompress(self._decompressor, body)
        if self.error is None and not self._decompressor.is_complete:
            self.error, self.detail = "bad-payload", "the compressed response is truncated"
        return content

    def _decompress(self, decompressor: _Decompressor, data: bytes) -> bytes:
        """Return the content of the next data of a compressed body; nothing after an error, which is recorded."""
        try:
            return decompressor.decompress(data)
        except ValueError as error:
            self.error, self.detail = "bad-payload", str(error)
            return b""

    def drop_body(self) -> None:
        self._body_chunks = []
        if self._stored_bytes:
            self._buffered_bytes.total -= self._stored_bytes
            self._stored_bytes = 0

    def is_ended_by_connection(self) -> bool:
        """Return True if the response ends only when the connection is closed, because it has
        neither a Content-Length nor a Transfer-Encoding header."""
        has_length = find_header(self.headers, b"content-length") is not None
        return self.status > 0 and not has_length and find_header(self.headers, b"transfer-encoding") is None

    def release(self) -> None:
        """Release the httptools parser when the connection has been closed. This breaks the
        reference cycle between the httptools parser and this object, so that no garbage collection
        is needed."""
        self.drop_body()
        del self._feed, self._parser

    # Callbacks of httptools

    def on_message_begin(self) -> None:
        if self.is_complete:
            self.is_keep_alive = False  # unrequested data could not be distinguished from the next response

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:  # otherwise it is a trailer
            self.headers.append((name, value))
            if len(name) == _ENCODING_HEADER_LENGTH and name.lower() == _ENCODING_HEADER:
                self._content_coding = value.strip().lower()

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self.is_complete or self.status:
            return
        if status < 200:
            self.headers, self._content_coding = [], b""
            return
        self.status = status
        if self.is_compressed and self._content_coding not in _DECODED:
            # The coding itself is not quoted: it is text of the server.
            self._fail("the response is compressed, and neither with gzip nor with deflate")
        elif self._is_head:
            self.is_complete = True
            # The parser assumes that a response without a length ends with the connection.
            connection = find_header(self.headers, b"connection") or b""
            is_keep_alive_allowed = self._parser.get_http_version() == "1.1" and b"close" not in connection.lower()
            self.is_keep_alive = self._parser.should_keep_alive() or is_keep_alive_allowed
        else:
            if self.is_compressed:
                self._decompressor = _Decompressor()
            if status < 300 and self._reader is not None:
                self._feed_reader = self._reader.feed
                self._max_bytes = _MAX_BYTES_RECEIVED

    def on_body(self, body: bytes) -> None:
        self._non_body_bytes = 0
        if self.is_complete:
            self.is_keep_alive = False
        else:
            self._body_chunks.append(body)

    def on_message_complete(self) -> None:
        if self.status and not self.is_complete:
            self.is_complete = True
            self.is_keep_alive = self._parser.should_keep_alive()

    def _store_body(self, old_chunk_count: int, size: int) -> None:
        """Join the body chunks of one read, and check the memory limit. The first `old_chunk_count`
        chunks are of earlier reads and are left as they are.

        Without joining, many small chunks would use many times their size in memory.
        """
        if len(self._body_chunks) > old_chunk_count + 1:
            self._body_chunks[old_chunk_count:] = [b"".join(self._body_chunks[old_chunk_count:])]
        self._stored_bytes += size
        self._buffered_bytes.total += size
        if self._buffered_bytes.total > MAX_RECEIVING_BYTES:
            limit_mib = MAX_RECEIVING_BYTES / 2**20
            self._fail(f"the responses being received exceed {limit_mib:.0f} MiB in total", LOCAL_LIMIT)

    def _feed_body(self, feed_reader: Callable[[bytes, int], str | None], received_ns: int) -> None:
        """Pass all body chunks of one read to the reader in a single call, because the chunks have
        the same receive time."""
        chunks = self._body_chunks
        content = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        if self._decompressor is not None:
            content = self._decompress(self._decompressor, content)
            if self.error is not None or not content:
                return
        try:
            error = feed_reader(content, received_ns)
            if error is not None and self._reader is not None:
                self.error, self.detail = error, self._reader.detail
        except Exception as reader_error:  # a failing reader fails the request, not the run
            self.error, self.detail = "bad-payload", f"the response reader failed: {type(reader_error).__name__}"

    def _fail(self, detail: str, error: str = "bad-payload") -> None:
        if self.error is None and not self.is_complete:
            self.error, self.detail = error, detail

    def _reset_parser(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._feed: Callable[[bytes], None] = self._parser.feed_data


def describe_non_http(data: bytes, error: Exception | None = None) -> str:
    """Describe why `data` is not an HTTP/1.1 response, without quoting the data."""
    if data[:2] == b"\0\0" and data[3:4] == b"\x04":  # a SETTINGS frame, the first frame of every HTTP/2 server
        return "the server uses HTTP/2, but only HTTP/1.1 is supported"
    if data[:2] in (b"\x15\x03", b"\x16\x03"):
        return "the server uses TLS; use an https:// URL"
    return "the response is not HTTP/1.1" if error is None else f"the response is not HTTP/1.1: {error}"
