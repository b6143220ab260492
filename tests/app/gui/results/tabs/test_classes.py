from __future__ import annotations

from pathlib import Path

import msgspec

from app.gui.results.page import ResultsPage
from app.gui.results.tabs.classes import ClassesTab
from app.reporting.report import build_report
from tests.app.gui.results.conftest import OpenRun
from tests.fakes.request_classes import class_result


def test_classes_tab_compares_classes_of_a_stage_and_stages_of_a_class(
    page: ResultsPage, open_run: OpenRun, stages: Path
) -> None:
    displayed, content = open_run(stages), page.content()
    (tab,) = page.findChildren(ClassesTab)
    content.show_run(displayed)
    assert not content.tabs.isTabVisible(content.tabs.indexOf(tab)), "the run has no classes"
    result = class_result()
    report = build_report(
        result, displayed.opened_run.table.slice(0, 0), displayed.opened_run.data.telemetry, "", "", "{}"
    )
    content.show_run(msgspec.structs.replace(displayed, result=result, report=report, own_report=report))
    content.tabs.setCurrentWidget(tab)
    box = tab.selection_box
    assert [box.itemText(index) for index in range(box.count())] == [
        "All classes in calm", "All classes in peak", "Class chat in all stages", "Class batch in all stages",
    ]  # fmt: skip
    assert box.currentText() == "All classes in peak"
    frame = tab.model.frame
    assert [*frame["name"]] == ["chat", "batch"]
    assert [*frame["slo"]] == ["missed", "–"]
    assert [quantity.value for quantity in frame["ttft_p95"]] == [15, 50]
    assert "stage" not in frame
    box.setCurrentText("Class chat in all stages")
    assert [*tab.model.frame["stage"]] == ["calm", "peak"]
    assert [*tab.model.frame["slo"]] == ["met", "missed"]

    empty = msgspec.structs.replace(report, classes=None)
    content.show_evaluation(msgspec.structs.replace(displayed, result=result, report=empty, own_report=report))
    assert (box.count(), len(tab.model.frame)) == (0, 0), "a time range without a stage"
