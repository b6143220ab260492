from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from app.gui.results.page import ResultsPage
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.language_models import BottleneckTab, GenerationTab, MemoryTab, QualityTab
from app.records.estimate import Estimate
from app.storage.run_directory import RunWriter
from tests.fakes.language_model_runs import language_model_run
from tests.fakes.local_runs import SPEC, local_run
from tests.fakes.results import Run


def _store(run: Run, folder: Path) -> Path:
    with RunWriter(folder) as writer:
        writer.write_spec(SPEC)
        writer.write_result(run.result)
    return folder


def _with_shares(run: Run) -> Run:
    """Return the run with a decode bandwidth share of 40 % (35 % to 45 %)."""
    share = {"decode_bandwidth_share": {"value": Estimate(0.4, (0.35, 0.45), 6)}}
    stages = tuple(
        msgspec.structs.replace(stage, metrics=stage.metrics | share)
        if "decode_tokens_per_s" in stage.metrics
        else stage
        for stage in run.result.stages
    )
    return Run(msgspec.structs.replace(run.result, stages=stages), run.rows, run.telemetry)


def test_language_model_run_has_generation_bottleneck_memory_and_quality_tabs(
    page: ResultsPage, open_run: Callable[[Path], DisplayedRun], tmp_path: Path
) -> None:
    open_run(_store(_with_shares(language_model_run(usd_per_hour=3.6)), tmp_path / "home" / "runs" / "llm"))
    tabs = page.content().tabs
    visible_tabs = [tabs.widget(index) for index in range(tabs.count()) if tabs.isTabVisible(index)]
    throughput, bottleneck, memory, quality, *_ = visible_tabs
    assert isinstance(throughput, GenerationTab)
    assert isinstance(bottleneck, BottleneckTab)
    assert isinstance(memory, MemoryTab)
    assert isinstance(quality, QualityTab)
    for tab in (throughput, bottleneck, memory, quality):
        tabs.setCurrentWidget(tab)

    decode = throughput.rate_charts["decode"]
    assert [(bar.group, bar.series) for bar in decode.bars] == [
        (variant, test) for variant in ("batch 1", "batch 2") for test in ("tg16", "pp512+tg16", "tg16 @ d1024")
    ]
    assert all(bar.interval is not None and bar.interval[0] < bar.value < bar.interval[1] for bar in decode.bars)
    assert decode.bars[0].text == "99.0 (98.1–99.9)\u202ftok/s"
    assert throughput.model.rowCount() == 10
    assert throughput.front_chart is not None
    assert len(throughput.depth_chart.series()) == 2

    (share,) = bottleneck.chart.bars
    assert (share.group, share.series, share.text) == ("batch 1", "decode", "40.0 (35.0–45.0)\u202f%")
    assert share.value == pytest.approx(40.0)
    rows = bottleneck.model.frame.to_dict("records")
    assert [(row["phase"], row["limit"], row["test"]) for row in rows] == [
        ("prefill", "compute", "n/a"), ("decode", "memory", "tg16"), ("prefill", "compute", "n/a")
    ]  # fmt: skip
    assert rows[0]["share"].value is None
    assert "compute bound" in bottleneck.sentences_label.text()

    assert [bar.series for bar in memory.chart.bars] == ["weights", "KV cache", "rest"] * 2
    assert sum(bar.value for bar in memory.chart.bars[:3]) == pytest.approx(0.25)
    assert [bar.text for bar in memory.start_chart.bars] == [
        "20.0\u202fms",
        "150\u202fms",
        "300\u202fms",
        "5.00\u202fms",
    ]
    assert memory.start_model.frame["Total"].tolist() == ["475\u202fms (max 475)"]

    assert quality.model.frame["ratio"].tolist()[0] == "reference"
    assert quality.model.frame["ratio"].tolist()[1].value == pytest.approx(1.1)
    assert quality.description_label.text().endswith("The reference is batch 1.")

    open_run(_store(local_run(), tmp_path / "home" / "runs" / "local"))
    visible = {tabs.widget(index) for index in range(tabs.count()) if tabs.isTabVisible(index)}
    assert not visible & {throughput, bottleneck, memory, quality}
