import errno
import os
import socket
import ssl

import pytest
import requests
import urllib3

from loadgen.locustfile.requests import RequestLog, classify_error, describe_failure

POOL, CONNECTION = urllib3.HTTPConnectionPool("h"), urllib3.connection.HTTPConnection("h")


class CatchResponseError(Exception):
    """As Locust's own, which cannot be imported without patching this process."""


def wrapped(inner: Exception) -> Exception:
    """As requests and geventhttpclient tell what went wrong below them."""
    try:
        raise requests.exceptions.ConnectionError("failed") from inner
    except requests.exceptions.ConnectionError as error:
        return error


@pytest.mark.parametrize(
    ("exception", "status", "error"),
    [
        (None, 200, None),
        (None, 404, None),  # the test says it is a success
        (CatchResponseError("no"), 200, "bad-output"),
        (CatchResponseError("no"), 404, "http-4xx"),
        (requests.exceptions.HTTPError("no"), 503, "http-5xx"),
        (ValueError("anything"), None, "bad-output"),
        ("a text", None, "bad-output"),
        (requests.exceptions.ConnectTimeout(), None, "connect"),
        (requests.exceptions.ReadTimeout(), None, "timeout"),
        (requests.exceptions.SSLError(), None, "tls"),
        (requests.exceptions.ChunkedEncodingError(), 200, "truncated"),
        (wrapped(ConnectionRefusedError()), None, "connect"),
        (wrapped(OSError(errno.EMFILE, "Too many open files")), None, "local-limit"),
        (wrapped(socket.gaierror()), None, "dns"),
        (wrapped(ssl.SSLCertVerificationError()), None, "tls"),
        (wrapped(ConnectionResetError()), None, "send"),
        (wrapped(TimeoutError()), None, "timeout"),
        (
            urllib3.exceptions.MaxRetryError(POOL, "/", urllib3.exceptions.NewConnectionError(CONNECTION, "no")),
            None,
            "connect",
        ),
        (urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError()), None, "send"),
    ],
)
def test_what_a_client_raised_has_its_class(exception: object, status: int | None, error: str | None) -> None:
    assert classify_error(exception, status) == error


def test_exceptions_that_go_round_in_a_circle_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__context__ = other, one
    assert classify_error(one, None) == "bad-output"


@pytest.mark.parametrize(
    ("exception", "status", "text"),
    [
        (requests.exceptions.HTTPError("503 for http://h/?key=secret"), 503,
         "status 503 (Service Unavailable), HTTPError"),
        (wrapped(ConnectionRefusedError(111, "secret")), None, f"ConnectionRefusedError: {os.strerror(111)}"),
        (wrapped(socket.gaierror(-2, "secret")), None, "gaierror"),
        (CatchResponseError("the answer was: secret"), 200, "status 200 (OK), CatchResponseError"),
        ("secret", 200, "status 200 (OK), the test marked the request as a failure"),
        ("secret", 404, "status 404 (Not Found)"),
    ],
)  # fmt: skip
def test_what_failed_is_reported_without_the_words_of_the_exception(
    exception: object, status: int | None, text: str
) -> None:
    assert describe_failure(exception, status) == text


def test_whatever_a_test_calls_its_requests_makes_a_row() -> None:
    log = RequestLog()
    log.begin_stage(3)
    log.on_request("GET", "/\ud800" + "x" * 1_000, 1.0, "unknown")
    rows = log.pop_batch()
    assert rows is not None
    (row,) = rows.to_pylist()
    assert row["name"].startswith("GET /?x")
    assert (len(row["name"]), row["stage"], row["bytes_received"], row["worker"]) == (300, 3, 0, 0)


def test_the_first_failure_of_each_class_is_kept_for_its_stage() -> None:
    log = RequestLog()
    log.begin_stage(3)
    for exception in (None, TimeoutError("one"), ValueError("secret"), TimeoutError("another")):
        log.on_request("GET", "/", 1.0, 0, exception)
    assert [(one.error, one.text) for one in log.first_errors] == [("timeout", "TimeoutError"),
                                                                   ("bad-output", "ValueError")]  # fmt: skip
    log.begin_stage(4)
    assert log.first_errors == ()
