import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter, perf_counter_ns

import grpc
import pytest

from loadgen.protocols.open_inference_pb2 import ModelInferRequest, ModelInferResponse, ModelStreamInferResponse
from loadgen.records import Endpoint, Timeouts, Tls
from loadgen.transport import grpc_channel, grpc_lines
from loadgen.transport.address import EndpointError
from loadgen.transport.exchange import Exchange, ResolveError, StreamReader, Transport
from loadgen.transport.grpc import new_grpc_transport
from tests.fakes.asker import LOOPS, KeptPieces
from tests.fakes.certificates import self_signed
from tests.fakes.http_proxy import HttpProxy
from tests.fakes.open_inference import OpenInference, floats
from tests.fakes.program import wait_until

INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
METADATA = "/inference.GRPCInferenceService/ModelMetadata"
REQUEST = ModelInferRequest(model_name="m").SerializeToString()

Talk = Callable[["Caller"], Awaitable[None]]
Call = Callable[[Endpoint, Talk], None]


class Caller:
    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def submit(self, reader: StreamReader | None = None, method: str = "") -> asyncio.Future[Exchange]:
        done: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
        self.transport.submit(Exchange(0, 0, 0, REQUEST, done.set_result, False, reader, method=method))
        return done

    async def ask(self, reader: StreamReader | None = None, method: str = "") -> Exchange:
        return await asyncio.wait_for(self.submit(reader, method), 20)


def call_on(loop_name: str, endpoint: Endpoint, talk: Talk, method: str = INFER) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        transport = new_grpc_transport(loop, endpoint, method, is_streamed=method == STREAM)
        try:
            await transport.resolve()
            await talk(Caller(transport))
        finally:
            transport.close()
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=LOOPS[loop_name]) as runner:
        runner.run(run())


@pytest.fixture(params=[INFER, STREAM], ids=["unary", "stream"])
def method(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=list(LOOPS))
def call(request: pytest.FixtureRequest, method: str) -> Call:
    """Runs a test's talk with an endpoint, on each kind of loop, as either kind of call."""
    return lambda endpoint, talk: call_on(request.param, endpoint, talk, method)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def refusing(code: grpc.StatusCode, secret: str = "") -> OpenInference:
    def refuse(_: object, context: grpc.ServicerContext):
        context.abort(code, secret)

    return OpenInference(answer=refuse, stream=refuse)


def hanging(**settings: object) -> OpenInference:
    server = OpenInference(**settings)
    server.answer = server.hang
    server.stream = lambda request, context: [ModelStreamInferResponse(infer_response=server.hang(request, context))]
    return server


def test_a_message_goes_out_as_it_is_and_the_answer_comes_as_it_is(call: Call, method: str) -> None:
    async def talk(caller: Caller) -> None:
        first, second = await caller.ask(), await caller.ask()
        assert (first.error, first.status, first.first_byte_ns) == (None, 200, None)
        assert first.sent_ns < first.end_ns
        assert first.bytes_received == len(first.body) > 0
        assert (first.reused, second.reused) == (False, True)
        assert (caller.transport.opened, caller.transport.sent) == (1, 2)
        parse = ModelInferResponse if method == INFER else ModelStreamInferResponse
        assert parse.FromString(first.body) == (
            floats(0, 1) if method == INFER else ModelStreamInferResponse(infer_response=floats(0, 1))
        )

    with OpenInference() as server:
        call(Endpoint((server.url,)), talk)
    assert [seen.model_name for seen in server.seen] == ["m", "m"]


def test_another_method_may_be_called_on_the_same_connection(call: Call) -> None:
    async def talk(caller: Caller) -> None:
        assert (await caller.ask(method=METADATA)).body == server.described.SerializeToString()

    with OpenInference() as server:
        call(Endpoint((server.url,)), talk)


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
def test_a_servers_refusal_is_a_status_without_its_words(call: Call, code: str, status: int) -> None:
    async def talk(caller: Caller) -> None:
        done = await caller.ask()
        assert (done.error, done.status, done.detail) == (None, status, f"gRPC {code}")

    with refusing(grpc.StatusCode[code], "canary") as server:
        call(Endpoint((server.url,)), talk)


