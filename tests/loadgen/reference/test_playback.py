from time import perf_counter_ns

import pytest

from loadgen.reference.playback import ResponsePlayback, ResponseScript, SocketWriter, build_stream_script
from loadgen.reference.script import End, Ending, Stream

pytestmark = pytest.mark.timing


class FakeWire(SocketWriter):
    """Takes what is written; `is_open` and `is_full` as the test says."""

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


def test_what_is_due_goes_out_and_the_rest_is_reported(wire: FakeWire) -> None:
    long_ago_ns = perf_counter_ns() - 10**9
    play = ResponsePlayback(wire, ResponseScript([0, 5, 3 * 10**9], [b"a", b"b", b"c"]), long_ago_ns, None)
    assert play.send_due_pieces() == long_ago_ns + 3 * 10**9
    assert wire.written == [b"a", b"b"]


@pytest.mark.parametrize(("end", "ends"), [("open", []), ("close", ["closed"]), ("reset", ["reset"])])
def test_after_the_last_piece_the_connection_gets_what_was_meant_for_it(
    wire: FakeWire, end: End, ends: list[str]
) -> None:
    assert ResponsePlayback(wire, ResponseScript([0], [b"a"], Ending(end=end)), 0, None).send_due_pieces() is None
    assert (wire.written, wire.ends) == ([b"a"], ends)


def test_the_end_is_repeated_a_period_later_each_time(wire: FakeWire) -> None:
    start_ns = perf_counter_ns() - 4_500_000_000
    ending = Ending(end="repeat", repeated=2, period_s=1.0)
    play = ResponsePlayback(wire, ResponseScript([0, 10, 20], [b"a", b"b", b"c"], ending), start_ns, None)
    assert play.send_due_pieces() == start_ns + 10 + 5 * 10**9
    assert b"".join(wire.written) == b"abcbcbcbcbc"


def test_a_full_wire_is_waited_for(wire: FakeWire) -> None:
    wire.full = True
    play = ResponsePlayback(wire, ResponseScript([0], [b"a"]), 0, None)
    again_ns = play.send_due_pieces()
    assert again_ns is not None
    assert 0 < again_ns - perf_counter_ns() <= 10**6
    wire.full = False
    assert play.send_due_pieces() is None
    assert wire.written == [b"a"]


def test_what_is_held_waits(wire: FakeWire) -> None:
    later_ns = perf_counter_ns() + 10**9
    assert ResponsePlayback(wire, ResponseScript([0], [b"a"]), 0, lambda _: later_ns).send_due_pieces() == later_ns
    assert wire.written == []


def test_a_connection_that_is_gone_ends_it(wire: FakeWire) -> None:
    wire.open = False
    script = ResponseScript([0], [b"a"], Ending(end="repeat", period_s=1e-9))
    assert ResponsePlayback(wire, script, 0, None).send_due_pieces() is None
    assert wire.written == []


def test_small_pieces_that_are_due_together_are_one() -> None:
    large = b"x" * 20_000
    course = build_stream_script(Stream(((0.0, b"a"), (0.0, b"b"), (0.0, large), (1.0, b"c"), (1.0, b"d"))), 5)
    assert course.pieces == [b"ab", large, b"cd"]
    assert course.offsets_ns == [5, 5, 10**9 + 5]
    repeated = build_stream_script(Stream(((0.0, b"a"), (0.0, b"b"), (0.0, b"c")), end="repeat", repeated=1), 0)
    assert repeated.pieces == [b"ab", b"c"]
