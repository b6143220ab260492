"""Check boxes whose options are replaced, as when providers are detected."""

from __future__ import annotations

from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.gui.run.check_box_group import CheckBoxGroup, CheckBoxOption


def test_click_selects_a_box_whose_options_are_replaced_before_the_release(qtbot: QtBot) -> None:
    group = CheckBoxGroup("Providers", is_vertical=True)
    qtbot.addWidget(group)
    group.set_options([CheckBoxOption(name, name, None, False) for name in ("cpu", "cuda", "rocm")], ["cpu"])
    group.show()
    box, position = group.boxes["cuda"], QPoint(8, 8)
    with qtbot.waitSignal(group.selection_changed) as selected:
        qtbot.mousePress(box, Qt.MouseButton.LeftButton, pos=position)
        others = (CheckBoxOption("openvino", "openvino"), CheckBoxOption("cpu", "CPU"))
        group.set_options([others[0], CheckBoxOption("cuda", "CUDA", "no driver"), others[1]], ["cpu"])
        qtbot.mouseRelease(box, Qt.MouseButton.LeftButton, pos=position)
    assert selected.args == [["cuda", "cpu"]]
    assert [box.text() for box in group.boxes.values()] == ["openvino", "CUDA", "CPU"]
    assert group.unavailable_reasons() == {"cuda": "no driver"}
    QApplication.sendPostedEvents()
    tops = [box.y() for box in group.boxes.values()]
    assert tops == sorted(set(tops)), "each box is below the previous one"
