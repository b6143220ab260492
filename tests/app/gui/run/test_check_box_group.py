"""Boxes to check that are listed again, as when more is known about them."""

from __future__ import annotations

from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.gui.run.check_box_group import CheckBoxGroup, CheckBoxOption


def test_a_click_counts_whose_box_is_listed_again_before_the_button_is_released(qtbot: QtBot) -> None:
    group = CheckBoxGroup("Providers", is_vertical=True)
    qtbot.addWidget(group)
    group.set_options([CheckBoxOption(name, name, None, False) for name in ("cpu", "cuda", "rocm")], ["cpu"])
    group.show()
    box, place = group.boxes["cuda"], QPoint(8, 8)
    with qtbot.waitSignal(group.selection_changed) as selected:
        qtbot.mousePress(box, Qt.MouseButton.LeftButton, pos=place)
        others = (CheckBoxOption("openvino", "openvino"), CheckBoxOption("cpu", "CPU"))
        group.set_options([others[0], CheckBoxOption("cuda", "CUDA", "no driver"), others[1]], ["cpu"])
        qtbot.mouseRelease(box, Qt.MouseButton.LeftButton, pos=place)
    assert selected.args == [["cuda", "cpu"]]
    assert [box.text() for box in group.boxes.values()] == ["openvino", "CUDA", "CPU"]
    assert group.unavailable_reasons() == {"cuda": "no driver"}
    QApplication.sendPostedEvents()
    tops = [box.y() for box in group.boxes.values()]
    assert tops == sorted(set(tops)), "each is below the one before it"
