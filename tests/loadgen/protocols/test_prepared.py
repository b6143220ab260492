import pytest

from loadgen.protocols.prepared import ResponseCheck, check_response, classify_status, describe_outcome
from loadgen.transport.exchange import Exchange


def make_exchange(status: int | None, error: str | None = None) -> Exchange:
    return Exchange(0, 1, 0, b"", lambda _: None, status=status, error=error, body=b"b")


def check(exchange: Exchange) -> ResponseCheck:
    return ResponseCheck(correct_rows=exchange.request_index + (exchange.status or 0) + len(exchange.body))


def raise_in_check(_: Exchange) -> ResponseCheck:
    raise ZeroDivisionError


def test_response_is_checked_only_after_successful_exchange() -> None:
    assert check_response(check, make_exchange(200)) == ResponseCheck(None, 202)
    assert check_response(check, make_exchange(200, "truncated")) == ResponseCheck("truncated")
    assert check_response(check, make_exchange(None, "send")) == ResponseCheck("send")


def test_exception_in_response_check_is_bad_payload() -> None:
    assert check_response(raise_in_check, make_exchange(200)) == ResponseCheck("bad-payload")


def test_status_maps_to_error_class() -> None:
    errors = {status: classify_status(status) for status in (200, 204, 301, 404, 429, 500, 503)}
    assert errors == {
        200: None, 204: None, 301: "bad-payload", 404: "http-4xx", 429: "http-4xx", 500: "http-5xx", 503: "http-5xx",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        (b"https://user:secret@host/new?token=secret", "(to https://host/new)"),
        (b"/new/", "(to /new/)"),
        (b"", "redirects are not followed"),
        (b"\x1b[31m", "redirects are not followed"),
        (b"http://[::1", "redirects are not followed"),
    ],
)
def test_redirect_is_described_with_destination_without_secrets(location: bytes, shown: str) -> None:
    exchange = make_exchange(308)
    exchange.headers = [(b"Location", location)]
    text = describe_outcome("GET /", exchange, "bad-payload")
    assert text.endswith(shown) or shown in text
    assert "secret" not in text
    assert "\x1b" not in text


def test_invalid_output_is_described_once() -> None:
    exchange = make_exchange(200)
    exchange.detail = "no body"
    assert describe_outcome("GET /", exchange, "bad-output") == "GET /, status 200 (OK), no body"
    exchange.detail = None
    assert len(describe_outcome("GET /", exchange, "bad-output").split(", ")) == 3
