import asyncio
import datetime
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from loadgen.records import Endpoint, Timeouts, Tls
from loadgen.reference.scripted import Reply, Script, ScriptedServer
from loadgen.transport.address import address_of
from loadgen.transport.exchange import Exchange
from loadgen.transport.pool import ConnectionPool, ResolveError

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


class Asker:
    """A pool on a running loop; `ask` ends with the exchange done, however it ended."""

    def __init__(self, pool: ConnectionPool) -> None:
        self.pool = pool

    def submit(self, request: bytes = GET, is_head: bool = False) -> asyncio.Future[Exchange]:
        done: asyncio.Future[Exchange] = asyncio.get_running_loop().create_future()
        self.pool.submit(Exchange(0, 0, request, done.set_result, is_head))
        return done

    async def ask(self, request: bytes = GET, is_head: bool = False) -> Exchange:
        return await asyncio.wait_for(self.submit(request, is_head), 10)


Talk = Callable[[Asker], Awaitable[None]]
Converse = Callable[[Endpoint, Talk], None]


async def _converse(endpoint: Endpoint, talk: Talk) -> None:
    pool = ConnectionPool(asyncio.get_running_loop(), address_of(endpoint.url), endpoint)
    try:
        await pool.resolve()
        await talk(Asker(pool))
    finally:
        pool.close()
        await asyncio.sleep(0)


@pytest.fixture(params=["uvloop", "asyncio"])
def converse(request: pytest.FixtureRequest) -> Converse:
    """Runs a test's talk with the pool of an endpoint, on each kind of loop."""

    def run(endpoint: Endpoint, talk: Talk) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_converse(endpoint, talk))

    return run


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("manner", ["whole", "chunked", "until-close", "close-after", "interim", "slow-head"])
def test_every_way_to_frame_a_body_is_read(converse: Converse, manner: str) -> None:
    reply = Reply(status=201, body=b'{"a": 1}', headers=(("X-Kept", "yes"),), manner=manner)

    async def talk(asker: Asker) -> None:
        for _ in range(2):
            done = await asker.ask()
            assert (done.error, done.status, done.body) == (None, 201, b'{"a": 1}')
            assert (b"X-Kept", b"yes") in done.headers
            assert done.sent_ns <= done.first_byte_ns <= done.end_ns
            assert done.bytes_received > len(done.body)

    with ScriptedServer(Script(reply)) as server:
        converse(Endpoint(server.url), talk)
        assert server.connections == (2 if "close" in manner else 1)


@pytest.mark.parametrize(
    ("manner", "error"),
    [("drop", "send"), ("cut-body", "truncated"), ("garbage", "bad-payload"), ("hang", "timeout")],
)
def test_each_fault_has_its_class_and_is_not_sent_again(converse: Converse, manner: str, error: str) -> None:
    async def talk(asker: Asker) -> None:
        assert (await asker.ask()).error == error

    with ScriptedServer(Script(Reply(manner=manner))) as server:
        converse(Endpoint(server.url, timeouts=Timeouts(idle_s=0.3)), talk)
        assert len(server.requests) == 1


@pytest.mark.parametrize("timeouts", [Timeouts(idle_s=0.4), Timeouts(total_s=0.4)])
def test_a_hang_ends_within_half_a_second_of_its_deadline(converse: Converse, timeouts: Timeouts) -> None:
    async def talk(asker: Asker) -> None:
        start_s = perf_counter()
        assert (await asker.ask()).error == "timeout"
        assert 0.4 <= perf_counter() - start_s < 0.9

    with ScriptedServer(Script(Reply(manner="hang"))) as server:
        converse(Endpoint(server.url, timeouts=timeouts), talk)


def test_bytes_that_keep_coming_hold_off_the_idle_deadline_only(converse: Converse) -> None:
    slow = Reply(body=b"x" * 300, manner="slow-head")

    async def talk(asker: Asker) -> None:
        assert (await asker.ask()).error is None

    async def talk_too_long(asker: Asker) -> None:
        done = await asker.ask()
        assert (done.error, done.status) == ("timeout", 200)

    with ScriptedServer(Script(slow)) as server:
        converse(Endpoint(server.url, timeouts=Timeouts(idle_s=0.2)), talk)
        converse(Endpoint(server.url, timeouts=Timeouts(total_s=0.2)), talk_too_long)


