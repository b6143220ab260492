"""WebSocket dialogs with a scripted server, and all the ways in which they end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, RejectConnection, TextMessage

from loadgen.payloads.audio import encode_wav
from loadgen.protocols.openai_realtime import build_realtime
from loadgen.protocols.prepared import check_response
from loadgen.records import Endpoint, Timeouts
from loadgen.transport.address import parse_url
from loadgen.transport.exchange import Exchange
from loadgen.transport.pool import ConnectionPool
from loadgen.transport.websocket import MAX_MESSAGE_BYTES, create_websocket_transport
from loadgen.workloads import Dataset, RealtimeWorkload
from tests.fakes import http_client as asking
from tests.fakes.realtime_server import DONE, RealtimeServer, Step, audio_delta, realtime_server

RATE_HZ = 16_000
AUDIO = [audio_delta(3_200), audio_delta(3_200)]
GREETING: dict[str, Any] = {"type": "session.created"}
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"


@pytest.fixture
def run_dialog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str | None, Exchange]]:
    """Runs one dialog with a server; returns its error and its exchange. The clip has `size` samples."""
    monkeypatch.setattr(asking, "create_http_transport", create_websocket_transport)

    def run(server: RealtimeServer, size: int = 400, loop: str = "uvloop") -> tuple[str | None, Exchange]:
        (tmp_path / "a.wav").write_bytes(encode_wav(np.arange(size, dtype=np.int16)))
        exchanges: list[Exchange] = []

        async def send(asker: asking.HttpClient) -> None:
            assert prepared.new_reader is not None
            exchanges.append(await asker.request(prepared.requests[0], reader=prepared.new_reader()))
            assert isinstance(asker.transport, ConnectionPool)
            assert asker.transport.opened_count == asker.transport.sent_count == 1

        with realtime_server(server):
            endpoint = Endpoint((server.url,), timeouts=Timeouts(connect_s=5, idle_s=0.3, total_s=0.35))
            workload = RealtimeWorkload(
                "org/m", dataset=Dataset(str(tmp_path), "folder"), sample_rate_hz=RATE_HZ, chunk_s=0.01
            )
            prepared = build_realtime(workload, endpoint, parse_url(server.url))
            asking.run_http_client_on(loop, endpoint, send)
        return check_response(prepared.check, exchanges[0]).error, exchanges[0]

    return run


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_dialog_sends_audio_and_receives_response(run_dialog: Any, loop: str) -> None:
    message = msgspec.json.encode(AUDIO[1]).decode()
    fragments: list[Step] = [
        TextMessage(message[:9], message_finished=False),
        Ping(b"in between"),
        TextMessage("", message_finished=False),
        TextMessage(message[9:]),
    ]
    server = RealtimeServer([{"type": "response.created"}, AUDIO[0], *fragments, DONE])
    error, exchange = run_dialog(server, loop=loop)
    assert (error, exchange.status, exchange.detail) == (None, 101, None)
    assert exchange.media is not None
    assert exchange.media.audio_s == pytest.approx(6_400 / 48_000)
    assert exchange.sent_ns < exchange.media.input_end_ns <= exchange.media.first_audio_ns <= exchange.end_ns
    assert server.targets == ["/v1/realtime?model=org%2Fm"]
    (events,) = server.events
    assert [event["type"] for event in events] == [
        "session.update", "input_audio_buffer.append", "input_audio_buffer.append", "input_audio_buffer.append",
        "input_audio_buffer.commit", "response.create",
    ]  # fmt: skip
    assert (server.pongs, server.closed) == (1, [1000])


def test_long_audio_input_does_not_count_toward_timeouts(run_dialog: Any) -> None:
    error, exchange = run_dialog(RealtimeServer([*AUDIO, DONE]), size=RATE_HZ // 2)
    assert error is None
    assert exchange.end_ns - exchange.sent_ns > 450_000_000, "longer than both timeouts"


def test_frames_after_final_event_are_ignored(run_dialog: Any) -> None:
    """The packet of the last event also has a close frame and a ping."""
    end = msgspec.json.encode(DONE)
    last = b"\x81" + bytes([len(end)]) + end + b"\x88\x02\x03\xe8" + b"\x89\x00" + b"\xff"
    error, exchange = run_dialog(RealtimeServer([AUDIO[0], last]))
    assert (error, exchange.detail) == (None, None)


def rejecting_server(*steps: Event | bytes) -> RealtimeServer:
    return RealtimeServer([], greeting=(), upgrade=lambda: steps)


@pytest.mark.parametrize(
    ("server", "error", "detail"),
    [
        (rejecting_server(RejectConnection(status_code=401)), "http-4xx", "does not upgrade"),
        (rejecting_server(RejectConnection(status_code=503)), "http-5xx", "does not upgrade"),
        (rejecting_server(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"), "bad-payload", "does not upgrade"),
        (rejecting_server(b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"), "bad-payload", "does not upgrade"),
        (rejecting_server(ACCEPTED + b"\r\n"), "bad-payload", "another upgrade request"),
        (
            rejecting_server(ACCEPTED + b"Sec-WebSocket-Accept: bm90IG91cnM=\r\n\r\n"),
            "bad-payload",
            "another upgrade request",
        ),
        (rejecting_server(b"SSH-2.0-OpenSSH_9.6\r\n"), "bad-payload", "not HTTP/1.1"),
        (rejecting_server(b"HTTP/1.1 abc\r\n\r\n"), "bad-payload", "not HTTP/1.1"),
        (rejecting_server(b"HTTP/1.1 101 X\r\n" + b"X-Long: y\r\n" * 7_000), "bad-payload", "not HTTP/1.1"),
        (rejecting_server(b""), "send", None),
        (rejecting_server(ACCEPTED, b""), "truncated", None),
        (rejecting_server(), "timeout", None),
        (RealtimeServer([], greeting=[]), "timeout", None),
        (RealtimeServer([], greeting=[{"type": "welcome"}]), "bad-payload", "session.created"),
        (RealtimeServer([], greeting=[TextMessage("hello")]), "bad-payload", "not an event"),
        (RealtimeServer([], greeting=[TextMessage('{"type": 1}')]), "bad-payload", "not an event"),
        (RealtimeServer([], greeting=[BytesMessage(b"\0\1")]), "bad-payload", "binary messages"),
        (RealtimeServer([], greeting=[GREETING, AUDIO[0]]), "bad-output", "before the end of the audio"),
        (RealtimeServer([{"type": "error", "error": {"message": "secret"}}]), "bad-output", "reported an error"),
        (RealtimeServer([*AUDIO, {"type": "response.done", "response": {"status": "failed"}}]), "bad-output", "failed"),
        (RealtimeServer([{"type": "response.output_text.delta", "delta": "hi"}, DONE]), "bad-output", "no audio"),
        (RealtimeServer([{**AUDIO[0], "delta": "a"}]), "bad-payload", "not base64"),
        (RealtimeServer([{**AUDIO[0], "delta": 5}]), "bad-payload", "not base64"),
        (RealtimeServer([AUDIO[0], CloseConnection(1011, "secret")]), "truncated", "with code 1011"),
        (RealtimeServer([AUDIO[0], CloseConnection(1000)]), "truncated", "with code 1000"),
        (RealtimeServer([AUDIO[0], b""]), "truncated", None),
        (RealtimeServer([AUDIO[0], b"\x83\x00"]), "bad-payload", "invalid WebSocket frames"),
        (RealtimeServer([b"\x81\x85mask12345"]), "bad-payload", "invalid WebSocket frames"),
        (RealtimeServer([b"\x81\x02\xff\xfe"]), "bad-payload", "invalid WebSocket frames"),
        (RealtimeServer([TextMessage(" " * (MAX_MESSAGE_BYTES + 1))]), "bad-payload", "a message exceeds 2 MiB"),
        (RealtimeServer([AUDIO[0]]), "timeout", None),
        (RealtimeServer([step for _ in range(60) for step in (AUDIO[0], 0.01)]), "timeout", None),
    ],
)
def test_end_of_dialog_maps_to_error_class(
    run_dialog: Any, server: RealtimeServer, error: str, detail: str | None
) -> None:
    actual_error, exchange = run_dialog(server)
    assert actual_error == error
    assert exchange.end_ns is not None
    assert (exchange.detail is None) == (detail is None)
    assert detail is None or detail in exchange.detail
    assert "secret" not in str(exchange.detail)
