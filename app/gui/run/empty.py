"""The Run page before there is a profile: what one is, and ways to get one."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.gui.flow import FlowLayout
from app.gui.run.chooser import Sources
from app.gui.widgets import button, card, label


class EmptyRun(QWidget):
    def __init__(self, sources: Sources, take_sample: Callable[[], object]) -> None:
        super().__init__()
        self.sample = button("Take the &sample", take_sample, primary=True)
        buttons = QWidget()
        flow = FlowLayout(buttons)
        for one in (
            self.sample,
            button("New: &endpoint", sources.new_endpoint),
            button("New: &local model", sources.new_local),
            button("New: scripted s&erver", sources.new_scripted),
            button("&Open…", sources.ask_profile),
        ):
            flow.addWidget(one)
        said = (
            "A profile says what is measured, how it is loaded, and what must hold. The sample loads a small real model"
            " on this machine. An .onnx file or a profile can be dropped here."
        )
        framed = card(label("What do you want to measure?", "title"), label(said, wrap=True), buttons)
        layout = QVBoxLayout(self)
        layout.addWidget(framed, 0, Qt.AlignmentFlag.AlignTop)
        layout.addStretch(1)
