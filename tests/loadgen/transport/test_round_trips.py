from __future__ import annotations

import socket
import struct
import sys

import pytest

from loadgen.transport.round_trips import measure_round_trips, parse_min_round_trip_ms


def tcp_info(min_us: int, size: int = 192) -> bytes:
    info = bytearray(size)
    struct.pack_into("=I", info, 148, min_us)
    return bytes(info)


def test_minimum_round_trip_time_is_parsed() -> None:
    assert parse_min_round_trip_ms(tcp_info(20_250)) == 20.25


@pytest.mark.parametrize(
    "info",
    [b"", tcp_info(20_250)[:151], tcp_info(0), tcp_info(0xFFFF_FFFF)],
    ids=["empty", "of an old kernel", "without a time", "before an acknowledgment"],
)
def test_missing_round_trip_time_is_unknown(info: bytes) -> None:
    assert parse_min_round_trip_ms(info) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports round-trip times")
def test_round_trip_time_of_connection_is_measured_without_closing_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        with accepted:
            client.sendall(b"x")
            assert accepted.recv(1) == b"x"
            round_trips = measure_round_trips([client.fileno(), server.fileno(), 10**6])  # the others are not connected
            assert round_trips is not None
            assert round_trips.connections == 1
            assert 0 < round_trips.min_ms < 1_000
            client.sendall(b"y")
            assert accepted.recv(1) == b"y"


def test_round_trip_time_of_other_sockets_is_unknown() -> None:
    first, second = socket.socketpair()
    with first, second:
        assert measure_round_trips([first.fileno()]) is None
    assert measure_round_trips([]) is None
