from loadgen.transport.address import Address, address_of
from loadgen.transport.connection import rewrite_for
from loadgen.transport.proxy import Proxy, proxy_of

ONE, OTHER, SECURE = address_of("http://one:1/p"), address_of("http://other/p"), address_of("https://other/p")
PROXY = proxy_of("http://me:secret@proxy:3128")
REQUEST = b"POST /p?q=1 HTTP/1.1\r\nHost: one:1\r\nX-A: b\r\nContent-Length: 17\r\n\r\n\r\nHost: one:1\r\n12"


def rewritten(request: bytes, address: Address, proxy: Proxy | None = None) -> bytes:
    rewrite = rewrite_for(address, ONE, proxy)
    assert rewrite is not None
    return rewrite(request)


def test_what_needs_no_change_is_not_touched() -> None:
    assert rewrite_for(ONE, ONE, None) is None
    assert rewrite_for(SECURE, SECURE, PROXY) is None


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
