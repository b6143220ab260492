import random
import sys

import pytest

from loadgen.protocols import sse
from loadgen.protocols.sse import MAX_LINE_BYTES, Event, EventSplitter

BODY = (
    "\ufeffdata: first\n\n: keep-alive\n\ndata: é☃😀\r\n\r\nevent: named\rdata: cr\r\r"
    "data:no blank\ndata\ndata:  two blanks\nid: 7\nretry: 10\nnonsense\n\n\n\nevent: forgotten\n\n"
    "data: mixed\r\n\ndata:\n\ndatabase: x\ndata: a:b\n\n"
    "data: last, without a blank line"
)
EVENTS: list[Event] = [
    (b"first", b""),
    ("é☃😀".encode(), b""),
    (b"cr", b"named"),
    (b"no blank\n\n two blanks", b""),
    (b"mixed", b""),
    (b"", b""),
    (b"a:b", b""),
    (b"last, without a blank line", b""),
]


def events_of(*pieces: bytes) -> list[Event]:
    splitter = EventSplitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    return events + splitter.finish()


def test_a_body_in_one_piece() -> None:
    assert events_of(BODY.encode()) == EVENTS


def test_a_body_cut_in_two_anywhere() -> None:
    body = BODY.encode()
    for at in range(len(body)):
        assert events_of(body[:at], body[at:]) == EVENTS, at


def test_a_body_byte_by_byte() -> None:
    assert events_of(*(bytes([byte]) for byte in BODY.encode())) == EVENTS


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_body_cut_at_random_with_any_line_end(end: str) -> None:
    rng = random.Random(end)
    texts = ["".join(rng.choices("ab :{}é\u2028", k=rng.randrange(30))) for _ in range(40)]
    lines = [rng.choice(["data: {}", "data: {}", ": {}", "event: {}", "", "id: {}"]).format(text) for text in texts]
    body = (end.join(f"{line}{end}" if rng.random() < 0.6 else line for line in lines) + end * 2).encode()
    whole = events_of(body)
    assert len(whole) > 5
    for _ in range(300):
        cuts = sorted(rng.sample(range(len(body)), rng.randrange(1, 12)))
        assert events_of(*(body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)], strict=True))) == whole


def test_an_event_comes_with_the_piece_that_completes_it() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"data: a\n\n") == [(b"a", b"")]
    assert splitter.feed(b"data: b\n\ndata: c\n\n") == [(b"b", b""), (b"c", b"")]
    assert splitter.feed(b"data: d\r\n\r\n") == [(b"d", b"")]
    assert splitter.feed(b"data: e\r\n\r") == [(b"e", b"")]
    assert splitter.feed(b"\ndata: f\n") == []
    assert splitter.feed(b"\n") == [(b"f", b"")]
    assert splitter.feed(b"event: x\n") == []
    assert splitter.feed(b"data: g\n\ndata: h\n\n") == [(b"g", b"x"), (b"h", b"")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1000, 65_536, 10 * MAX_LINE_BYTES])
def test_a_line_may_be_so_long_and_no_longer(end: bytes, size: int) -> None:
    for length, is_too_long in ((MAX_LINE_BYTES, False), (MAX_LINE_BYTES + 1, True)):
        splitter = EventSplitter()
        splitter.feed(b"data: before\n\n")
        line = b"data: a" + end * 2 + b"data: ".ljust(length, b"x") + end * 2 + b"data: b" + end * 2
        events = [event for at in range(0, len(line), size) for event in splitter.feed(line[at : at + size])]
        assert (splitter.is_too_long, len(events)) == (is_too_long, 1 if is_too_long else 3)
        assert len(splitter.feed(b"data: after\n\n")) == (not is_too_long)


def test_a_line_without_an_end_is_given_up() -> None:
    splitter = EventSplitter()
    pieces = 0
    while not splitter.is_too_long:
        splitter.feed(b"data: a" if pieces == 0 else b"x" * 1000)
        pieces += 1
    assert pieces == MAX_LINE_BYTES // 1000 + 2
    assert splitter.feed(b"\n\ndata: a\n\n") == splitter.finish() == []


@pytest.mark.parametrize("line", [b"data: " + b"x" * 1000 + b"\n", b"data\n" * 1000, b"data:\n" * 1000])
def test_an_event_without_an_end_is_given_up(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100_000)
    splitter = EventSplitter()
    for _ in range(102):
        assert splitter.feed(line) == []
    assert splitter.is_too_long
    assert splitter.finish() == []


@pytest.mark.parametrize(
    "line", [b": keep-alive\n\n", b": keep-alive\n", b"event: x\n", b"id: 1\r\n", b"\n", b"data\n\n"]
)
def test_what_says_nothing_takes_no_memory(line: bytes) -> None:
    splitter = EventSplitter()
    for _ in range(1000):
        splitter.feed(line * 100)
    held = sum(sys.getsizeof(getattr(splitter, name)) for name in EventSplitter.__slots__)
    assert held < 10_000
    assert not splitter.is_too_long
