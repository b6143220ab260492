import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from time import perf_counter, perf_counter_ns
from typing import NoReturn

import grpc
import pytest

from loadgen.protocols.open_inference_pb2 import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse
from loadgen.records import Endpoint, Timeouts
from loadgen.transport import grpc_calls, grpc_channel
from loadgen.transport.exchange import ResolveError
from loadgen.transport.grpc import GrpcReplicas
from tests.fakes.grpc_client import INFER, METADATA, STREAM, GrpcClient, RunGrpcClient, closed_port, run_grpc_client_on
from tests.fakes.http_client import PieceRecorder
from tests.fakes.open_inference import OpenInference, floats
from tests.fakes.program import wait_until

pytestmark = pytest.mark.timing

Responses = Iterator[ModelStreamInferResponse]


def rejecting_server(code: grpc.StatusCode, secret: str = "") -> OpenInference:
    def reject(_: object, context: grpc.ServicerContext) -> NoReturn:
        context.abort(code, secret)

    return OpenInference(respond=reject, stream=reject)


def hanging_server() -> OpenInference:
    server = OpenInference()
    server.respond = server.hang
    server.stream = lambda request, context: [ModelStreamInferResponse(infer_response=server.hang(request, context))]
    return server


def test_grpc_message_and_response_are_transferred_unchanged(run_grpc_client: RunGrpcClient, method: str) -> None:
    async def make_calls(client: GrpcClient) -> None:
        first, second = await client.call(), await client.call()
        assert (first.error, first.status, first.first_byte_ns) == (None, 200, None)
        assert first.sent_ns is not None
        assert first.end_ns is not None
        assert first.sent_ns < first.end_ns
        assert first.bytes_received == len(first.body) > 0
        assert (first.reused, second.reused) == (False, True)
        assert (client.transport.opened_count, client.transport.sent_count) == (1, 2)
        parse = ModelInferResponse if method == INFER else ModelStreamInferResponse
        assert parse.FromString(first.body) == (
            floats(0, 1) if method == INFER else ModelStreamInferResponse(infer_response=floats(0, 1))
        )

    with OpenInference() as server:
        run_grpc_client(Endpoint((server.url,)), make_calls)
    assert [request.model_name for request in server.requests] == ["m", "m"]


def test_other_grpc_method_can_be_called(run_grpc_client: RunGrpcClient) -> None:
    async def make_calls(client: GrpcClient) -> None:
        assert (await client.call(method=METADATA)).body == server.model_metadata.SerializeToString()

    with OpenInference() as server:
        run_grpc_client(Endpoint((server.url,)), make_calls)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("NOT_FOUND", 404),
        ("UNAUTHENTICATED", 401),
        ("PERMISSION_DENIED", 403),
        ("INVALID_ARGUMENT", 400),
        ("RESOURCE_EXHAUSTED", 429),
        ("UNAVAILABLE", 503),
        ("INTERNAL", 500),
        ("UNIMPLEMENTED", 501),
    ],
)
def test_grpc_error_becomes_http_status_without_server_message(
    run_grpc_client: RunGrpcClient, code: str, status: int
) -> None:
    async def make_calls(client: GrpcClient) -> None:
        exchange = await client.call()
        assert (exchange.error, exchange.status, exchange.detail) == (None, status, f"gRPC status {code}")

    with rejecting_server(grpc.StatusCode[code], "canary") as server:
        run_grpc_client(Endpoint((server.url,)), make_calls)


def test_closed_port_is_connect_error(run_grpc_client: RunGrpcClient) -> None:
    async def make_calls(client: GrpcClient) -> None:
        exchange = await client.call()
        assert (exchange.error, exchange.status, exchange.reused) == ("connect", None, False)
        assert "refused" in str(exchange.detail)
        assert exchange.sent_ns is not None
        assert (client.transport.opened_count, client.transport.sent_count) == (0, 1)

    run_grpc_client(Endpoint((f"grpc://127.0.0.1:{closed_port()}",)), make_calls)


