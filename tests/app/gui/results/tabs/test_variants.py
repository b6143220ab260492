from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtWidgets import QTabWidget

from app.gui.results.page import ResultsPage
from app.gui.results.state import DisplayedRun
from app.gui.results.tabs.variants import VariantsTab
from app.storage.run_directory import RunWriter
from tests.fakes.language_model_runs import language_model_run
from tests.fakes.local_runs import SPEC, local_run
from tests.fakes.results import Run


def _stored(run: Run, folder: Path) -> Path:
    with RunWriter(folder) as writer:
        writer.write_spec(SPEC)
        writer.write_result(run.result)
    return folder


def test_a_language_model_has_a_table_of_tests_and_another_model_one_of_scenarios(
    page: ResultsPage, opened: Callable[[Path], DisplayedRun], tmp_path: Path
) -> None:
    opened(_stored(language_model_run(usd_per_hour=3.6), tmp_path / "home" / "runs" / "llm"))
    tabs = page.content().tabs
    assert isinstance(tabs, QTabWidget)
    tab = page.findChild(VariantsTab)
    assert tab is not None
    tabs.setCurrentWidget(tab)
    assert (tab.test_table.isVisibleTo(tab), tab.table.isVisibleTo(tab)) == (True, False)
    assert tab.test_model.rowCount() == 10
    assert tab.pareto_chart is not None
    assert tab.depth_chart.isVisibleTo(tab)
    opened(_stored(local_run(), tmp_path / "home" / "runs" / "local"))
    tab = page.findChild(VariantsTab)
    assert tab is not None
    assert (tab.test_table.isVisibleTo(tab), tab.table.isVisibleTo(tab)) == (False, True)
    assert not tab.depth_chart.isVisibleTo(tab)
