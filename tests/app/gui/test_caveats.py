from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from app.gui.caveats import Caveat, Caveats

LOAD = Caveat("other load", "other load: 2 cores (limit 0.3 cores)", "WARN")
NOTE = Caveat("note", "The run was resumed.")
LATE = Caveat("late sends", "late sends: 4 % (limit 1 %)", "INVALID")


def visible(caveats: Caveats) -> list[str]:
    return [text.text() for text in caveats.findChildren(QLabel) if text.isVisible() and text.text()]


def test_their_number_and_names_are_one_line_that_unfolds_to_what_they_say(qtbot: QtBot) -> None:
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
    assert visible(caveats) == ["other load, note"]
    qtbot.mouseClick(caveats.head, Qt.MouseButton.LeftButton)
    assert visible(caveats) == ["WARN", LOAD.text, NOTE.text]
    caveats.show_caveats([NOTE])
    assert caveats.head.text() == "1 caveat"
    qtbot.waitUntil(lambda: visible(caveats) == [NOTE.text])
    caveats.show_caveats([])
    assert not caveats.isVisible()


def test_what_makes_the_result_invalid_is_unfolded(qtbot: QtBot) -> None:
    caveats = Caveats()
    qtbot.addWidget(caveats)
    with qtbot.waitExposed(caveats):
        caveats.show()
    caveats.show_caveats([LATE, LOAD])
    qtbot.waitUntil(lambda: visible(caveats) == ["INVALID", LATE.text, "WARN", LOAD.text])
