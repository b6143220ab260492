from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from http.client import IncompleteRead
from pathlib import Path
from urllib.request import Request

import pytest

from loadgen.records import Tls
from loadgen.transport.opener import Opener, limit_time, read_body
from tests.fakes.certificates import self_signed, server_context
from tests.fakes.metrics_page import MetricsPage, http_response, metrics_page

MAX_BYTES = 2**20
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"2710\r\n%s\r\n" % (b"a" * 10_000) * 50 + b"0\r\n\r\n"
)
LONG_HEADERS = [f"X-{number}: {'a' * 2000}" for number in range(50)]


def ticking(max_duration_s: float, max_wait_s: float = math.inf) -> Callable[[], float]:
    """A time limit on a clock that advances by 1 s at each query, as for a server that sends one block a second."""
    return limit_time(max_duration_s, max_wait_s, itertools.count(0.0).__next__)


def read(page: MetricsPage, limit: Callable[[], float], tls: Tls | None = None) -> bytes | None:
    opener = Opener((page.url,), tls or Tls(), lambda _: None)
    with opener.open(Request(page.url), limit) as response:
        return read_body(response, MAX_BYTES)


@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("response", [CHUNKED, http_response(b"", "200 OK", *LONG_HEADERS)], ids=["body", "headers"])
def test_total_time_of_a_response_that_arrives_in_blocks_is_limited(
    response: bytes, is_tls: bool, tmp_path: Path
) -> None:
    certificate = self_signed(tmp_path / "server.pem")
    context = server_context(certificate) if is_tls else None
    with metrics_page(response, context=context) as page:
        with pytest.raises(TimeoutError):
            read(page, ticking(8), Tls(verify=False))
        assert read(page, ticking(10**6), Tls(verify=False)) is not None


def test_a_wait_is_limited_to_the_remaining_time_and_to_the_longest_wait() -> None:
    limit = ticking(5, max_wait_s=3)
    assert [limit() for _ in range(4)] == [3, 3, 2, 1]
    with pytest.raises(TimeoutError):
        limit()


def test_truncated_body_is_an_error_and_a_too_large_one_is_none() -> None:
    with metrics_page(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nup 1\n") as page, pytest.raises(IncompleteRead):
        read(page, limit_time(10))
    for size in (MAX_BYTES, MAX_BYTES + 1):
        with metrics_page(http_response(b"a" * size)) as page:
            assert (read(page, limit_time(10)) is None) == (size > MAX_BYTES)
