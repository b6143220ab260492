"""Header of the Run page with the current profile, the view selector and the actions, and the empty
state of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QMenu, QPushButton, QSizePolicy, QWidget

from app.gui.flow import FlowLayout
from app.gui.forms.form import View
from app.gui.run.chooser import Chooser, ProfileActions
from app.gui.widgets import Badge, button, card, hbox, label, tool_button, tool_tip_text, vbox

_VIEWS: tuple[View, ...] = get_args(View)


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
        self.state_badge = Badge()
        self.start_button = button("Start (F5)", self.start_requested.emit, primary=True)
        title_row = hbox(chooser, self.state_badge, 1, self.start_button)
        self.view_buttons = _create_view_buttons()
        self.view_buttons.idClicked.connect(self._select_view)
        segments = QWidget()
        hbox(*self.view_buttons.buttons(), within=segments, spacing=0)
        self.yaml_button = QPushButton("Show &YAML")
        self.yaml_button.setCheckable(True)
        self.yaml_button.setAccessibleName("Show YAML")
        self.yaml_button.toggled.connect(self.source_toggled)
        self.copy_button = button("&Copy as command", self.copy_requested.emit)
        self.save_button = button("Save", self.save_requested.emit)
        self.save_as_button = button("Save &as…", self.save_as_requested.emit)
        self.ci_button = tool_button("Export CI &job", menu=self._create_ci_menu())
        action_bar = QWidget()
        flow_layout = FlowLayout(action_bar)
        for widget in (
            segments,
            self.yaml_button,
            self.copy_button,
            self.save_button,
            self.save_as_button,
            self.ci_button,
        ):
            flow_layout.addWidget(widget)
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        policy.setHeightForWidth(True)
        action_bar.setSizePolicy(policy)
        vbox(title_row, action_bar, within=self)

    def show_view(self, view: View) -> None:
        self.view_buttons.button(_VIEWS.index(view)).setChecked(True)

    def set_start_state(self, blocked_reason: str) -> None:
        """Enable the start button if `blocked_reason` is empty. Otherwise disable the button, with
        the reason as its tooltip and accessible description."""
        self.start_button.setEnabled(not blocked_reason)
        self.start_button.setToolTip(tool_tip_text(blocked_reason) or "Start the run in the background")
        self.start_button.setAccessibleDescription(blocked_reason)

    def _select_view(self, index: int) -> None:
        self.view_selected.emit(_VIEWS[index])

    def _create_ci_menu(self) -> QMenu:
        menu = QMenu(self)
        menu.addAction("&GitHub Actions…", self._request_github)
        menu.addAction("Git&Lab…", self._request_gitlab)
        return menu

    def _request_github(self) -> None:
        self.ci_requested.emit("github")

    def _request_gitlab(self) -> None:
        self.ci_requested.emit("gitlab")


def _create_view_buttons() -> QButtonGroup:
    group = QButtonGroup()
    names = ("&Local model", "En&dpoint", "Ma&x rate")
    descriptions = (
        "Model that runs on this machine",
        "Service that is load-tested over the network",
        "Search for the max rate within the SLO (shows the load and the objectives first)",
    )
    for index, (name, description) in enumerate(zip(names, descriptions, strict=True)):
        view_button = QPushButton(name)
        view_button.setCheckable(True)
        view_button.setProperty("role", "segment")
        view_button.setAccessibleName(name.replace("&", ""))
        view_button.setAccessibleDescription(description)
        view_button.setToolTip(description)
        group.addButton(view_button, index)
    return group


class EmptyRun(QWidget):
    def __init__(self, profile_actions: ProfileActions, open_sample: Callable[[], object]) -> None:
        super().__init__()
        self.sample_button = button("Use &sample", open_sample, primary=True)
        button_panel = QWidget()
        flow_layout = FlowLayout(button_panel)
        for widget in (
            self.sample_button,
            button("Create e&ndpoint profile", profile_actions.create_endpoint_profile),
            button("Create Open&AI profile", profile_actions.create_openai_profile),
            button("Create &local model profile", profile_actions.create_local_profile),
            button("Create scripte&d server profile", profile_actions.create_scripted_profile),
            button("&Open…", profile_actions.choose_profile),
        ):
            flow_layout.addWidget(widget)
        text = (
            "A profile defines the target, the load and the SLO. The sample benchmarks a small model on this machine. "
            "You can also drop an .onnx or .gguf file, the folder of a language model, or a profile here."
        )
        panel = card(label("New profile", "title"), label(text, wrap=True), button_panel)
        vbox((panel, 0, Qt.AlignmentFlag.AlignTop), 1, within=self, margins=None)
