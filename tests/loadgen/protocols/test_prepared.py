import pytest

from loadgen.protocols.prepared import ResponseCheck, check_response, classify_status, describe_outcome
from loadgen.transport.exchange import Exchange


def done(status: int | None, error: str | None = None) -> Exchange:
    return Exchange(0, 1, 0, b"", lambda _: None, status=status, error=error, body=b"b")


def judge(exchange: Exchange) -> ResponseCheck:
    return ResponseCheck(correct_rows=exchange.request_index + (exchange.status or 0) + len(exchange.body))


def broken(_: Exchange) -> ResponseCheck:
    raise ZeroDivisionError


def test_an_answer_is_evaluated_and_a_lost_one_is_not() -> None:
    assert check_response(judge, done(200)) == ResponseCheck(None, 202)
    assert check_response(judge, done(200, "truncated")) == ResponseCheck("truncated")
    assert check_response(judge, done(None, "send")) == ResponseCheck("send")


def test_an_answer_that_breaks_the_evaluate_has_a_judgement() -> None:
    assert check_response(broken, done(200)) == ResponseCheck("bad-payload")


def test_only_2xx_is_as_promised() -> None:
    found = {status: classify_status(status) for status in (200, 204, 301, 404, 429, 500, 503)}
    assert found == {
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
def test_a_redirect_is_reported_with_its_destination_without_secrets(location: bytes, shown: str) -> None:
    exchange = done(308)
    exchange.headers = [(b"Location", location)]
    text = describe_outcome("GET /", exchange, "bad-payload")
    assert text.endswith(shown) or shown in text
    assert "secret" not in text
    assert "\x1b" not in text


def test_a_wrong_output_is_described_once() -> None:
    exchange = done(200)
    exchange.detail = "no body"
    assert describe_outcome("GET /", exchange, "bad-output") == "GET /, status 200 (OK), no body"
    exchange.detail = None
    assert len(describe_outcome("GET /", exchange, "bad-output").split(", ")) == 3
