from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from app.gui.caveats import Caveat, Caveats

LOAD = Caveat("other load", "other load: 2 cores (limit 0.3 cores)", "WARN")
NOTE = Caveat("note", "The run was resumed.")
LATE = Caveat("late sends", "late sends: 4 % (limit 1 %)", "INVALID")


def list_visible_texts(caveats: Caveats) -> list[str]:
    return [text.text() for text in caveats.findChildren(QLabel) if text.isVisible() and text.text()]


def test_caveats_are_summarized_in_a_line_and_unfold_to_their_texts(qtbot: QtBot) -> None:
    caveats = Caveats()
    qtbot.addWidget(caveats)
    with qtbot.waitExposed(caveats):
        caveats.show()
    caveats.show_caveats([LOAD, NOTE, NOTE, Caveat("cores", "cores: 2"), Caveat("disk", "disk: 2 GB")])
    assert caveats.summary_label.text() == "other load, note, and 2 more"
    caveats.show_caveats([LOAD, NOTE])
    assert (caveats.head.text(), caveats.summary_label.text(), caveats.is_open) == (
        "2 caveats",
        "other load, note",
        False,
    )
    assert list_visible_texts(caveats) == ["other load, note"]
    qtbot.mouseClick(caveats.head, Qt.MouseButton.LeftButton)
    assert list_visible_texts(caveats) == ["WARN", LOAD.text, NOTE.text]
    caveats.show_caveats([NOTE])
    assert caveats.head.text() == "1 caveat"
    qtbot.waitUntil(lambda: list_visible_texts(caveats) == [NOTE.text])
    caveats.show_caveats([])
    assert not caveats.isVisible()


def test_caveats_are_unfolded_if_a_caveat_is_invalid(qtbot: QtBot) -> None:
    caveats = Caveats()
    qtbot.addWidget(caveats)
    with qtbot.waitExposed(caveats):
        caveats.show()
    caveats.show_caveats([LATE, LOAD])
    qtbot.waitUntil(lambda: list_visible_texts(caveats) == ["INVALID", LATE.text, "WARN", LOAD.text])
