"""A GPU vendor is one row and the module that reads its GPUs; everything else is derived from the row."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pandas as pd
import pyarrow as pa
import pytest

from app.analysis.gpu_use import list_gpu_sources
from app.errors import ProfileError
from app.gui.docks.machine_format import gpu_title
from app.gui.live.machine import MachineSeries
from app.profiles.loading import load_profile_tree
from app.records import telemetry_sources
from app.records.telemetry import TELEMETRY_SCHEMA
from app.records.telemetry_sources import GPU_VENDORS, GpuVendor, name_gpu_source
from app.telemetry.gpu_vendors import create_gpu_pollers
from app.telemetry.machine_state import build_state_in_run

TOY = GpuVendor("toy", "gpu-toy", "Toy GPU")


class ToyPoller:
    interval_s = 0.1

    def read(self, at_ns: int) -> Iterator[tuple[str, dict[str, float | None]]]:
        yield name_gpu_source(1, TOY), {"gpu_utilization_percent": 60.0}


@pytest.fixture(autouse=True)
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = ModuleType("app.telemetry.toy")
    module.__dict__["create_pollers"] = lambda: (ToyPoller(),)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(telemetry_sources, "GPU_VENDORS", (*GPU_VENDORS, TOY))
    monkeypatch.setattr("app.telemetry.gpu_vendors.GPU_VENDORS", (*GPU_VENDORS, TOY))
    telemetry_sources.find_gpu_vendor.cache_clear()
    yield
    telemetry_sources.find_gpu_vendor.cache_clear()


def test_gpu_of_new_vendor_is_read_displayed_and_analyzed() -> None:
    readings = dict(create_gpu_pollers()[-1].read(0))
    (gpu,) = build_state_in_run(readings, None).gpus
    assert (gpu.source, gpu.name, gpu.utilization_percent) == ("gpu-toy1", "Toy GPU", 60.0)
    assert gpu_title(gpu) == "Toy GPU 1"
    rows = pd.DataFrame({"source": ["host", "gpu-toy1", "gpu-toy1/mig1", "scrape1/gpu0"]})
    assert list_gpu_sources(rows) == ("gpu-toy1",)


def test_gpu_of_new_vendor_is_in_live_charts() -> None:
    series = MachineSeries()
    for at_ns in (0, 600_000_000, 1_200_000_000):
        columns = [pa.array([at_ns]), ["gpu-toy1"], ["gpu_utilization_percent"], [60.0]]
        series.add_batch(pa.record_batch(columns, schema=TELEMETRY_SCHEMA), 0)
    assert series.gpus == ("gpu-toy1",)


def test_metrics_page_cannot_use_gpu_source_name_of_new_vendor() -> None:
    settings = [{"scrape": "http://127.0.0.1:9400/metrics", "name": "gpu-toy1"}]
    tree = {
        "sizewise": 1, "name": "toy", "target": {"protocol": "http", "url": "http://127.0.0.1:1"},
        "load": {"rate": "1/s"}, "telemetry": settings,
    }  # fmt: skip
    with pytest.raises(ProfileError, match="gpu-toy1 is reserved"):
        load_profile_tree(tree, "toy")
