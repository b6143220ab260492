from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from app.gui.live.machine import LiveSeries, MachineSeries, get_view_titles
from tests.fakes.live_runs import ZERO_NS, readings, snapshot, stage_started


def test_live_rates_cover_the_last_second_and_restart_with_each_stage() -> None:
    series = LiveSeries()
    series.begin(stage_started(0, 1), ZERO_NS)
    for at_s in np.arange(1.25, 5, 0.25):
        series.add_snapshot(snapshot(0, at_s, 1, 100 if at_s <= 3 else 0), ZERO_NS)
    series.begin(stage_started(1, 6), ZERO_NS)
    series.add_snapshot(replace(snapshot(1, 6.5, 6, 40), good=None, in_flight=None), ZERO_NS)
    ring = series.ring
    assert ring.x[0] == 1
    assert np.isnan(ring.column("sent")[0]), "a gap separates the stages"
    assert ring.column("offered")[1:9].tolist() == pytest.approx([100] * 8, abs=1)
    assert ring.x[-1] == 6.5
    assert ring.column("completed")[-1] == pytest.approx(40)
    assert np.isnan(ring.column("good")[-1]), "an unavailable value is a gap, not 0"
    assert np.isnan(ring.column("in_flight")[-1])
    assert ring.column("lag")[-1] == 0.3


def test_live_rate_right_after_the_start_of_a_stage_is_nan() -> None:
    series = LiveSeries()
    series.begin(stage_started(0, 1), ZERO_NS)
    series.add_snapshot(snapshot(0, 1.05, 1), ZERO_NS)
    assert np.isnan(series.ring.column("sent")[-1])
    assert series.ring.column("p95")[-1] > 0


def test_live_snapshot_without_a_started_stage_has_no_rate() -> None:
    series = LiveSeries()
    series.add_snapshot(snapshot(0, 2, 1), ZERO_NS)
    assert np.isnan(series.ring.column("sent")[-1])


def make_machine_series(*batches: tuple[float, list[tuple[str, str, float | None]]]) -> MachineSeries:
    machine = MachineSeries()
    for at_s, rows in batches:
        machine.add_batch(readings(at_s, rows), ZERO_NS)
    return machine


def test_machine_readings_are_averaged_per_half_second_without_missing_values() -> None:
    def make_rows(n: int) -> list[tuple[str, str, float | None]]:
        cpu = None if n == 2 else 10.0 * n
        return [("host", "host_cpu_percent", cpu), ("endpoint", "endpoint_cpu_cores", 1.5)]

    rows = [(n / 10, make_rows(n)) for n in range(7)]
    machine = make_machine_series(*rows)
    lines = {text: (x, y) for view in ("cpu", "process_cpu") for text, x, y, _ in machine.lines(view)}
    x, y = lines["whole machine (%)"]
    assert x.tolist() == [0.25]
    assert y.tolist() == [pytest.approx((0 + 10 + 30 + 40) / 4)]
    assert lines["endpoint (% of a core)"][1].tolist() == [150]
    assert "load generator (% of a core)" not in lines, "has no readings"
    assert [text for text, *_ in machine.lines("cpu")] == ["whole machine (%)"], (
        "percent of a core is a view of its own"
    )


def test_each_gpu_has_a_chart_line_and_throttling_has_bands() -> None:
    def make_batch(at_s: float, reasons: int) -> tuple[float, list[tuple[str, str, float | None]]]:
        rows: list[tuple[str, str, float | None]] = []
        for source in ("gpu0", "gpu1"):
            rows += [(source, "gpu_power_w", 200.0), (source, "gpu_temperature_c", 60.0)]
        return at_s, [*rows, ("gpu0", "gpu_throttle_reasons", float(reasons)), ("gpu0/mig1", "gpu_memory_gib", 1.0)]

    machine = make_machine_series(
        *[make_batch(n / 4, 0x4 if 4 <= n < 8 else 0x1) for n in range(20)], make_batch(9.0, 0x4)
    )
    assert machine.gpus == ("gpu0", "gpu1")
    assert [(text, source) for text, _, _, source in machine.lines("gpu_power_w")] == [
        ("GPU 0", "gpu0"),
        ("GPU 1", "gpu1"),
    ]
    assert [(band.start_s, band.end_s, band.text) for band in machine.bands()] == [
        (1.0, 1.75, "GPU 0: power cap"),
        (9.0, 9.0, "GPU 0: power cap"),
    ]
    assert machine.lines("cpu") == []


def test_amd_gpus_have_their_own_chart_lines() -> None:
    rows: list[tuple[str, str, float | None]] = [("gpu-amd0", "gpu_power_w", 200.0), ("gpu0", "gpu_power_w", 90.0)]
    machine = make_machine_series(*[(n / 4, rows) for n in range(4)])
    assert machine.gpus == ("gpu-amd0", "gpu0")
    assert [(text, source) for text, _, _, source in machine.lines("gpu_power_w")] == [
        ("AMD GPU 0", "gpu-amd0"),
        ("GPU 0", "gpu0"),
    ]


def test_gpus_scraped_from_other_servers_are_not_those_of_this_machine() -> None:
    rows: list[tuple[str, str, float | None]] = [("scrape1/gpu0", "gpu_power_w", 5.0), ("scrape1", "queue", 5.0)]
    machine = make_machine_series(*[(n / 2, rows) for n in range(4)])
    assert machine.gpus == ()


def test_machine_views_start_with_gpu_utilization_if_there_are_gpus() -> None:
    assert next(iter(get_view_titles(has_gpus=True))) == "gpu_utilization_percent"
    assert next(iter(get_view_titles(has_gpus=False))) == "cpu"