def test_nothing_listens_there(call: Call) -> None:
    async def talk(caller: Caller) -> None:
        done = await caller.ask()
        assert (done.error, done.status, done.reused) == ("connect", None, False)
        assert "refused" in done.detail
        assert done.sent_ns is not None
        assert (caller.transport.opened, caller.transport.sent) == (0, 1)

    call(Endpoint((f"grpc://127.0.0.1:{closed_port()}",)), talk)


def test_a_server_that_goes_away_before_it_answers(call: Call) -> None:
    async def talk(caller: Caller) -> None:
        asked = caller.submit()
        await asyncio.to_thread(wait_until, lambda: server.seen)
        await asyncio.to_thread(server.stop)
        assert (await asked).error in ("send", None)  # it may still say that it goes

    with hanging() as server:
        call(Endpoint((server.url,)), talk)


def test_a_call_ends_at_its_deadline(call: Call) -> None:
    async def talk(caller: Caller) -> None:
        start_s = perf_counter()
        assert (await caller.ask()).error == "timeout"
        assert 0.3 <= perf_counter() - start_s < 0.8

    with hanging() as server:
        call(Endpoint((server.url,), timeouts=Timeouts(total_s=0.3)), talk)


def test_a_stream_ends_when_it_is_idle_for_too_long() -> None:
    def stall(request: ModelInferRequest, context: grpc.ServicerContext):
        yield ModelStreamInferResponse(infer_response=floats(0, 1))
        server.released.wait(30)

    async def talk(caller: Caller) -> None:
        start_s, reader = perf_counter(), KeptPieces()
        done = await caller.ask(reader)
        assert (done.error, len(reader.pieces)) == ("timeout", 1)
        assert 0.3 <= perf_counter() - start_s < 0.8

    with OpenInference(stream=stall) as server:
        call_on("uvloop", Endpoint((server.url,), timeouts=Timeouts(idle_s=0.3)), talk, STREAM)


def test_each_streamed_message_is_stamped_and_fed_as_it_comes() -> None:
    sent_ns: list[int] = []
    go_on = threading.Semaphore(0)

    def answer(request: ModelInferRequest, context: grpc.ServicerContext):
        for number in range(3):
            assert go_on.acquire(timeout=10)
            sent_ns.append(perf_counter_ns())
            yield ModelStreamInferResponse(infer_response=floats(number))

    class Following(KeptPieces):
        def feed(self, piece: bytes, at_ns: int) -> str | None:
            go_on.release()
            return super().feed(piece, at_ns)

    async def talk(caller: Caller) -> None:
        reader = Following()
        go_on.release()
        done = await caller.ask(reader)
        assert (done.error, done.status, done.body) == (None, 200, b"")
        values = [
            ModelStreamInferResponse.FromString(piece).infer_response.outputs[0].contents.fp32_contents[0]
            for piece in reader.pieces
        ]
        assert values == [0, 1, 2]
        assert done.bytes_received == sum(map(len, reader.pieces))
        for sent, at, after in zip(sent_ns, reader.at_ns, [*sent_ns[1:], done.end_ns], strict=True):
            assert sent < at < after

    with OpenInference(stream=answer) as server:
        call_on("uvloop", Endpoint((server.url,)), talk, STREAM)


def test_a_reader_that_refuses_ends_the_stream() -> None:
    def endless(request: ModelInferRequest, context: grpc.ServicerContext):
        while context.is_active():
            yield ModelStreamInferResponse(infer_response=floats(0, 1))

    async def talk(caller: Caller) -> None:
        done = await caller.ask(KeptPieces(refused=b"m", error="bad-output"))
        assert (done.error, done.status) == ("bad-output", 200)

    with OpenInference(stream=endless) as server:
        call_on("uvloop", Endpoint((server.url,)), talk, STREAM)


def test_a_stream_that_breaks_after_an_answer_is_truncated() -> None:
    def answer_and_hang(request: ModelInferRequest, context: grpc.ServicerContext):
        yield ModelStreamInferResponse(infer_response=floats(0, 1))
        server.released.wait(30)

    async def talk(caller: Caller) -> None:
        reader = KeptPieces()
        asked = caller.submit(reader)
        while not reader.pieces:
            await asyncio.sleep(0)
        await asyncio.to_thread(server.stop)
        done = await asked
        assert done.error == "truncated" or done.status in (499, 503)

    with OpenInference(stream=answer_and_hang) as server:
        call_on("uvloop", Endpoint((server.url,)), talk, STREAM)


