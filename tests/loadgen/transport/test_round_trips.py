from __future__ import annotations

import socket
import struct
import sys

import pytest

from loadgen.transport.round_trips import measure_round_trips, parse_tcp_info


def tcp_info(smoothed_us: int, min_us: int, size: int = 192) -> bytes:
    info = bytearray(size)
    struct.pack_into("=I", info, 68, smoothed_us)
    struct.pack_into("=I", info, 148, min_us)
    return bytes(info)


def test_the_moving_average_and_the_lowest_time_are_read() -> None:
    assert parse_tcp_info(tcp_info(41_500, 20_250)) == (41.5, 20.25)


@pytest.mark.parametrize(
    "info",
    [b"", tcp_info(41_500, 20_250)[:151], tcp_info(0, 20_250), tcp_info(41_500, 0), tcp_info(41_500, 0xFFFF_FFFF)],
    ids=["empty", "of an old kernel", "without an average", "without a lowest time", "before an acknowledgment"],
)
def test_what_the_kernel_does_not_know_is_unknown(info: bytes) -> None:
    assert parse_tcp_info(info) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports round-trip times")
def test_a_real_connection_has_one_and_stays_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            client.sendall(b"x")
            assert accepted.recv(1) == b"x"
            found = measure_round_trips([client.fileno(), server.fileno(), 10**6])  # of the others, none is connected
            assert found is not None
            assert found.connections == 1
            assert 0 < found.min_ms <= found.smoothed_ms
            assert found.min_ms < 1_000
            client.sendall(b"y")
            assert accepted.recv(1) == b"y"


def test_a_socket_that_is_not_tcp_and_no_socket_have_none() -> None:
    first, second = socket.socketpair()
    with first, second:
        assert measure_round_trips([first.fileno()]) is None
    assert measure_round_trips([]) is None
