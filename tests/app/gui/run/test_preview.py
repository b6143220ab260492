"""The preview below the form has only the height that it needs."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QSplitter, QWidget
from pytestqt.qtbot import QtBot

from app.gui.run.preview import Preview
from app.gui.run.work_view import WorkView
from app.records.planned_work import PlannedWork
from tests.fakes.widget_walk import clipped_texts


def test_wrapped_texts_of_the_preview_are_not_clipped(qtbot: QtBot) -> None:
    preview = Preview()
    splitter = QSplitter(Qt.Orientation.Vertical)
    qtbot.addWidget(splitter)
    splitter.addWidget(QWidget())
    splitter.addWidget(preview)
    splitter.setChildrenCollapsible(False)
    reason = "the price is unknown: the target has no hardware offer and no price of its own"
    work = PlannedWork(stages=2, duration_s=60, max_duration_s=600, requests=1200, usd_reason=reason)
    preview._show(WorkView(work, target="http://127.0.0.1:8000"))
    splitter.setStretchFactor(0, 1)
    splitter.resize(420, 500)
    splitter.setSizes([10_000, 1])
    splitter.show()
    qtbot.waitUntil(lambda: clipped_texts(splitter) == [])