@pytest.mark.parametrize("limited", [grpc_channel, grpc_lines])
def test_an_answer_beyond_the_memory_for_it_is_refused(
    method: str, monkeypatch: pytest.MonkeyPatch, limited: object
) -> None:
    monkeypatch.setattr(limited, "MAX_RESPONSE_BYTES", 100)
    large = floats(*[0.0] * 100)
    chunks = [ModelStreamInferResponse(infer_response=floats(0, 1))] * 10
    pieces = [ModelStreamInferResponse(infer_response=large)] if limited is grpc_channel else chunks

    async def talk(caller: Caller) -> None:
        assert (await caller.ask()).error == "bad-payload"

    if method == INFER and limited is grpc_lines:
        return  # a single message is bounded by the channel
    with OpenInference(answer=lambda *_: large, stream=lambda *_: pieces) as server:
        call_on("uvloop", Endpoint((server.url,)), talk, method)


def test_no_more_calls_at_once_than_allowed_and_the_oldest_first(call: Call) -> None:
    async def talk(caller: Caller) -> None:
        asked = [caller.submit() for _ in range(5)]
        await asyncio.to_thread(wait_until, lambda: len(server.seen) == 2)
        assert (caller.transport.sent, caller.transport.outstanding) == (2, 5)
        server.released.set()
        done = await asyncio.gather(*asked)
        assert [each.error for each in done] == [None] * 5
        assert sorted(done, key=lambda each: each.sent_ns) == done

    with hanging() as server:
        call(Endpoint((server.url,), max_connections=2), talk)


def test_cut_ends_what_is_in_flight_and_what_waits(call: Call) -> None:
    async def talk(caller: Caller) -> None:
        asked = [caller.submit() for _ in range(4)]
        await asyncio.to_thread(wait_until, lambda: len(server.seen) == 3)
        caller.transport.cut()
        done = await asyncio.gather(*asked)
        assert [each.error for each in done] == ["timeout"] * 4
        assert [each.sent_ns is None for each in done] == [False, False, False, True]
        server.released.set()
        assert (await caller.ask()).error is None
        assert caller.transport.outstanding == 0

    with hanging() as server:
        call(Endpoint((server.url,), max_connections=3), talk)


def test_a_hundred_calls_share_a_connection(call: Call) -> None:
    async def talk(caller: Caller) -> None:
        asked = [caller.submit() for _ in range(130)]
        server.released.set()
        assert {each.error for each in await asyncio.gather(*asked)} == {None}
        assert caller.transport.opened == 2

    with hanging() as server:
        call(Endpoint((server.url,)), talk)


def test_headers_become_metadata_and_may_be_renewed(call: Call) -> None:
    async def talk(caller: Caller) -> None:
        await caller.ask()
        caller.transport.set_headers(endpoint(("Authorization", "Bearer two")))
        await caller.ask()

    def endpoint(*headers: tuple[str, str]) -> Endpoint:
        return Endpoint((server.url,), headers=(*headers, ("Content-Type", "x"), ("X-Bin", "1"), ("k-bin", "2")))

    with OpenInference() as server:
        call(endpoint(("Authorization", "Bearer one")), talk)
    first, second = (seen for _, seen in server.metadata_seen)
    assert (first["authorization"], second["authorization"]) == ("Bearer one", "Bearer two")
    assert (first["x-bin"], first["k-bin"]) == (b"1", b"2")
    assert first["user-agent"].startswith("sizewise")
    assert "content-type" not in first


@pytest.mark.parametrize("header", [("grpc-timeout", "1S"), ("a b", "x"), ("a", "é"), ("a", "x\ny")])
def test_a_header_that_cannot_be_metadata_is_refused(header: tuple[str, str]) -> None:
    with pytest.raises(EndpointError, match="metadata"):
        call_on("asyncio", Endpoint(("grpc://h:1",), headers=(header,)), nothing)


async def nothing(_: Caller) -> None:
    raise AssertionError("not reached")