def test_silent_peer_is_abandoned_at_connect_timeout(run_grpc_client: RunGrpcClient) -> None:
    async def make_calls(client: GrpcClient) -> None:
        start_s = perf_counter()
        assert (await client.call()).error == "connect"
        assert 0.3 <= perf_counter() - start_s < 1

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        run_grpc_client(Endpoint((f"grpc://127.0.0.1:{port}",), timeouts=Timeouts(connect_s=0.4)), make_calls)


def test_restarted_server_is_reconnected_within_1_s(run_grpc_client: RunGrpcClient) -> None:
    port = closed_port()

    async def make_calls(client: GrpcClient) -> None:
        for _ in range(30):
            assert (await client.call()).error == "connect"
            await asyncio.sleep(0.02)
        with OpenInference(port=port):
            start_s = perf_counter()
            while (await client.call()).error == "connect":
                assert perf_counter() - start_s < 1
                await asyncio.sleep(0.01)

    run_grpc_client(Endpoint((f"grpc://127.0.0.1:{port}",)), make_calls)


def test_server_shutdown_before_response_is_send_error_or_no_error(run_grpc_client: RunGrpcClient) -> None:
    async def make_calls(client: GrpcClient) -> None:
        pending = client.submit()
        await asyncio.to_thread(wait_until, lambda: server.requests)
        await asyncio.to_thread(server.stop)
        assert (await pending).error in ("send", None)  # the server may still announce its shutdown

    with hanging_server() as server:
        run_grpc_client(Endpoint((server.url,)), make_calls)


def test_grpc_call_ends_at_total_timeout(run_grpc_client: RunGrpcClient) -> None:
    async def make_calls(client: GrpcClient) -> None:
        start_s = perf_counter()
        assert (await client.call()).error == "timeout"
        assert 0.3 <= perf_counter() - start_s < 0.8

    with hanging_server() as server:
        run_grpc_client(Endpoint((server.url,), timeouts=Timeouts(total_s=0.3)), make_calls)


def test_grpc_stream_ends_at_idle_timeout() -> None:
    def stall(request: ModelInferRequest, context: grpc.ServicerContext) -> Responses:
        yield ModelStreamInferResponse(infer_response=floats(0, 1))
        server.released.wait(30)

    async def make_calls(client: GrpcClient) -> None:
        start_s, reader = perf_counter(), PieceRecorder()
        exchange = await client.call(reader)
        assert (exchange.error, len(reader.pieces)) == ("timeout", 1)
        assert 0.3 <= perf_counter() - start_s < 0.8

    with OpenInference(stream=stall) as server:
        run_grpc_client_on("uvloop", Endpoint((server.url,), timeouts=Timeouts(idle_s=0.3)), make_calls, STREAM)


def test_each_streamed_message_is_timed_and_read_on_arrival() -> None:
    sent_ns: list[int] = []
    go_on = threading.Semaphore(0)

    def respond(request: ModelInferRequest, context: grpc.ServicerContext) -> Responses:
        for number in range(3):
            assert go_on.acquire(timeout=10)
            sent_ns.append(perf_counter_ns())
            yield ModelStreamInferResponse(infer_response=floats(number))

    class Following(PieceRecorder):
        def feed(self, piece: bytes, at_ns: int) -> str | None:
            go_on.release()
            return super().feed(piece, at_ns)

    async def make_calls(client: GrpcClient) -> None:
        reader = Following()
        go_on.release()
        exchange = await client.call(reader)
        assert (exchange.error, exchange.status, exchange.body) == (None, 200, b"")
        values = [
            ModelStreamInferResponse.FromString(piece).infer_response.outputs[0].contents.fp32_contents[0]
            for piece in reader.pieces
        ]
        assert values == [0, 1, 2]
        assert exchange.bytes_received == sum(map(len, reader.pieces))
        assert exchange.end_ns is not None
        for sent, at, after in zip(sent_ns, reader.at_ns, [*sent_ns[1:], exchange.end_ns], strict=True):
            assert sent < at < after

    with OpenInference(stream=respond) as server:
        run_grpc_client_on("uvloop", Endpoint((server.url,)), make_calls, STREAM)


