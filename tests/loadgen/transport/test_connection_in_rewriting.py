from loadgen.transport.address import Address, parse_url
from loadgen.transport.connection import build_rewrite
from loadgen.transport.proxy import Proxy, parse_proxy_url

ONE, OTHER, SECURE = parse_url("http://one:1/p"), parse_url("http://other/p"), parse_url("https://other/p")
PROXY = parse_proxy_url("http://me:secret@proxy:3128")
REQUEST = b"POST /p?q=1 HTTP/1.1\r\nHost: one:1\r\nX-A: b\r\nContent-Length: 17\r\n\r\n\r\nHost: one:1\r\n12"


def rewritten(request: bytes, address: Address, proxy: Proxy | None = None) -> bytes:
    rewrite = build_rewrite(address, ONE, proxy)
    assert rewrite is not None
    return rewrite(request)


def test_what_needs_no_change_is_not_touched() -> None:
    assert build_rewrite(ONE, ONE, None) is None
    assert build_rewrite(SECURE, SECURE, PROXY) is None


def test_a_replica_gets_its_own_host_header_and_the_same_body() -> None:
    assert rewritten(REQUEST, OTHER) == REQUEST.replace(b"Host: one:1", b"Host: other", 1)


def test_a_host_header_of_the_users_stays() -> None:
    request = REQUEST.replace(b"Host: one:1", b"HOST: mine", 1)
    assert rewritten(request, OTHER) == request


def test_a_proxy_gets_the_whole_url_and_its_credentials() -> None:
    lines = rewritten(REQUEST, OTHER, PROXY).split(b"\r\n")
    assert lines[:4] == [
        b"POST http://other/p?q=1 HTTP/1.1",
        b"Proxy-Authorization: Basic bWU6c2VjcmV0",
        b"Host: other",
        b"X-A: b",
    ]
    assert lines[4:] == REQUEST.split(b"\r\n")[3:]
