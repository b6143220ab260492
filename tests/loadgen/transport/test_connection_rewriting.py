from loadgen.transport.address import Address, parse_url
from loadgen.transport.connection import build_rewrite
from loadgen.transport.proxy import Proxy, parse_proxy_url

ONE, OTHER, SECURE = parse_url("http://one:1/p"), parse_url("http://other/p"), parse_url("https://other/p")
PROXY = parse_proxy_url("http://me:secret@proxy:3128")
REQUEST = b"POST /p?q=1 HTTP/1.1\r\nHost: one:1\r\nX-A: b\r\nContent-Length: 17\r\n\r\n\r\nHost: one:1\r\n12"


def rewrite_request(request: bytes, address: Address, proxy: Proxy | None = None) -> bytes:
    rewrite = build_rewrite(address, ONE, proxy)
    assert rewrite is not None
    return rewrite(request)


def test_request_is_not_rewritten_for_same_address_and_for_tls_proxy() -> None:
    assert build_rewrite(ONE, ONE, None) is None
    assert build_rewrite(SECURE, SECURE, PROXY) is None


def test_request_to_replica_gets_its_host_header_and_same_body() -> None:
    assert rewrite_request(REQUEST, OTHER) == REQUEST.replace(b"Host: one:1", b"Host: other", 1)


def test_user_host_header_is_unchanged() -> None:
    request = REQUEST.replace(b"Host: one:1", b"HOST: mine", 1)
    assert rewrite_request(request, OTHER) == request


def test_request_to_proxy_has_absolute_url_and_credentials() -> None:
    lines = rewrite_request(REQUEST, OTHER, PROXY).split(b"\r\n")
    assert lines[:4] == [
        b"POST http://other/p?q=1 HTTP/1.1",
        b"Proxy-Authorization: Basic bWU6c2VjcmV0",
        b"Host: other",
        b"X-A: b",
    ]
    assert lines[4:] == REQUEST.split(b"\r\n")[3:]
