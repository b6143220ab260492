from __future__ import annotations

from pathlib import Path

from PySide6.QtGui import QUndoStack
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.gui.plan.source_bar import SourceBar
from app.gui.plan.sources import PlannableRun
from app.gui.plan.state import PlanState


def test_run_selected_in_the_source_menu_is_requested(qtbot: QtBot, owner: QWidget) -> None:
    bar = SourceBar(QUndoStack(owner))
    qtbot.addWidget(bar)
    run = PlannableRun(Path("/runs/a"), "a", "today", "40 req/s")
    bar.show_runs((run,))
    bar.source_menu.aboutToShow.emit()
    with qtbot.waitSignal(bar.sources_requested) as requested:
        bar.source_menu.actions()[0].trigger()
    assert requested.args == [(run.directory,)]


def test_page_is_no_wider_while_the_simulator_is_compiled(qtbot: QtBot, owner: QWidget) -> None:
    bar = SourceBar(QUndoStack(owner))
    qtbot.addWidget(bar)
    bar.show_state(PlanState(simulator_status="ready"))
    width = bar.minimumSizeHint().width()
    bar.show_state(PlanState(simulator_status="compiling"))
    assert bar.simulator_label.text().startswith("Compiling the simulator")
    assert bar.minimumSizeHint().width() <= width + bar.fontMetrics().horizontalAdvance("mm")  # a gap between parts
