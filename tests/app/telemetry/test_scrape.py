"""Metrics pages of each exporter, and hostile pages, are scraped from servers on the loopback."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from app.serving.counters import EndpointMetrics
from app.telemetry.scrape import Scraper
from loadgen.records import Tls
from loadgen.transport.address import EndpointError
from tests.fakes import exporters
from tests.fakes.certificates import self_signed, server_context
from tests.fakes.metrics_page import http_response, metrics_page

Readings = dict[str, dict[str, float | None]]
WALL_S = 1_800_000_000
SCRAPE_TIMEOUT_S = 60.0


def build_scraper(url: str, timeout_s: float = SCRAPE_TIMEOUT_S, **options: Any) -> Scraper:
    """Return a scraper whose timeout is so long that a busy machine does not fail a scrape."""
    wall_ns = WALL_S * 10**9
    return Scraper(
        url, source="scrape1", now=lambda: 5_000_000, wall_ns=lambda: wall_ns, timeout_s=timeout_s, **options
    )


def scrape_pages(*bodies: bytes, **options: Any) -> Readings:
    """Readings of the last of several scrapes."""
    with metrics_page(*map(http_response, bodies)) as page:
        reader = build_scraper(page.url, **options)
        for _ in bodies:
            readings = dict(reader.read(0))
    return readings


def select_canonical_metrics(readings: dict[str, float | None]) -> dict[str, float | None]:
    return {name: value for name, value in readings.items() if name.startswith(("server_", "host_"))}


def test_dcgm_metrics_have_original_and_canonical_names() -> None:
    readings = scrape_pages(exporters.dcgm())
    assert readings["scrape1/gpu0"] == {
        "gpu_sm_clock_mhz": 2040,
        "gpu_temperature_c": 48,
        "gpu_power_w": 71.5,
        "gpu_energy_j": 9_000,
        "gpu_utilization_percent": 93,
        "gpu_memory_gib": 2,
        "gpu_tensor_active_percent": 25,
    }
    assert readings["scrape1/gpu1/mig7"] == {"gpu_mig_memory_gib": 0.5}
    page_metrics = readings["scrape1"]
    assert page_metrics["DCGM_FI_DEV_POWER_USAGE"] == 71.5
    assert page_metrics['DCGM_FI_DEV_FB_USED{gpu="0"}'] == 2048
    assert page_metrics['DCGM_FI_DEV_FB_USED{gpu="1"}'] == 512
    assert page_metrics['DCGM_FI_PROF_PIPE_TENSOR_ACTIVE{gpu="1"}'] == 0.5


def test_scrape_labels_select_one_gpu() -> None:
    readings = scrape_pages(exporters.dcgm(), labels={"gpu": "1", "GPU_I_ID": "7"})
    assert set(readings) == {"scrape1", "scrape1/gpu1/mig7"}
    assert readings["scrape1"]["DCGM_FI_DEV_FB_USED"] == 512
    assert "DCGM_FI_DEV_POWER_USAGE" not in readings["scrape1"]


def test_scrape_labels_without_match_are_failed_scrape() -> None:
    assert scrape_pages(exporters.dcgm(), labels={"gpu": "9"}) == {"scrape1": {"scrape_ok": 0}}


def test_gpus_of_several_nodes_with_same_index_need_labels() -> None:
    page = b"".join(
        b'DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-%d",Hostname="node-%d"} 5%d\n' % (node, node, node)
        for node in (1, 2, 1)
    )
    assert set(scrape_pages(page)) == {"scrape1"}
    assert scrape_pages(page)["scrape1"]['DCGM_FI_DEV_POWER_USAGE{UUID="GPU-2"}'] == 52
    assert scrape_pages(page, labels={"Hostname": "node-2"})["scrape1/gpu0"] == {"gpu_power_w": 52}


def test_triton_metrics_are_converted_to_canonical_units() -> None:
    readings = scrape_pages(exporters.TRITON)
    assert readings["scrape1/gpu0"] == {
        "gpu_utilization_percent": 91,
        "gpu_memory_gib": 1,
        "gpu_power_w": 61.5,
        "gpu_energy_j": 1234.5,
    }
    assert readings["scrape1/gpu1"] == {"gpu_utilization_percent": 12}
    assert readings["scrape1/host"] == {"host_cpu_percent": 40, "host_memory_gib": 2}
    assert select_canonical_metrics(readings["scrape1"]) == {"server_requests_total": 42, "server_waiting_requests": 3}
    assert readings["scrape1"]["nv_inference_queue_duration_us"] == 2500


def test_vllm_metrics_are_summed_over_engines_with_maximum_kv_cache_usage() -> None:
    page_metrics = scrape_pages(exporters.VLLM)["scrape1"]
    assert select_canonical_metrics(page_metrics) == {
        "server_running_requests": 20,
        "server_waiting_requests": 3,
        "server_kv_cache_percent": 75,
        "server_input_tokens_total": 1000,
        "server_output_tokens_total": 400,
        "server_requests_total": 10,
    }
    assert page_metrics['vllm:num_requests_running{engine="1"}'] == 8
    assert page_metrics['vllm:request_success_total{finished_reason="length"}'] == 4
    assert page_metrics["vllm:time_to_first_token_seconds_count"] == 10
    assert not [name for name in page_metrics if "_bucket" in name or "_created" in name or name.startswith("python_")]


def test_llama_cpp_metrics_have_canonical_names() -> None:
    assert select_canonical_metrics(scrape_pages(exporters.LLAMA_CPP)["scrape1"]) == {
        "server_input_tokens_total": 12,
        "server_output_tokens_total": 34,
        "server_kv_cache_percent": 12.5,
        "server_running_requests": 2,
        "server_waiting_requests": 1,
    }


@pytest.mark.parametrize(
    ("page", "metric", "value"),
    [
        (b'sglang:num_running_reqs{tp_rank="0"} 3\nsglang:num_running_reqs{tp_rank="1"} 4\n',
         "server_running_requests", 7),
        (b"sglang:token_usage 0.28\n", "server_kv_cache_percent", 28),
        (b'sglang:cached_tokens_total{cache_source="device"} 6\nsglang:cached_tokens_total{cache_source="host"} 1\n',
         "server_cached_tokens_total", 7),
        (b"trtllm_kv_cache_utilization 0.5\n", "server_kv_cache_percent", 50),
        (b"tgi_queue_size 5\n", "server_waiting_requests", 5),
        (b"dynamo_frontend_inflight_requests 6\n", "server_running_requests", 6),
        (b'nv_trt_llm_request_metrics{request_type="waiting"} 8\nnv_trt_llm_request_metrics{request_type="max"} 64\n',
         "server_waiting_requests", 8),
        (b'nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type="fraction"} 0.25\n', "server_kv_cache_percent", 25),
    ],
)  # fmt: skip
def test_metrics_of_other_servers_have_canonical_names(page: bytes, metric: str, value: float) -> None:
    assert select_canonical_metrics(scrape_pages(page)["scrape1"]) == pytest.approx({metric: value})


def test_sizewise_endpoint_metrics_have_canonical_names() -> None:
    counters = EndpointMetrics(max_batch=8)
    counters.in_flight = 5
    for outcome in ("ok", "ok", "queue_full"):
        counters.count_request(outcome)
    page_metrics = scrape_pages(counters.format_metrics(queued_count=4).encode())["scrape1"]
    assert select_canonical_metrics(page_metrics) == {"server_requests_total": 3, "server_waiting_requests": 4}
    assert page_metrics["sizewise_endpoint_in_flight"] == 5
    assert page_metrics['sizewise_endpoint_requests_total{outcome="ok"}'] == 2


def test_queue_proxy_and_kserve_metrics_have_original_names() -> None:
    page_metrics = scrape_pages(exporters.QUEUE_PROXY)["scrape1"]
    assert page_metrics["queue_average_concurrent_requests"] == 3
    assert page_metrics["queue_requests_per_second"] == 5
    assert page_metrics["request_predict_seconds_sum"] == 2.5


def test_node_cpu_utilization_is_computed_between_two_scrapes() -> None:
    first, second = exporters.node(), exporters.node(user_s=110, idle_s=325, waiting_s=13)
    assert scrape_pages(first)["scrape1/host"] == {"host_memory_gib": 5}
    readings = scrape_pages(first, second)
    assert readings["scrape1/host"] == {"host_memory_gib": 5, "host_cpu_percent": pytest.approx(25)}
    page_metrics = readings["scrape1"]
    assert page_metrics['node_network_receive_bytes_total{device="eth0"}'] == 5e6
    assert not [name for name in page_metrics if name.startswith(("node_cpu", "node_filesystem", "go_"))]


def test_restarted_node_has_no_cpu_utilization() -> None:
    readings = scrape_pages(
        exporters.node(), exporters.node(user_s=110, idle_s=330), exporters.node(user_s=1, idle_s=2)
    )
    assert readings["scrape1/host"] == {"host_memory_gib": 5, "host_cpu_percent": None}


def test_several_nodes_on_one_page_need_labels() -> None:
    page = b'node_memory_MemTotal_bytes{instance="a"} 4e9\nnode_memory_MemAvailable_bytes{instance="a"} 1e9\n'
    two_nodes = page + page.replace(b'"a"', b'"b"') + b'node_cpu_seconds_total{mode="idle"} 5\n'
    assert set(scrape_pages(two_nodes, two_nodes)) == {"scrape1"}
    assert set(scrape_pages(two_nodes, labels={"instance": "b"})) == {"scrape1", "scrape1/host"}


def test_clock_offset_is_from_node_time_or_date_header() -> None:
    assert scrape_pages(exporters.node())["scrape1"]["scrape_clock_offset_s"] == 0.25
    for date, offset_s in (
        ("Fri, 15 Jan 2027 08:00:03 GMT", 3.5),
        ("Fri, 15 Jan 2027 08:00:03 -0000", 3.5),
        ("Fri, 99 Jan 2027 08:00:03 GMT", None),
        ("soon", None),
    ):
        with metrics_page(http_response(b"up 1\n", "200 OK", f"Date: {date}")) as page:
            assert dict(build_scraper(page.url).read(0))["scrape1"]["scrape_clock_offset_s"] == offset_s
    assert scrape_pages(b"up 1\n")["scrape1"] == {
        "up": 1,
        "scrape_ok": 1,
        "scrape_ms": 5,
        "scrape_clock_offset_s": None,
    }


def test_date_header_without_zone_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "AHEAD-9")
        time.tzset()
        with metrics_page(http_response(b"up 1\n", "200 OK", "Date: Fri, 15 Jan 2027 08:00:00 -0000")) as page:
            offset_s = dict(build_scraper(page.url).read(0))["scrape1"]["scrape_clock_offset_s"]
    time.tzset()
    assert offset_s == 0.5


def test_failed_scrape_sets_known_series_to_none() -> None:
    with metrics_page(http_response(exporters.dcgm()), http_response(b"", "503 Service Unavailable")) as page:
        reader = build_scraper(page.url)
        before, after = dict(reader.read(0)), dict(reader.read(0))
    assert before.keys() == after.keys()
    assert after["scrape1"].keys() == before["scrape1"].keys()
    assert after["scrape1"].pop("scrape_ok") == 0
    assert {value for readings in after.values() for value in readings.values()} == {None}


def test_missing_series_is_none_and_returning_series_is_reported() -> None:
    assert scrape_pages(b"a 1\nb 2\n", b"b 3\n")["scrape1"]["a"] is None
    assert scrape_pages(b"a 1\nb 2\n", b"b 3\n", b"a 4\n")["scrape1"]["a"] == 4


def test_scrape_url_without_path_uses_metrics_path() -> None:
    for path, requested_path in (("", "/metrics"), ("/", "/metrics"), ("/v1/metrics?all=1", "/v1/metrics?all=1")):
        with metrics_page(http_response(b"up 1\n")) as page:
            build_scraper(page.url + path).read(0)
        assert page.requests[0].startswith(f"GET {requested_path} HTTP/1.1\r\n".encode())


def test_scrape_headers_override_default_headers() -> None:
    with metrics_page(http_response(b"up 1\n")) as page:
        build_scraper(page.url, headers=(("Authorization", "Bearer k"), ("accept", "text/plain;version=1.0.0"))).read(0)
    assert b"\r\nAuthorization: Bearer k\r\n" in page.requests[0]
    assert page.requests[0].lower().count(b"\r\naccept:") == 1


def test_scrape_certificate_is_verified(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path / "server.pem")
    with metrics_page(http_response(b"up 1\n"), context=server_context(certificate)) as page:
        assert dict(build_scraper(page.url).read(0))["scrape1"] == {"scrape_ok": 0}
        assert dict(build_scraper(page.url, tls=Tls(ca_file=str(certificate))).read(0))["scrape1"]["up"] == 1
    with pytest.raises(EndpointError):
        build_scraper("https://127.0.0.1:1", tls=Tls(ca_file=str(tmp_path / "none.pem")))


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"\x00\xff" * 4096,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nup 1\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nup 1\n\r\n",
        http_response(b"up 1\n", "302 Found", "Location: /elsewhere"),
        http_response(b"<!doctype html><p>Sign in</p>\n"),
        http_response(b"up 1\n" * 2 * 2**20),
    ],
    ids=["nothing", "noise", "no http", "cut", "cut in chunks", "redirect", "html", "huge"],
)
def test_invalid_metrics_page_is_failed_scrape(response: bytes) -> None:
    with metrics_page(response) as page:
        assert dict(build_scraper(page.url).read(0)) == {"scrape1": {"scrape_ok": 0}}


def test_refused_connection_is_failed_scrape() -> None:
    assert dict(build_scraper("http://127.0.0.1:1").read(0)) == {"scrape1": {"scrape_ok": 0}}


@pytest.mark.timing
def test_incomplete_response_is_failed_scrape_after_timeout() -> None:
    start_s = time.monotonic()
    with metrics_page(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nup 1\n", stays_open=True) as page:
        assert dict(build_scraper(page.url, timeout_s=0.2).read(0)) == {"scrape1": {"scrape_ok": 0}}
    assert 0.2 <= time.monotonic() - start_s < 5


def test_page_cannot_override_scrape_and_canonical_metrics() -> None:
    assert scrape_pages(b"scrape_ok 7\nserver_waiting_requests 5\nvllm:num_requests_waiting 2\n")["scrape1"] == {
        "vllm:num_requests_waiting": 2,
        "server_waiting_requests": 2,
        "scrape_ok": 1,
        "scrape_ms": 5,
        "scrape_clock_offset_s": None,
    }


def test_non_finite_scraped_values_are_dropped() -> None:
    page_metrics = scrape_pages(b"vllm:kv_cache_usage_perc 1e308\nup 1e999\n")["scrape1"]
    assert page_metrics["vllm:kv_cache_usage_perc"] == 1e308
    assert "server_kv_cache_percent" not in page_metrics
    assert "up" not in page_metrics


def test_number_of_scraped_sources_is_limited() -> None:
    pages = [
        "".join(f'DCGM_FI_DEV_GPU_UTIL{{gpu="{page}{gpu:02}"}} 1\n' for gpu in range(100)).encode() for page in range(3)
    ]
    assert len(scrape_pages(*pages)) < 70
    assert len(scrape_pages(b'DCGM_FI_DEV_GPU_UTIL{gpu="../../x\x1b[2J"} 1\n')) == 1
