from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QPushButton
from pytestqt.qtbot import QtBot

from app.gui.results.tabs.details import ProfileTab
from tests.app.gui.results.conftest import OpenRun
from tests.fakes.window import theme_of


def test_profile_tab_follows_the_text_size_in_a_monospace_font(qtbot: QtBot, qapp: QApplication) -> None:
    look = theme_of(qapp)
    tab = ProfileTab()
    qtbot.addWidget(tab)
    tab.show()
    qtbot.waitUntil(lambda: tab.text.font().pointSizeF() == qapp.font().pointSizeF())
    look.scale_text(2.0)
    try:
        qtbot.waitUntil(lambda: tab.text.font().pointSizeF() == qapp.font().pointSizeF())
        assert tab.text.font().families() != qapp.font().families()
    finally:
        look.scale_text(1.0)


def test_long_profile_is_copied_whole_and_shown_in_part(qtbot: QtBot, open_run: OpenRun, stages: Path) -> None:
    displayed_run = open_run(stages)
    spec_text = "sizewise: 1\n" + "# more\n" * 100_000
    long_run = dataclasses.replace(displayed_run.opened_run, spec_text=spec_text)
    tab = ProfileTab()
    qtbot.addWidget(tab)
    tab.show_run(msgspec.structs.replace(displayed_run, opened_run=long_run))
    assert spec_text.startswith(tab.text.toPlainText())
    assert f"of {len(spec_text):,} characters" in tab.description_label.text()
    next(each for each in tab.findChildren(QPushButton) if each.text() == "Cop&y").click()
    assert QGuiApplication.clipboard().text() == spec_text
