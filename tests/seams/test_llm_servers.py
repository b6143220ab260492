"""An inference server is one row, from which telemetry, stage counters, prefix cache and documentation are derived."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from types import ModuleType
from typing import get_args

import pytest

from app.analysis.server_counters import compute_server_counters
from app.analysis.validity import check_prefix_cache
from app.records import llm_servers
from app.records.llm_servers import LLM_SERVERS, LatencySeries, SeriesField, ServerSeries
from app.records.server_counters import LatencyHistogram, ServerCounters
from app.records.telemetry import Samples
from app.telemetry.metrics_page import parse_metrics
from docs.build import server_counters

TOY = ServerSeries(
    title="Toy",
    source="toy.example/metrics",
    prefixes=("toy:",),
    running=("toy:running",),
    waiting=('toy:requests{state="waiting"}',),
    kv_cache_share=("toy:cache_share",),
    requests=("toy:done_total",),
    other_requests=("toy:failed_total",),
    input_tokens=("toy:input_total",),
    output_tokens=("toy:output_total",),
    cached_tokens=("toy:hits_total",),
    cache_lookups=(("toy:hits_total", "toy:lookups_total"),),
    preemptions=("toy:preempted_total",),
    latencies={"decode": (LatencySeries("toy:decode_ms_sum", "toy:decode_count", unit_ms=1.0),)},
)
PAGE = """toy:running 3
toy:requests{{state="waiting"}} 4
toy:requests{{state="other"}} 90
toy:cache_share 0.5
toy:done_total 1{n}0
toy:failed_total 7
toy:input_total 1{n}00
toy:output_total 2{n}0
toy:hits_total 5{n}
toy:lookups_total 1{n}00
toy:preempted_total {n}
toy:decode_ms_sum {n}00
toy:decode_count {n}
"""


@pytest.fixture
def scrape(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of scraped pages, imported where the toy server has a row."""
    monkeypatch.setattr(llm_servers, "LLM_SERVERS", (*LLM_SERVERS, TOY))
    spec = importlib.util.find_spec("app.telemetry.scrape")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read_samples(page: str) -> Samples:
    samples = parse_metrics(page)
    assert samples is not None
    return samples


def test_metrics_of_new_server_are_read_as_telemetry(scrape: ModuleType) -> None:
    readings = scrape.ScrapeReadings()
    for sample in scrape.parse_samples(PAGE.format(n=2)):
        readings.add(sample)
    assert readings.readings_by_source[""] == {
        "server_running_requests": 3,
        "server_waiting_requests": 4,
        "server_kv_cache_percent": 50,
        "server_requests_total": 127,
        "server_input_tokens_total": 1_200,
        "server_output_tokens_total": 220,
        "server_cached_tokens_total": 52,
        "server_preemptions_total": 2,
    }
    limiter = scrape.SeriesLimiter()
    accepted = [
        sample
        for number in range(2 * scrape.MAX_UNKNOWN_SERIES)
        for sample in scrape.parse_samples(f"toy:series_{number} 1\n")
        if limiter.accepts(sample.name, sample)
    ]
    assert len(accepted) > scrape.MAX_UNKNOWN_SERIES


@pytest.mark.usefixtures("scrape")
def test_metrics_of_new_server_are_counted_per_stage() -> None:
    before, after = read_samples(PAGE.format(n=1)), read_samples(PAGE.format(n=3))
    assert compute_server_counters([before], [after]) == ServerCounters(
        requests=20,
        input_tokens=200,
        cached_input_tokens=2,
        looked_up_input_tokens=200,
        output_tokens=20,
        preemptions=2,
        latencies={"decode": LatencyHistogram(2, 100.0)},
    )
    check = check_prefix_cache([before], [after], is_expected=True)
    assert check is not None
    assert check.value == pytest.approx(0.01)


@pytest.mark.usefixtures("scrape")
def test_new_server_is_in_documentation() -> None:
    cells = ["✓", "✓", "✓", "✓", "", "", "", "✓", "", ""]
    assert f"| Toy | {' | '.join(cells)} |" in server_counters().splitlines()


def iterate_names(server: ServerSeries) -> Iterator[str]:
    for field in get_args(SeriesField):
        if field != "prefixes":
            yield from getattr(server, field)
    for pair in server.cache_lookups:
        yield from pair
    for series in (item for kind in server.latencies.values() for item in kind):
        yield from (series.total, series.number)


def test_server_series_have_prefix_that_no_other_server_has() -> None:
    names = {server.title: set(iterate_names(server)) for server in LLM_SERVERS}
    for server in LLM_SERVERS:
        assert all(name.startswith(server.prefixes) for name in names[server.title])
        others = set().union(*(names[other.title] for other in LLM_SERVERS if other is not server))
        assert not names[server.title] & others