def test_rejection_by_stream_reader_ends_grpc_stream() -> None:
    def endless(request: ModelInferRequest, context: grpc.ServicerContext) -> Responses:
        while context.is_active():
            yield ModelStreamInferResponse(infer_response=floats(0, 1))

    async def make_calls(client: GrpcClient) -> None:
        exchange = await client.call(PieceRecorder(refused=b"m", error="bad-output"))
        assert (exchange.error, exchange.status) == ("bad-output", 200)

    with OpenInference(stream=endless) as server:
        run_grpc_client_on("uvloop", Endpoint((server.url,)), make_calls, STREAM)


def test_grpc_stream_interrupted_after_response_is_truncated() -> None:
    def respond_and_hang(request: ModelInferRequest, context: grpc.ServicerContext) -> Responses:
        yield ModelStreamInferResponse(infer_response=floats(0, 1))
        server.released.wait(30)

    async def make_calls(client: GrpcClient) -> None:
        reader = PieceRecorder()
        pending = client.submit(reader)
        while not reader.pieces:
            await asyncio.sleep(0)
        await asyncio.to_thread(server.stop)
        exchange = await pending
        assert exchange.error == "truncated" or exchange.status in (499, 503)

    with OpenInference(stream=respond_and_hang) as server:
        run_grpc_client_on("uvloop", Endpoint((server.url,)), make_calls, STREAM)


@pytest.mark.parametrize("limited", [grpc_channel, grpc_calls])
def test_response_beyond_size_limit_is_bad_payload(
    method: str, monkeypatch: pytest.MonkeyPatch, limited: object
) -> None:
    monkeypatch.setattr(limited, "MAX_RESPONSE_BYTES", 100)
    large = floats(*[0.0] * 100)
    chunks = [ModelStreamInferResponse(infer_response=floats(0, 1))] * 10
    pieces = [ModelStreamInferResponse(infer_response=large)] if limited is grpc_channel else chunks

    async def make_calls(client: GrpcClient) -> None:
        assert (await client.call()).error == "bad-payload"

    if method == INFER and limited is grpc_calls:
        return  # a single message is bounded by the channel
    with OpenInference(respond=lambda *_: large, stream=lambda *_: pieces) as server:
        run_grpc_client_on("uvloop", Endpoint((server.url,)), make_calls, method)


def test_concurrent_calls_are_limited_and_queued_in_order(run_grpc_client: RunGrpcClient) -> None:
    async def make_calls(client: GrpcClient) -> None:
        pending = [client.submit() for _ in range(5)]
        await asyncio.to_thread(wait_until, lambda: len(server.requests) == 2)
        assert (client.pool.sent_count, client.pool.outstanding_count) == (2, 5)
        server.released.set()
        exchanges = await asyncio.gather(*pending)
        assert [exchange.error for exchange in exchanges] == [None] * 5
        starts = [exchange.sent_ns for exchange in exchanges if exchange.sent_ns is not None]
        assert len(starts) == 5
        assert starts == sorted(starts)

    with hanging_server() as server:
        run_grpc_client(Endpoint((server.url,), max_connections=2), make_calls)


def test_abort_ends_calls_in_flight_and_queued_calls(run_grpc_client: RunGrpcClient) -> None:
    async def make_calls(client: GrpcClient) -> None:
        pending = [client.submit() for _ in range(4)]
        await asyncio.to_thread(wait_until, lambda: len(server.requests) == 3)
        client.transport.abort()
        exchanges = await asyncio.gather(*pending)
        assert [exchange.error for exchange in exchanges] == ["timeout"] * 4
        assert [exchange.sent_ns is None for exchange in exchanges] == [False, False, False, True]
        server.released.set()
        assert (await client.call()).error is None
        assert client.pool.outstanding_count == 0

    with hanging_server() as server:
        run_grpc_client(Endpoint((server.url,), max_connections=3), make_calls)


