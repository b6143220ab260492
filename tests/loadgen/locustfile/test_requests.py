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
    """Replaces Locust's class, which cannot be imported without patching this process."""


def wrap_error(inner: Exception) -> Exception:
    """Return the ConnectionError that requests and geventhttpclient raise for a lower-level error."""
    try:
        raise requests.exceptions.ConnectionError("failed") from inner
    except requests.exceptions.ConnectionError as error:
        return error


@pytest.mark.parametrize(
    ("exception", "status", "error"),
    [
        (None, 200, None),
        (None, 404, None),  # the Locust test marked it as a success
        (CatchResponseError("no"), 200, "bad-output"),
        (CatchResponseError("no"), 404, "http-4xx"),
        (requests.exceptions.HTTPError("no"), 503, "http-5xx"),
        (ValueError("anything"), None, "bad-output"),
        ("a text", None, "bad-output"),
        (requests.exceptions.ConnectTimeout(), None, "connect"),
        (requests.exceptions.ReadTimeout(), None, "timeout"),
        (requests.exceptions.SSLError(), None, "tls"),
        (requests.exceptions.ChunkedEncodingError(), 200, "truncated"),
        (wrap_error(ConnectionRefusedError()), None, "connect"),
        (wrap_error(OSError(errno.EMFILE, "Too many open files")), None, "local-limit"),
        (wrap_error(socket.gaierror()), None, "dns"),
        (wrap_error(ssl.SSLCertVerificationError()), None, "tls"),
        (wrap_error(ConnectionResetError()), None, "send"),
        (wrap_error(TimeoutError()), None, "timeout"),
        (
            urllib3.exceptions.MaxRetryError(POOL, "/", urllib3.exceptions.NewConnectionError(CONNECTION, "no")),
            None,
            "connect",
        ),
        (urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError()), None, "send"),
    ],
)
def test_client_exception_maps_to_error_class(exception: object, status: int | None, error: str | None) -> None:
    assert classify_error(exception, status) == error


def test_circular_exception_chain_is_classified() -> None:
    first, second = ValueError("one"), ValueError("other")
    first.__context__, second.__context__ = second, first
    assert classify_error(first, None) == "bad-output"


@pytest.mark.parametrize(
    ("exception", "status", "text"),
    [
        (requests.exceptions.HTTPError("503 for http://h/?key=secret"), 503,
         "status 503 (Service Unavailable), HTTPError"),
        (wrap_error(ConnectionRefusedError(111, "secret")), None, f"ConnectionRefusedError: {os.strerror(111)}"),
        (wrap_error(socket.gaierror(-2, "secret")), None, "gaierror"),
        (CatchResponseError("the answer was: secret"), 200, "status 200 (OK), CatchResponseError"),
        ("secret", 200, "status 200 (OK), the test marked the request as a failure"),
        ("secret", 404, "status 404 (Not Found)"),
    ],
)  # fmt: skip
def test_failure_description_omits_exception_message(exception: object, status: int | None, text: str) -> None:
    assert describe_failure(exception, status) == text


def test_request_name_is_sanitized_and_truncated_to_300_characters() -> None:
    log = RequestLog()
    log.begin_stage(3)
    log.on_request("GET", "/\ud800" + "x" * 1_000, 1.0, "unknown")
    rows = log.pop_batch()
    assert rows is not None
    (row,) = rows.to_pylist()
    assert row["name"].startswith("GET /?x")
    assert (len(row["name"]), row["stage"], row["bytes_received"], row["worker"]) == (300, 3, 0, 0)


def test_first_error_of_each_class_is_reported_until_next_stage() -> None:
    log = RequestLog()
    log.begin_stage(3)
    for exception in (None, TimeoutError("one"), ValueError("secret"), TimeoutError("another")):
        log.on_request("GET", "/", 1.0, 0, exception)
    assert [(first_error.error, first_error.text) for first_error in log.first_errors] == [("timeout", "TimeoutError"),
                                                                   ("bad-output", "ValueError")]  # fmt: skip
    log.begin_stage(4)
    assert log.first_errors == ()
