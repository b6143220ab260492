from time import perf_counter_ns

import pytest

from loadgen.reference.playback import ResponsePlayback, ResponseScript, SocketWriter, build_stream_script
from loadgen.reference.script import End, Ending, Stream

pytestmark = pytest.mark.timing


class FakeWire(SocketWriter):
    """Records what is written; the test sets `open` and `full`."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.ends: list[str] = []
        self.open, self.full = True, False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_open(self) -> bool:
        return self.open

    def is_full(self) -> bool:
        return self.full

    def close(self) -> None:
        self.ends.append("closed")

    def reset(self) -> None:
        self.ends.append("reset")


@pytest.fixture
def wire() -> FakeWire:
    return FakeWire()


def test_due_pieces_are_sent_and_time_of_next_piece_is_returned(wire: FakeWire) -> None:
    long_ago_ns = perf_counter_ns() - 10**9
    playback = ResponsePlayback(wire, ResponseScript([0, 5, 3 * 10**9], [b"a", b"b", b"c"]), long_ago_ns, None)
    assert playback.send_due_pieces() == long_ago_ns + 3 * 10**9
    assert wire.written == [b"a", b"b"]


@pytest.mark.parametrize(("end", "ends"), [("open", []), ("close", ["closed"]), ("reset", ["reset"])])
def test_connection_gets_configured_ending_after_last_piece(wire: FakeWire, end: End, ends: list[str]) -> None:
    assert ResponsePlayback(wire, ResponseScript([0], [b"a"], Ending(end=end)), 0, None).send_due_pieces() is None
    assert (wire.written, wire.ends) == ([b"a"], ends)


def test_repeated_ending_is_sent_once_per_period(wire: FakeWire) -> None:
    start_ns = perf_counter_ns() - 4_500_000_000
    ending = Ending(end="repeat", repeated=2, period_s=1.0)
    playback = ResponsePlayback(wire, ResponseScript([0, 10, 20], [b"a", b"b", b"c"], ending), start_ns, None)
    assert playback.send_due_pieces() == start_ns + 10 + 5 * 10**9
    assert b"".join(wire.written) == b"abcbcbcbcbc"


def test_full_socket_is_retried_within_1_ms(wire: FakeWire) -> None:
    wire.full = True
    playback = ResponsePlayback(wire, ResponseScript([0], [b"a"]), 0, None)
    retry_ns = playback.send_due_pieces()
    assert retry_ns is not None
    assert 0 < retry_ns - perf_counter_ns() <= 10**6
    wire.full = False
    assert playback.send_due_pieces() is None
    assert wire.written == [b"a"]


def test_deferred_piece_is_not_sent_before_its_new_time(wire: FakeWire) -> None:
    later_ns = perf_counter_ns() + 10**9
    assert ResponsePlayback(wire, ResponseScript([0], [b"a"]), 0, lambda _: later_ns).send_due_pieces() == later_ns
    assert wire.written == []


def test_closed_connection_ends_playback(wire: FakeWire) -> None:
    wire.open = False
    script = ResponseScript([0], [b"a"], Ending(end="repeat", period_s=1e-9))
    assert ResponsePlayback(wire, script, 0, None).send_due_pieces() is None
    assert wire.written == []


def test_small_pieces_due_together_are_merged() -> None:
    large = b"x" * 20_000
    stream_script = build_stream_script(Stream(((0.0, b"a"), (0.0, b"b"), (0.0, large), (1.0, b"c"), (1.0, b"d"))), 5)
    assert stream_script.pieces == [b"ab", large, b"cd"]
    assert stream_script.offsets_ns == [5, 5, 10**9 + 5]
    repeated = build_stream_script(Stream(((0.0, b"a"), (0.0, b"b"), (0.0, b"c")), end="repeat", repeated=1), 0)
    assert repeated.pieces == [b"ab", b"c"]