def test_shed_calls_fail_with_local_limit_and_queued_call_is_sent(run_grpc_client: RunGrpcClient) -> None:
    async def make_calls(client: GrpcClient) -> None:
        pending = [client.submit() for _ in range(4)]
        await asyncio.to_thread(wait_until, lambda: len(server.requests) == 3)
        client.pool.shed()
        server.released.set()
        exchanges = await asyncio.gather(*pending)
        assert [exchange.error for exchange in exchanges] == ["local-limit"] * 3 + [None]
        assert "exceed 512 MiB in total" in str(exchanges[0].detail)
        assert client.pool.outstanding_count == 0

    with hanging_server() as server:
        run_grpc_client(Endpoint((server.url,), max_connections=3), make_calls)


def test_grpc_connection_is_shared_by_100_calls(run_grpc_client: RunGrpcClient) -> None:
    async def make_calls(client: GrpcClient) -> None:
        pending = [client.submit() for _ in range(130)]
        server.released.set()
        assert {exchange.error for exchange in await asyncio.gather(*pending)} == {None}
        assert client.transport.opened_count == 2

    with hanging_server() as server:
        run_grpc_client(Endpoint((server.url,)), make_calls)


def test_headers_become_metadata_and_can_be_renewed(run_grpc_client: RunGrpcClient) -> None:
    async def make_calls(client: GrpcClient) -> None:
        await client.call()
        client.pool.set_headers(endpoint(("Authorization", "Bearer two")))
        await client.call()

    def endpoint(*headers: tuple[str, str]) -> Endpoint:
        return Endpoint((server.url,), headers=(*headers, ("Content-Type", "x"), ("X-Bin", "1"), ("k-bin", "2")))

    with OpenInference() as server:
        run_grpc_client(endpoint(("Authorization", "Bearer one")), make_calls)
    first, second = (metadata for _, metadata in server.received_metadata)
    assert (first["authorization"], second["authorization"]) == ("Bearer one", "Bearer two")
    assert (first["x-bin"], first["k-bin"]) == (b"1", b"2")
    assert str(first["user-agent"]).startswith("sizewise")
    assert "content-type" not in first


def test_replicas_share_calls_and_headers(run_grpc_client: RunGrpcClient) -> None:
    async def make_calls(client: GrpcClient) -> None:
        assert Counter([(await client.call()).target for _ in range(6)]) == {0: 3, 1: 3}
        assert isinstance(client.transport, GrpcReplicas)
        client.transport.set_headers(Endpoint((first_server.url, second_server.url), headers=(("X-Key", "new"),)))
        await asyncio.gather(client.call(), client.call())
        assert client.transport.opened_count == 2

    with OpenInference() as first_server, OpenInference() as second_server:
        run_grpc_client(Endpoint((first_server.url, second_server.url)), make_calls)
    for server in (first_server, second_server):
        assert server.received_metadata[-1][1]["x-key"] == "new"


def test_unresolvable_host_raises_resolve_error(run_grpc_client: RunGrpcClient) -> None:
    async def make_calls(client: GrpcClient) -> None:
        await client.call()

    with pytest.raises(ResolveError, match=r"nowhere\.invalid"):
        run_grpc_client(Endpoint(("grpc://nowhere.invalid:1",)), make_calls)


def test_closed_transport_leaves_no_threads(run_grpc_client: RunGrpcClient) -> None:
    async def make_calls(client: GrpcClient) -> None:
        await asyncio.gather(*(client.call() for _ in range(20)))

    def list_remaining_threads() -> list[threading.Thread]:
        """Exclude the threads of the server's own pool."""
        new = set(threading.enumerate()) - threads_before
        return [thread for thread in new if not thread.name.startswith("ThreadPoolExecutor")]

    with OpenInference() as server:
        threads_before = set(threading.enumerate())
        run_grpc_client(Endpoint((server.url,)), make_calls)
        wait_until(lambda: not list_remaining_threads())
