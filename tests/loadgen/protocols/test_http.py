import pytest

from loadgen.protocols import http
from loadgen.protocols.built import WorkloadError
from loadgen.protocols.http import build_http, request_bytes
from loadgen.records import Endpoint, HttpWorkload
from loadgen.transport.address import address_of

URL = "http://h:1/a?b=c"
ADDRESS = address_of(URL)


def test_a_request_without_a_body() -> None:
    built = build_http(HttpWorkload(), Endpoint(URL, headers=(("X-A", "1"),)), ADDRESS)
    assert built.requests == [b"GET /a?b=c HTTP/1.1\r\nHost: h:1\r\nUser-Agent: sizewise\r\nX-A: 1\r\n\r\n"]
    assert (built.is_head, built.shown) == (False, "GET http://h:1/a")


def test_each_body_is_one_request_with_its_length_and_type() -> None:
    workload = HttpWorkload(method="post", path="/p", bodies=(b"one", b"three"), content_type="text/plain")
    first, second = build_http(workload, Endpoint(URL), ADDRESS).requests
    assert first.startswith(b"POST /p HTTP/1.1\r\n")
    assert b"\r\nContent-Type: text/plain\r\n" in first
    assert first.endswith(b"\r\nContent-Length: 3\r\n\r\none")
    assert second.endswith(b"\r\nContent-Length: 5\r\n\r\nthree")


def test_a_post_without_a_body_says_so() -> None:
    assert b"\r\nContent-Length: 0\r\n\r\n" in build_http(HttpWorkload("POST"), Endpoint(URL), ADDRESS).requests[0]


def test_the_users_headers_replace_ours_but_not_the_length() -> None:
    headers = [("user-agent", "mine"), ("HOST", "other"), ("content-length", "9")]
    request = request_bytes("POST", "/", ADDRESS, headers, b"x")
    assert request == b"POST / HTTP/1.1\r\nHOST: other\r\nuser-agent: mine\r\nContent-Length: 1\r\n\r\nx"


@pytest.mark.parametrize(
    ("method", "path", "header"),
    [
        ("GET", "/a b", ("A", "b")),
        ("GET\r\n", "/", ("A", "b")),
        ("GET", "/", ("A", "b\r\nInjected: yes")),
        ("GET", "/", ("A:", "b")),
        ("GET", "/", ("A", "☃")),
    ],
)
def test_what_would_break_out_of_its_line_is_refused(method: str, path: str, header: tuple[str, str]) -> None:
    with pytest.raises(WorkloadError) as refused:
        request_bytes(method, path, ADDRESS, [header], None)
    assert "Injected" not in str(refused.value)


def test_bodies_beyond_the_memory_for_them_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BUILT_BYTES", 300)
    built = build_http(HttpWorkload("POST", bodies=(b"x" * 150,) * 5), Endpoint(URL), ADDRESS)
    assert len(built.requests) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [(200, None), (204, None), (301, "bad-payload"), (404, "http-4xx"), (429, "http-4xx"), (500, "http-5xx")],
)
def test_the_status_is_judged(status: int, error: str | None) -> None:
    assert build_http(HttpWorkload(), Endpoint(URL), ADDRESS).judge(0, status, [], b"") == (error, None)
