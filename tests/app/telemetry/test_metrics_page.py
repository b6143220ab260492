from __future__ import annotations

import time
from pathlib import Path

import pytest

from app.telemetry.metrics_page import Sample, parse_metrics, parse_samples, read_metrics
from loadgen.records import Endpoint, Tls
from tests.fakes.certificates import self_signed, server_context
from tests.fakes.metrics_page import http_response, metrics_page


def test_metric_labels_are_unescaped() -> None:
    page = 'up{a="1" , b = "two, \\"}\\" \\\\ three\\nfour",} 1.5 1712345678901\nplain 2\n'
    first, second = parse_samples(page)
    assert first.parse_labels() == {"a": "1", "b": 'two, "}" \\ three\nfour'}
    assert (first.name, first.value) == ("up", 1.5)
    assert second == Sample("plain", "", 2)
    assert second.parse_labels() == {}


@pytest.mark.parametrize("text", ["a", 'a=1,b="2"', '="1"', 'a="1"b="2"'])
def test_invalid_metric_labels_are_ignored(text: str) -> None:
    assert Sample("up", text, 1).parse_labels() == {}


PAGE = b"""# HELP vllm:prefix_cache_queries_total Prefix cache queries, in terms of number of queried tokens.
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="a \\"quoted}\\" name, with {braces} and spaces"} 1000.0
vllm:prefix_cache_queries_total{engine="1",model_name="m"} 234.5 1712345678901
vllm:prefix_cache_hits_total 3.8e+02 # {trace_id="x"} 1.0

process_start_time_seconds 1.7e9
"""


def test_counters_and_start_times_are_keyed_by_labels() -> None:
    samples = parse_metrics(
        "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds 1.7e9\n"
        '# TYPE requests_total counter\nrequests_total{pod="a"} 3\nrequests_total{pod="b"} 4\n'
        '# TYPE requests_created gauge\nrequests_created{pod="a"} 1.8e9\n'
        "# TYPE tokens counter\ntokens_total 9\n"
        '# TYPE ttft histogram\nttft_bucket{le="1"} 2\nttft_sum 5\nttft_count 2\n'
        "# TYPE waiting_total gauge\nwaiting_total 7\nuntyped_total 8\n"
    )
    assert samples is not None
    assert samples.start_times_s == {"process_start_time_seconds{}": 1.7e9, 'requests_created{pod="a"}': 1.8e9}
    assert samples.counters == {
        'requests_total{pod="a"}': 3, 'requests_total{pod="b"}': 4, "tokens_total{}": 9, "ttft_sum{}": 5,
        "ttft_count{}": 2,
    }  # fmt: skip


def parse_totals(page: str) -> dict[str, float]:
    samples = parse_metrics(page)
    return {} if samples is None else samples.totals


def test_metrics_page_totals_are_summed_over_labels() -> None:
    with metrics_page(http_response(PAGE)) as page:
        (samples,) = read_metrics(Endpoint((f"{page.url}/v1",)))
    assert samples is not None
    assert samples.totals == {
        "vllm:prefix_cache_queries_total": 1234.5,
        "vllm:prefix_cache_hits_total": 380.0,
        "process_start_time_seconds": 1.7e9,
    }


def test_metrics_request_does_not_send_headers_path_or_query_of_endpoint() -> None:
    with metrics_page(http_response(PAGE)) as page:
        read_metrics(Endpoint((f"{page.url}/v1/secret-path?key=secret-query",), headers=(("Authorization", "secret"),)))
    (request,) = page.requests
    assert request.startswith(b"GET /metrics HTTP/1.1\r\n")
    assert b"secret" not in request
    assert b"authorization" not in request.lower()


def test_metrics_of_every_replica_are_read_and_missing_pages_are_none() -> None:
    with metrics_page(http_response(PAGE)) as first, metrics_page(http_response(b"", "404 Not Found")) as second:
        samples = read_metrics(Endpoint((first.url, second.url, "http://127.0.0.1:1")))
    assert samples[0] is not None
    assert samples[1:] == (None, None)


def test_chunked_and_connection_terminated_metrics_pages_are_read() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nup 1\r\n1\r\n\n\r\n0\r\n\r\n"
    for text in (chunked, b"HTTP/1.0 200 OK\r\n\r\nup 1\n"):
        with metrics_page(text) as page:
            (samples,) = read_metrics(Endpoint((page.url,)))
        assert samples is not None
        assert samples.totals == {"up": 1.0}


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"\x00\xff" * 4096,
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        http_response(PAGE, "401 Unauthorized"),
        http_response(PAGE, "500 Internal Server Error"),
        http_response(PAGE, "302 Found", "Location: http://127.0.0.1:1/metrics"),
        http_response(b"<!doctype html><html><body>Not found: 404</body></html>\n"),
        http_response(b'"# HELP llamacpp:prompt_tokens_total\\nllamacpp:prompt_tokens_total 5\\n"'),
        http_response(b'[{"iter": 1}]'),
        http_response(b"\x1f\x8b\x08" + bytes(2000), "200 OK", "Content-Encoding: gzip"),
        http_response(b"up 1\n" * 2 * 2**20),
        b"HTTP/1.1 200 OK\r\n" + b"X-Endless: 1\r\n" * 700_000,
    ],
)
def test_invalid_metrics_page_is_none(response: bytes) -> None:
    with metrics_page(response) as page:
        assert read_metrics(Endpoint((page.url,))) == (None,)


def test_incomplete_metrics_pages_time_out() -> None:
    incomplete = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nup 1\n"
    start_s = time.monotonic()
    with metrics_page(incomplete, stays_open=True) as first, metrics_page(incomplete, stays_open=True) as second:
        assert read_metrics(Endpoint((first.url, second.url)), timeout_s=0.2) == (None, None)
    assert time.monotonic() - start_s < 5


def test_metrics_are_not_read_through_unix_socket_or_proxy() -> None:
    with metrics_page(http_response(PAGE)) as page:
        assert read_metrics(Endpoint((page.url,), unix_socket="/run/model.sock")) == ()
        assert read_metrics(Endpoint((page.url,), proxy="http://127.0.0.1:1")) == ()
    assert page.requests == []


def test_metrics_page_certificate_is_verified_by_tls_settings(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path / "server.pem")
    with metrics_page(http_response(PAGE), context=server_context(certificate)) as page:
        assert read_metrics(Endpoint((page.url,))) == (None,)
        (trusted,) = read_metrics(Endpoint((page.url,), tls=Tls(ca_file=str(certificate))))
        (unverified,) = read_metrics(Endpoint((page.url,), tls=Tls(verify=False)))
    assert trusted is not None
    assert trusted == unverified
    assert read_metrics(Endpoint(("https://127.0.0.1:1",), tls=Tls(ca_file=str(tmp_path / "none.pem")))) == ()


def test_truncated_metrics_line_is_ignored() -> None:
    assert parse_totals("up 1\nhits_total 12") == {"up": 1.0}


@pytest.mark.parametrize("line", ["up", "up NaN", "up +Inf", "up one", "1up 2", 'up{a="b 1', "{} 1", "# up 1", "up{} "])
def test_invalid_metrics_line_is_ignored(line: str) -> None:
    assert parse_totals(f"{line}\nother 1\n") == {"other": 1.0}


def test_hostile_metrics_page_is_parsed_within_5_s_of_cpu_time() -> None:
    quotes, braces = 'up{a="' + '\\"' * 10**6, "up{" + 'a="b",' * 10**6
    start_s = time.process_time()
    assert parse_metrics(f"{quotes}\n{braces}\n") is None
    assert time.process_time() - start_s < 5