def test_a_closed_port_is_a_failed_connection(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        done = await asker.ask()
        assert (done.error, done.status, done.first_byte_ns) == ("connect", None, None)
        assert done.sent_ns == done.asked_ns
        assert asker.pool.sent == 1

    converse(Endpoint(f"http://127.0.0.1:{closed_port()}"), talk)


def test_a_connection_that_is_not_taken_in_time_is_a_failed_connection(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        done = await asker.ask()
        assert (done.error, done.detail) == ("connect", "no connection within 0.2 s")

    with socket.socket() as deaf:  # a full backlog that nobody accepts from
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        crowd = [socket.socket() for _ in range(3)]
        for each in crowd:
            each.setblocking(False)
            each.connect_ex(address)
        converse(Endpoint(f"http://127.0.0.1:{address[1]}", timeouts=Timeouts(connect_s=0.2)), talk)
        for each in crowd:
            each.close()


def test_a_name_without_an_address_is_dns() -> None:
    async def resolve() -> None:
        endpoint = Endpoint("http://nowhere.invalid")
        pool = ConnectionPool(asyncio.get_running_loop(), address_of(endpoint.url), endpoint)
        try:
            await pool.resolve()
        finally:
            pool.close()

    with pytest.raises(ResolveError, match=r"nowhere\.invalid"):
        asyncio.run(resolve())


def test_localhost_is_reached_though_only_one_of_its_addresses_listens(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        assert (await asker.ask()).error is None

    with ScriptedServer(Script()) as server:
        converse(Endpoint(f"http://localhost:{server.port}"), talk)


def test_connections_are_kept_and_the_last_one_used_goes_first(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        first = await asker.ask()
        both = await asyncio.gather(asker.submit(), asker.submit())
        later = [await asker.ask() for _ in range(20)]
        assert not first.reused
        assert sorted(done.reused for done in both) == [False, True]
        assert all(done.reused for done in later)
        assert asker.pool.opened == 2

    with ScriptedServer(Script(delay_s=0.02)) as server:
        converse(Endpoint(server.url), talk)


def test_beyond_the_most_connections_arrivals_wait_their_turn(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        done = await asyncio.gather(*(asker.submit(b"GET /%d HTTP/1.1\r\n\r\n" % n) for n in range(6)))
        assert asker.pool.opened == 2
        starts = [each.sent_ns for each in done]
        assert starts == sorted(starts)
        assert starts[5] - starts[0] >= 2 * 0.05e9 * 0.9
        assert all(each.end_ns - each.sent_ns < 0.09e9 for each in done)

    with ScriptedServer(Script(delay_s=0.05)) as server:
        converse(Endpoint(server.url, max_connections=2), talk)
        assert [request.split()[1] for request in server.requests] == [b"/%d" % n for n in range(6)]


def test_a_kept_connection_closed_by_the_server_is_no_error(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        await asker.ask()
        server.close_connections()
        while asker.pool._idle:
            await asyncio.sleep(0)
        done = await asker.ask()
        assert (done.error, done.reused) == (None, False)

    with ScriptedServer(Script()) as server:
        converse(Endpoint(server.url), talk)


def test_an_answer_too_large_is_bad_payload(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        assert (await asker.ask()).error == "bad-payload"

    with ScriptedServer(Script(Reply(body=b"x" * (64 * 2**20 + 1)))) as server:
        converse(Endpoint(server.url), talk)


def test_a_head_request_has_no_body_and_keeps_its_connection(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        for _ in range(2):
            done = await asker.ask(b"HEAD / HTTP/1.1\r\n\r\n", is_head=True)
            assert (done.error, done.status, done.body) == (None, 200, b"")
        assert asker.pool.opened == 1

    with ScriptedServer(Script()) as server:
        converse(Endpoint(server.url), talk)


def test_cut_ends_what_is_in_flight_and_what_waits(converse: Converse) -> None:
    async def talk(asker: Asker) -> None:
        sent, waiting = asker.submit(), asker.submit()
        while not server.requests:
            await asyncio.sleep(0)
        asker.pool.cut()
        assert (sent.result().error, waiting.result().error) == ("timeout", "timeout")
        assert sent.result().sent_ns is not None
        assert waiting.result().sent_ns is None

    with ScriptedServer(Script(Reply(manner="hang"))) as server:
        converse(Endpoint(server.url, max_connections=1), talk)


def test_tls_is_verified_unless_told_not_to_or_given_the_authority(converse: Converse, tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    seen: list[str | None] = []

    async def talk(asker: Asker) -> None:
        seen.append((await asker.ask()).error)

    with ScriptedServer(Script(), tls=context) as server:
        for tls in (Tls(), Tls(verify=False), Tls(ca_file=str(certificate))):
            converse(Endpoint(server.url, tls=tls), talk)
    assert seen == ["tls", None, None]


def self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
