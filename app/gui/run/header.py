"""Header of the Run page with the current profile, the view selector and the actions, and the empty
state of the page."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QMenu, QPushButton, QSizePolicy, QWidget

from app.gui.flow import FlowLayout
from app.gui.run.chooser import Chooser, ProfileActions
from app.gui.widgets import Badge, button, card, hbox, label, tool_button, tool_tip_text, vbox

VIEWS = ("local", "endpoint", "sweep")


class RunHeader(QWidget):
    view_selected = Signal(str)
    source_toggled = Signal(bool)
    copy_requested = Signal()
    save_requested = Signal()
    save_as_requested = Signal()
    ci_requested = Signal(str)
    start_requested = Signal()

    def __init__(self, chooser: Chooser) -> None:
        super().__init__()
        self.chooser = chooser
        self.state = Badge()
        self.start = button("&Start (F5)", self.start_requested.emit, primary=True)
        title_row = hbox(chooser, self.state, 1, self.start)
        self.views = _create_view_buttons()
        self.views.idClicked.connect(self._select_view)
        segments = QWidget()
        hbox(*self.views.buttons(), within=segments, spacing=0)
        self.source = QPushButton("&YAML")
        self.source.setCheckable(True)
        self.source.setAccessibleName("Show YAML")
        self.source.toggled.connect(self.source_toggled)
        self.copy = button("&Copy as command", self.copy_requested.emit)
        self.save = button("Sa&ve", self.save_requested.emit)
        self.save_as = button("Save &as…", self.save_as_requested.emit)
        self.ci = tool_button("Export CI &job", menu=self._ci_menu())
        action_bar = QWidget()
        flow = FlowLayout(action_bar)
        for widget in (segments, self.source, self.copy, self.save, self.save_as, self.ci):
            flow.addWidget(widget)
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        action_bar.setSizePolicy(policy)
        vbox(title_row, action_bar, within=self)

    def show_view(self, view: str) -> None:
        self.views.button(VIEWS.index(view)).setChecked(True)

    def set_start_state(self, blocked_reason: str) -> None:
        """Enable the start button if `blocked_reason` is empty. Otherwise disable the button, with
        the reason as its tooltip and accessible description."""
        self.start.setEnabled(not blocked_reason)
        self.start.setToolTip(tool_tip_text(blocked_reason) or "Start the run in the background")
        self.start.setAccessibleDescription(blocked_reason)

    def _select_view(self, index: int) -> None:
        self.view_selected.emit(VIEWS[index])

    def _ci_menu(self) -> QMenu:
        menu = QMenu(self)
        menu.addAction("&GitHub Actions…", self._github)
        menu.addAction("Git&Lab…", self._gitlab)
        return menu

    def _github(self) -> None:
        self.ci_requested.emit("github")

    def _gitlab(self) -> None:
        self.ci_requested.emit("gitlab")


def _create_view_buttons() -> QButtonGroup:
    group = QButtonGroup()
    names = ("&Local model", "&Endpoint", "S&weep")
    descriptions = (
        "Model that runs on this machine",
        "Service that is load-tested over the network",
        "Max rate within the SLO (shows search, sweep and objectives first)",
    )
    for index, (name, description) in enumerate(zip(names, descriptions, strict=True)):
        segment = QPushButton(name)
        segment.setCheckable(True)
        segment.setProperty("role", "segment")
        segment.setAccessibleName(name.replace("&", ""))
        segment.setAccessibleDescription(description)
        segment.setToolTip(description)
        group.addButton(segment, index)
    return group


class EmptyRun(QWidget):
    def __init__(self, profile_actions: ProfileActions, open_sample: Callable[[], object]) -> None:
        super().__init__()
        self.sample_button = button("Use &sample", open_sample, primary=True)
        buttons = QWidget()
        flow = FlowLayout(buttons)
        for widget in (
            self.sample_button,
            button("Create &endpoint profile", profile_actions.create_endpoint_profile),
            button("Create &local model profile", profile_actions.create_local_profile),
            button("Create scripted s&erver profile", profile_actions.create_scripted_profile),
            button("&Open…", profile_actions.choose_profile),
        ):
            flow.addWidget(widget)
        text = (
            "A profile defines the target, the load and the SLO. The sample benchmarks a small model on this machine. "
            "You can also drop an .onnx file or a profile here."
        )
        panel = card(label("New profile", "title"), label(text, wrap=True), buttons)
        vbox((panel, 0, Qt.AlignmentFlag.AlignTop), 1, within=self, margins=None)
