"""Server-sent events cut out of a body as it arrives."""

from __future__ import annotations

MAX_LINE_BYTES = 2**20
MAX_EVENT_BYTES = 8 * 2**20

_BOM = b"\xef\xbb\xbf"

Event = tuple[bytes, bytes]
"""Data, and the name it was sent under (empty where there was none)."""


class EventSplitter:
    """Works on bytes, so a piece may end anywhere: inside a character, inside CR LF.

    Holds at most one line and one event. Of an event only data and name are kept; lines of data are joined by LF.
    `is_too_long` once a line or an event was longer than may be; nothing is read after it.
    """

    __slots__ = ("_data", "_has_data", "_is_after_cr", "_is_at_start", "_is_between", "_line", "_name", "is_too_long")

    def __init__(self) -> None:
        self.is_too_long = False
        self._line = bytearray()
        self._data = bytearray()
        self._name = b""
        self._has_data = False
        self._is_after_cr = False
        self._is_at_start = True
        self._is_between = False

    def feed(self, piece: bytes) -> list[Event]:
        """The events that `piece` completes."""
        if not self._is_between or len(piece) > MAX_LINE_BYTES:
            return self._feed_lines(piece)
        if b"\r" in piece:
            if piece.count(b"\r") != piece.count(b"\r\n"):
                return self._feed_lines(piece)
            piece = piece.replace(b"\r\n", b"\n")
        if not piece.endswith(b"\n\n"):
            return self._feed_lines(piece)
        # whole events and nothing else: most pieces of most streams, and most of them are one event
        if piece.startswith(b"data: ") and piece.find(b"\n") == len(piece) - 2:
            return [(piece[6:-2], b"")]
        events: list[Event] = []
        for block in piece[:-2].split(b"\n\n"):
            if block.startswith(b"data: ") and b"\n" not in block:
                events.append((block[6:], b""))
            else:
                for line in block.split(b"\n"):
                    self._take(line, events)
                self._take(b"", events)
        return events

    def finish(self) -> list[Event]:
        """The event that the end of the body left without its blank line."""
        events: list[Event] = []
        if not self.is_too_long:
            self._take(bytes(self._line), events)
            self._take(b"", events)
            self._line.clear()
        return events

    def _feed_lines(self, piece: bytes) -> list[Event]:
        events: list[Event] = []
        if not piece or self.is_too_long:
            return events
        self._is_between = False
        ends_in_cr = piece.endswith(b"\r")
        if self._is_after_cr and piece.startswith(b"\n"):
            piece = piece[1:]
        self._is_after_cr = ends_in_cr
        if b"\r" in piece:
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *rest = piece.split(b"\n")
        self._line += first
        for following in rest:
            self._take(bytes(self._line), events)
            if self.is_too_long:
                return events
            self._line[:] = following
        self.is_too_long = len(self._line) > MAX_LINE_BYTES
        self._is_between = not (self._line or self._has_data or self._name or self._is_at_start)
        return events

    def _take(self, line: bytes, events: list[Event]) -> None:
        if self._is_at_start:
            self._is_at_start = False
            line = line.removeprefix(_BOM)
        if not line:
            if self._has_data:
                events.append((bytes(self._data[:-1]), self._name))
                self._data.clear()
                self._has_data = False
            self._name = b""
        elif len(line) > MAX_LINE_BYTES:
            self.is_too_long = True
        elif line.startswith(b"data"):
            self._take_data(line)
        elif line.startswith(b"event:"):
            self._name = line[6:].removeprefix(b" ")

    def _take_data(self, line: bytes) -> None:
        field, _, value = line.partition(b":")
        if field != b"data":
            return
        value = value.removeprefix(b" ")
        # an empty line of data counts too: without end they would fill the memory
        if len(self._data) + len(value) + 1 > MAX_EVENT_BYTES:
            self.is_too_long = True
            return
        self._data += value
        self._data += b"\n"
        self._has_data = True
