from __future__ import annotations

from pathlib import Path

from PySide6.QtGui import QUndoStack
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from app.gui.plan.source_bar import SourceBar
from app.gui.plan.sources import PlannableRun


def test_run_selected_in_the_source_menu_is_requested(qtbot: QtBot, owner: QWidget) -> None:
    bar = SourceBar(QUndoStack(owner))
    qtbot.addWidget(bar)
    run = PlannableRun(Path("/runs/a"), "a", "today", "40 req/s")
    bar.show_runs((run,))
    bar.source_menu.aboutToShow.emit()
    with qtbot.waitSignal(bar.sources_requested) as requested:
        bar.source_menu.actions()[0].trigger()
    assert requested.args == [(run.directory,)]
