import socket
import ssl

import pytest
import requests
import urllib3

from loadgen.locustfile.failures import error_class

POOL = urllib3.HTTPConnectionPool("h")


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
        (wrapped(socket.gaierror()), None, "dns"),
        (wrapped(ssl.SSLCertVerificationError()), None, "tls"),
        (wrapped(ConnectionResetError()), None, "send"),
        (wrapped(TimeoutError()), None, "timeout"),
        (
            urllib3.exceptions.MaxRetryError(POOL, "/", urllib3.exceptions.NewConnectionError(POOL, "no")),
            None,
            "connect",
        ),
        (urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError()), None, "send"),
    ],
)
def test_what_a_client_raised_has_its_class(exception: object, status: int | None, error: str | None) -> None:
    assert error_class(exception, status) == error


def test_exceptions_that_go_round_in_a_circle_end() -> None:
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__context__ = other, one
    assert error_class(one, None) == "bad-output"