def test_replicas_share_the_calls_and_the_headers(call: Call) -> None:
    async def talk(caller: Caller) -> None:
        assert Counter([(await caller.ask()).target for _ in range(6)]) == {0: 3, 1: 3}
        caller.transport.set_headers(Endpoint((one.url, other.url), headers=(("X-Key", "new"),)))
        await asyncio.gather(caller.ask(), caller.ask())
        assert caller.transport.opened == 2

    with OpenInference() as one, OpenInference() as other:
        call(Endpoint((one.url, other.url)), talk)
    for server in (one, other):
        assert server.metadata_seen[-1][1]["x-key"] == "new"


def test_a_unix_socket(call: Call, tmp_path: Path) -> None:
    async def talk(caller: Caller) -> None:
        assert (await caller.ask()).error is None

    with OpenInference(unix_socket=str(tmp_path / "s")) as server:
        call(Endpoint(("grpc://model",), unix_socket=server.unix_socket), talk)


def credentials(certificate: Path, clients: Path | None = None) -> grpc.ServerCredentials:
    pem = certificate.read_bytes()
    roots = None if clients is None else clients.read_bytes()
    return grpc.ssl_server_credentials([(pem, pem)], roots, require_client_auth=clients is not None)


def test_tls_is_verified_with_the_authority_that_is_given(call: Call, tmp_path: Path) -> None:
    certificate, other = self_signed(tmp_path / "server.pem"), self_signed(tmp_path / "other.pem")
    seen: list[str | None] = []

    async def talk(caller: Caller) -> None:
        seen.append((await caller.ask()).error)

    with OpenInference(credentials=credentials(certificate)) as server:
        for tls in (Tls(), Tls(ca_file=str(other)), Tls(ca_file=str(certificate))):
            call(Endpoint((server.url,), tls=tls), talk)
    assert seen == ["tls", "tls", None]


def test_a_client_shows_its_certificate(call: Call, tmp_path: Path) -> None:
    certificate, client = self_signed(tmp_path / "server.pem"), self_signed(tmp_path / "client.pem")
    seen: list[str | None] = []

    async def talk(caller: Caller) -> None:
        seen.append((await caller.ask()).error)

    with OpenInference(credentials=credentials(certificate, client)) as server:
        for cert_file in (str(client), None):
            call(Endpoint((server.url,), tls=Tls(ca_file=str(certificate), cert_file=cert_file)), talk)
    assert seen[0] is None
    assert seen[1] in ("tls", "connect", "send")


@pytest.mark.parametrize(
    ("tls", "sentence"),
    [(Tls(verify=False), "always verifies"), (Tls(ca_file="/nowhere.pem"), "trusted certificates")],
)
def test_tls_that_cannot_be_had_is_refused(tls: Tls, sentence: str) -> None:
    with pytest.raises(EndpointError, match=sentence):
        call_on("asyncio", Endpoint(("grpcs://h:1",), tls=tls), nothing)


def test_a_proxy_is_asked_for_a_tunnel(call: Call) -> None:
    async def talk(caller: Caller) -> None:
        assert (await caller.ask()).error is None

    with OpenInference() as server, HttpProxy("me:secret") as proxy:
        call(Endpoint((server.url,), proxy=f"http://me:secret@127.0.0.1:{proxy.port}"), talk)
        assert proxy.heads[0].startswith(f"CONNECT 127.0.0.1:{server.port}".encode())


def test_the_environments_proxy_is_not_looked_at(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.delenv("no_proxy", raising=False)

    async def talk(caller: Caller) -> None:
        assert (await caller.ask()).error is None

    with OpenInference() as server:
        call(Endpoint((server.url,)), talk)


def test_a_host_without_an_address(call: Call) -> None:
    with pytest.raises(ResolveError, match=r"nowhere\.invalid"):
        call(Endpoint(("grpc://nowhere.invalid:1",)), nothing)


def test_no_thread_is_left_behind(call: Call) -> None:
    async def talk(caller: Caller) -> None:
        await asyncio.gather(*(caller.ask() for _ in range(20)))

    def left() -> list[threading.Thread]:
        """But for those of the server's own pool."""
        new = set(threading.enumerate()) - before
        return [thread for thread in new if not thread.name.startswith("ThreadPoolExecutor")]

    with OpenInference() as server:
        before = set(threading.enumerate())
        call(Endpoint((server.url,)), talk)
        wait_until(lambda: not left(), within_s=5)
