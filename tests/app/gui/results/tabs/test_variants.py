from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from app.gui.results.page import ResultsPage
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.variants import VariantsTab
from app.storage.run_directory import RunWriter
from tests.fakes.local_runs import SPEC, local_run


def test_variants_tab_has_a_scenario_table_a_front_and_a_roofline(
    page: ResultsPage, open_run: Callable[[Path], DisplayedRun], tmp_path: Path
) -> None:
    folder = tmp_path / "home" / "runs" / "local"
    with RunWriter(folder) as writer:
        writer.write_spec(SPEC)
        writer.write_result(local_run().result)
    open_run(folder)
    tab = page.content().tabs.currentWidget()
    assert isinstance(tab, VariantsTab)
    assert tab.model.rowCount() > 1
    assert tab.front_chart is not None
    assert tab.bottlenecks_label.text()
    assert [(line.kind, len(line.x)) for line in tab.roofline_chart.series()] == [("line", 3), ("points", 5)]
    tab.roofline_chart.show_roofline(None)
    assert tab.roofline_chart.isHidden()
