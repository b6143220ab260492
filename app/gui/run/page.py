"""Run page: a profile as a form beside its YAML, with the start button."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, Qt, QTimer
from PySide6.QtGui import QGuiApplication, QResizeEvent, QUndoStack
from PySide6.QtWidgets import QApplication, QFileDialog, QLineEdit, QSplitter, QVBoxLayout, QWidget

from app.errors import ProfileError, SizewiseError
from app.gui.formatting import sentence, with_full_stop
from app.gui.forms.arrangement import display_choice, display_path
from app.gui.forms.form import Problem, ProfileForm, View
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Navigation, Notice, PageKey
from app.gui.page import Page
from app.gui.run import drafts
from app.gui.run.chooser import Chooser, ProfileActions, add_recent_file, describe_bundled_profiles
from app.gui.run.editor_interface import SpecialEditor, as_list
from app.gui.run.header import EmptyRun, RunHeader
from app.gui.run.presenter import ENDPOINT_NAME, URL_PATH, RunPageState, RunPresenter
from app.gui.run.search_view import DEFAULTS as SEARCH_DEFAULTS
from app.gui.run.source_view import SourceView
from app.gui.run.validation import ProfileIssue
from app.gui.secret_consent import confirm_secrets
from app.gui.settings import open_settings
from app.gui.slo_editor import LimitsEditor
from app.gui.theme import GAP, PAGE_MARGINS, ThemeController
from app.gui.widgets import restyle, stacked_widget, vbox
from app.profiles import templates
from app.profiles.bundled import bundled_profiles
from app.profiles.ci_job import PIPELINES, describe_missing_package, write_ci_job
from app.profiles.document import KeyPath, read_text

_SAMPLE = "quickstart"
_YAML_VISIBLE_KEY = "run/yaml"
_INITIAL_WIDTHS_PX = (560, 400)
_STRETCH_FACTORS = (3, 2)
_MIN_LINES_WITH_TILES = 36
_MAX_HEIGHT_PX = 10_000
"""Requested height of the form above a preview without YAML, which gets its least height."""
_CLICK_INTERVAL_MS = 50
"""Interval, in ms, at which the page checks whether the mouse button is released that moved the
focus. Until then, no field may move away from under the pointer."""
_FORM_PADDING_PX, _MIN_YAML_CHARACTERS = 60, 44


class RunPage(Page):
    key: PageKey = "run"

    def __init__(self, navigation: Navigation, theme_controller: ThemeController) -> None:
        super().__init__(navigation, theme_controller)
        self.presenter = RunPresenter(navigation, self)
        profile_actions = ProfileActions(
            self.open_profile,
            self.choose_profile,
            self.create_endpoint_profile,
            self.create_openai_profile,
            self.create_local_profile,
            self.create_scripted_profile,
        )
        self.header = RunHeader(Chooser(profile_actions, describe_bundled_profiles))
        self.error_strip, self.recovery_strip, self.notice_strip = MessageStrip(), MessageStrip(), MessageStrip()
        self.form, self.source = ProfileForm(), SourceView(theme_controller)
        self.limits_editor = LimitsEditor()
        self.empty_state = EmptyRun(profile_actions, self.open_sample)
        self._side_panel = _build_column(self.source)
        self._special_editors: dict[str, Any] = dict(create_special_editors(theme_controller))
        self._state: RunPageState | None = None
        self._draft: drafts.Draft | None = None
        self._has_checked_drafts = False
        self._offered_conversion = ""
        self._undo_index: int | None = None
        """Position in the undo stack of the change whose undo the notice offers."""
        self._starts_when_checked = False
        self._has_only_preview = False
        self._url_timer = QTimer(self, singleShot=True, interval=_CLICK_INTERVAL_MS)
        self._url_timer.timeout.connect(self._adopt_url_after_click)
        self._build_layout()
        self._connect()

    def _build_layout(self) -> None:
        self.splitter = QSplitter(Qt.Orientation.Horizontal)
        self.splitter.addWidget(self.form)
        self.splitter.addWidget(self._side_panel)
        self.splitter.setSizes(list(_INITIAL_WIDTHS_PX))
        for index, factor in enumerate(_STRETCH_FACTORS):
            self.splitter.setStretchFactor(index, factor)
        self.splitter.setChildrenCollapsible(False)
        self.splitter.setHandleWidth(12)
        editing_panel = _build_column(self.header, self.error_strip, self.notice_strip, self.splitter)
        self._stack = stacked_widget(self.empty_state, editing_panel)
        self.setContentsMargins(*PAGE_MARGINS)
        vbox(self.recovery_strip, (self._stack, 1), within=self)
        for key, editor in self._special_editors.items():
            if key == "preview":
                self._get_side_panel_layout().insertWidget(0, editor)
            else:
                self.form.place_editor(key, editor)
        self.form.place_editor("slo", self.limits_editor)

    def _get_side_panel_layout(self) -> QVBoxLayout:
        layout = self._side_panel.layout()
        assert isinstance(layout, QVBoxLayout)
        return layout

    def _connect(self) -> None:
        document, header = self.presenter.document, self.header
        self.form.edits.edited.connect(self.presenter.apply_edit)
        self.form.edits.finished.connect(self._on_field_finished)
        self.source.edited.connect(document.set_text)
        self.presenter.changed.connect(self._show_state)
        document.comments_lost.connect(self._warn_comments_lost)
        document.opened.connect(self._on_opened)
        document.undo_stack.indexChanged.connect(self._withdraw_undo)
        for editor in self._special_editors.values():
            editor.edited.connect(document.set_dotted_value)
        self.limits_editor.edited.connect(partial(document.set_dotted_value, "slo"))
        connection_test = self._special_editors["target.url"]
        connection_test.test_requested.connect(self.adopt_url)
        connection_test.suggestion_applied.connect(self.presenter.apply_suggested_slo)
        header.view_selected.connect(self._select_view)
        header.source_toggled.connect(self._show_source)
        header.copy_requested.connect(self.copy_command)
        header.save_requested.connect(self.save)
        header.save_as_requested.connect(self.choose_save_path)
        header.ci_requested.connect(self._choose_ci_folder)
        header.start_requested.connect(self.start)
        self.error_strip.action_triggered.connect(self._resolve_first_issue)
        self.recovery_strip.action_triggered.connect(self._recover)
        self.notice_strip.action_triggered.connect(self._apply_offer)
        header.yaml_button.setChecked(str(open_settings().value(_YAML_VISIBLE_KEY, "false")) == "true")
        self.source.setVisible(header.yaml_button.isChecked())

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._update_orientation()

    def changeEvent(self, event: QEvent) -> None:
        super().changeEvent(event)
        if event.type() == QEvent.Type.FontChange:
            self._update_orientation()

    def _update_orientation(self) -> None:
        """Place the form above the preview and the YAML if the page is too narrow to show both side
        by side. Without the YAML, the form gets all the height that the preview does not need."""
        form_width_px = self.form.content_min_width() + _FORM_PADDING_PX
        is_wide = (
            self.contentsRect().width() > form_width_px + _MIN_YAML_CHARACTERS * self.fontMetrics().averageCharWidth()
        )
        is_low = self.height() < _MIN_LINES_WITH_TILES * self.fontMetrics().lineSpacing()
        self._special_editors["preview"].set_compact(is_low and not is_wide)
        orientation = Qt.Orientation.Horizontal if is_wide else Qt.Orientation.Vertical
        has_only_preview = not is_wide and not self.header.yaml_button.isChecked()
        if (orientation, has_only_preview) == (self.splitter.orientation(), self._has_only_preview):
            return
        self._has_only_preview = has_only_preview
        self.splitter.setOrientation(orientation)
        for index, factor in enumerate((1, 0) if has_only_preview else _STRETCH_FACTORS):
            self.splitter.setStretchFactor(index, factor)
        self.splitter.setSizes([_MAX_HEIGHT_PX, 1] if has_only_preview else list(_INITIAL_WIDTHS_PX))

    # Opening

    def enter(self) -> None:
        if not self._has_checked_drafts:
            self._has_checked_drafts = True
            self._offer_draft()
        if self._stack.currentIndex() == 0:
            self.empty_state.sample_button.setFocus()

    def leave(self) -> None:
        self.presenter.save_draft()

    @property
    def has_unsaved_changes(self) -> bool:
        return self._stack.currentIndex() == 1 and not self.presenter.document.is_saved

    def open_profile(self, path: Path) -> None:
        try:
            text = read_text(path)
        except ProfileError as error:
            self.navigation.notify_error(error)
            return
        self._open(text, path.absolute())
        if path not in bundled_profiles().values():
            add_recent_file(open_settings(), path.absolute())

    def open_model(self, path: Path) -> None:
        self._open(templates.format_local_profile(path.absolute()), None)

    def choose_profile(self) -> None:
        file_name, _ = QFileDialog.getOpenFileName(self, "Open profile", "", "YAML (*.yaml *.yml)")
        if file_name:
            self.open_profile(Path(file_name))

    def open_sample(self) -> None:
        self.open_profile(bundled_profiles()[_SAMPLE])

    def create_endpoint_profile(self) -> None:
        self._open(templates.ENDPOINT_TEMPLATE.format(name=ENDPOINT_NAME), None)
        self._select_url()

    def create_openai_profile(self) -> None:
        self._open(templates.OPENAI_TEMPLATE.format(name=ENDPOINT_NAME), None)
        self._select_url()

    def _select_url(self) -> None:
        """Select the example URL, so that the user can type or paste another URL at once."""
        self.form.reveal(URL_PATH)
        self.form.find_part(URL_PATH).editor.line.selectAll()

    def create_local_profile(self) -> None:
        self._open(templates.LOCAL_TEMPLATE.format(name="local-model", model="digits"), None)

    def create_scripted_profile(self) -> None:
        self._open(templates.SCRIPTED_TEMPLATE.format(name="scripted"), None)

    def _open(self, text: str, path: Path | None) -> None:
        """Open a profile. Unsaved changes of the previous profile are stored as a draft and can be
        recovered."""
        if self.has_unsaved_changes:
            self.presenter.save_draft()
            self._draft = drafts.load_draft()
            self._show_draft("The previous profile had unsaved changes.")
        self.presenter.document.open(text, path)

    def _on_opened(self) -> None:
        self._starts_when_checked = False
        self._stack.setCurrentIndex(1)
        self.notice_strip.hide()
        is_local = self.presenter.state().protocol == "local"
        view: View = "local" if is_local else "max_rate" if self._is_search_only() else "endpoint"
        self.form.set_view(view)
        self.header.show_view(view)

    def _is_search_only(self) -> bool:
        load = self.presenter.document.tree.get("load")
        return isinstance(load, dict) and "search" in load and not load.get("stages")

    # Display

    def _show_state(self, state: RunPageState) -> None:
        document = self.presenter.document
        self._state = state
        self.form.edits.directory = document.directory
        self._hide_fields(state.protocol)
        self.form.setEnabled(document.error is None)
        self.form.show_tree(document.tree, state.protocol)
        self.source.show_text(document.text)
        for editor in self._special_editors.values():
            editor.show_document(document)
        slo = [str(objective) for objective in as_list(document.value("slo"))]
        self.limits_editor.show_slo(slo, templates.list_default_objectives(state.protocol))
        self.header.chooser.set_profile(state.title, state.is_saved)
        self.header.set_start_state(state.blocked_reason)
        self.header.save_button.setEnabled(not state.is_saved or document.path is None)
        self._show_errors(state)
        self._update_orientation()
        self._start_if_checked()

    def _hide_fields(self, protocol: str) -> None:
        """Hide the fields that a special editor replaces, and those of another kind of model."""
        editors: list[SpecialEditor] = [
            editor for editor in self._special_editors.values() if editor.supports_protocol(protocol)
        ]
        edits, document = self.form.edits, self.presenter.document
        edits.hidden_paths = frozenset[str]().union(*(editor.replaced_paths for editor in editors))
        edits.unused_paths = frozenset[str]().union(*(editor.find_unused_paths(document) for editor in editors))

    def _show_errors(self, state: RunPageState) -> None:
        self.form.show_problems(tuple(Problem(issue.path, _format_field_issue(issue)) for issue in state.issues))
        error_lines = tuple(issue.line for issue in state.issues if issue.line is not None)
        syntax_error = self.presenter.document.error
        self.source.show_errors(error_lines)
        state_text = "Has errors" if state.issues else "Checking…" if not state.is_checked else "No errors"
        self.header.state_badge.show_verdict(state_text, state.blocked_reason)
        restyle(self.header.state_badge, "bad" if state.issues else "good" if state.is_checked else "plain")
        if not state.issues:
            self.error_strip.hide()
            return
        first_issue = state.issues[0]
        remaining_count = len(state.issues) - 1
        next_step = (
            f"{remaining_count} more errors are listed below."
            if remaining_count > 1
            else "1 more error is listed below."
            if remaining_count
            else None
        )
        action = f"Change &to {first_issue.suggestion}" if first_issue.suggestion else "Sh&ow error"
        message = _format_issue_with_line(first_issue) if syntax_error is not None else _format_issue(first_issue)
        self.error_strip.show_notice(Notice("error", message, first_issue.hint, next_step), action)

    def _resolve_first_issue(self) -> None:
        issues = self._state.issues if self._state is not None else ()
        if not issues:
            return
        if issues[0].suggestion is not None:
            self.presenter.fix(issues[0])
        elif self.presenter.document.error is not None or not self.form.reveal(issues[0].path):
            self.header.yaml_button.setChecked(True)
            self.source.go_to_line(issues[0].line or 1)

    def _warn_comments_lost(self) -> None:
        message = "The YAML was rewritten and its comments were removed, because the change could not be made in place."
        self.notice_strip.show_notice(Notice("news", message, None, "Undo the change to restore them."))

    # URL

    def _on_field_finished(self, path: KeyPath) -> None:
        if path == URL_PATH:
            self._adopt_url_after_click()

    def _adopt_url_after_click(self) -> None:
        if QGuiApplication.mouseButtons() != Qt.MouseButton.NoButton:
            self._url_timer.start()
            return
        focus_widget = QApplication.focusWidget()
        had_focus = focus_widget is not None and self.form.isAncestorOf(focus_widget)
        if self.adopt_url() and had_focus:
            self.form.reveal(URL_PATH)

    def adopt_url(self) -> bool:
        """Convert the profile to the API that the URL names, if the user has edited the URL. Return
        whether the protocol has changed."""
        self._url_timer.stop()
        protocol = self.presenter.adopt_url()
        if protocol is None:
            return False
        message = f"The protocol is now {display_choice('protocol', protocol)}, because of the URL."
        self.notice_strip.show_notice(Notice("news", message), "Undo")
        self._undo_index = self.presenter.document.undo_stack.index()
        return True

    def _withdraw_undo(self, index: int) -> None:
        """Hide the offer to undo a change once it is no longer the last one."""
        if self._undo_index is not None and index != self._undo_index:
            self._undo_index = None
            self.notice_strip.hide()

    # Views

    def _select_view(self, view: View) -> None:
        self.form.set_view(view)
        self.notice_strip.hide()
        self._undo_index = None
        is_local = self.form.protocol == "local"
        if view == "local" and not is_local:
            self._offered_conversion = "local"
            message = "This is an endpoint profile."
            self.notice_strip.show_notice(Notice("news", message), "&Convert to local profile")
        elif view == "endpoint" and is_local:
            self._offered_conversion = "oip"
            message = "This is a local model profile."
            self.notice_strip.show_notice(Notice("news", message), "&Convert to endpoint profile")
        elif view == "max_rate" and not is_local and not self._has_search():
            self._offered_conversion = "search"
            message = "This profile runs fixed stages. Add a search to find the highest rate within the SLO."
            self.notice_strip.show_notice(Notice("news", message), "&Find max rate")

    def _has_search(self) -> bool:
        load = self.presenter.document.tree.get("load")
        return isinstance(load, dict) and ("search" in load or "sweep" in load)

    def _apply_offer(self) -> None:
        self.notice_strip.hide()
        if self._undo_index is not None:
            self.presenter.document.undo_stack.undo()
        elif self._offered_conversion == "search":
            self.presenter.document.set_value(("load", "search"), dict(SEARCH_DEFAULTS))
        elif self._offered_conversion:
            self.presenter.convert_protocol(self._offered_conversion)
        self._offered_conversion = ""

    def _show_source(self, is_visible: bool) -> None:
        self.source.setVisible(is_visible)
        self._update_orientation()
        open_settings().setValue(_YAML_VISIBLE_KEY, "true" if is_visible else "false")

    # Actions

    def start(self) -> bool:
        if self._stack.currentIndex() == 0:
            return False
        text = self.presenter.document.text
        self.adopt_url()
        if self.presenter.document.text != text:
            self.start_when_checked()
            return True
        launch = self.presenter.launch() if confirm_secrets(self, self.presenter.unapproved_secrets()) else None
        if launch is not None:
            self.navigation.launch_requested.emit(launch)
        elif self._state is not None and self._state.issues:
            self.form.reveal(self._state.issues[0].path)  # focusing the field does not fix the error
        return True

    def start_when_checked(self) -> None:
        """Start the opened profile as soon as it has been checked. If it has errors, show the first
        one instead."""
        self._starts_when_checked = True
        self._start_if_checked()

    def _start_if_checked(self) -> None:
        if self._starts_when_checked and self._state is not None and self._state.is_checked:
            self._starts_when_checked = False
            self.start()

    def command_line(self) -> str | None:
        return self.presenter.command_line() if self._stack.currentIndex() == 1 else None

    def copy_command(self) -> None:
        """Copy the command line to the clipboard. Unsaved changes are first written to the file
        that the command line names."""
        self.presenter.write_source()
        QGuiApplication.clipboard().setText(self.presenter.command_line())
        self.navigation.notify("news", f"Copied: {self.presenter.command_line()}")

    def save(self) -> None:
        path = self.presenter.document.path
        if path is None or path in bundled_profiles().values():
            self.choose_save_path()
        else:
            self.save_to(path)

    def choose_save_path(self) -> None:
        suggested_path = str(Path.cwd() / f"{self.presenter.document.tree.get('name') or 'profile'}.yaml")
        file_name, _ = QFileDialog.getSaveFileName(self, "Save profile", suggested_path, "YAML (*.yaml *.yml)")
        if file_name:
            self.save_to(Path(file_name))

    def save_to(self, path: Path) -> None:
        try:
            self.presenter.save(path)
        except OSError as error:
            self.navigation.notify("error", f"{path} cannot be written.", error.strerror)
            return
        add_recent_file(open_settings(), path.absolute())

    def filter_field(self) -> QLineEdit | None:
        return self.form.search

    def undo_stack(self) -> QUndoStack | None:
        return self.presenter.document.undo_stack

    def export(self) -> bool:
        if self._stack.currentIndex() == 0:
            return False
        QTimer.singleShot(0, self.header.ci_button, self.header.ci_button.showMenu)
        return True

    def _choose_ci_folder(self, pipeline: str) -> None:
        directory = QFileDialog.getExistingDirectory(self, "Choose the repository folder for the CI job")
        if directory:
            self.export_ci_job(pipeline, Path(directory))

    def export_ci_job(self, pipeline: str, directory: Path) -> None:
        """Export a CI job to a folder. Existing files are not overwritten."""
        pipeline_name = next(name for name in PIPELINES if name == pipeline)
        document = self.presenter.document
        try:
            paths = write_ci_job(pipeline_name, document.text, document.tree, document.directory, directory)
        except SizewiseError as error:
            self.navigation.notify_error(error)
            return
        names = ", ".join(str(path.relative_to(directory)) for path in paths)
        self.navigation.notify(
            "news", f"The CI job was exported as {names}.", describe_missing_package(None), "Commit both files."
        )

    # Drafts

    def _offer_draft(self) -> None:
        self._draft = drafts.load_draft()
        if self._draft is not None:
            self._show_draft("A profile with unsaved changes was recovered.")

    def _show_draft(self, message: str) -> None:
        if self._draft is not None:
            detail = self._draft.path or "It had not been saved to a file."
            self.recovery_strip.show_notice(Notice("news", message, detail), "&Restore")

    def _recover(self) -> None:
        self.recovery_strip.hide()
        if self._draft is not None:
            self.presenter.recover(self._draft)


def create_special_editors(theme_controller: ThemeController) -> dict[str, SpecialEditor]:
    """Create the special editors, by profile key. A special editor edits more than one field. In
    the form, an editor replaces or accompanies the field of its profile key."""
    from app.gui.run.connection_test_panel import ConnectionTestPanel
    from app.gui.run.lengths_editor import LengthsEditor
    from app.gui.run.load_kind import LoadKindEditor
    from app.gui.run.model_editor import ModelEditor
    from app.gui.run.preview import Preview
    from app.gui.run.search_editor import SearchEditor
    from app.gui.run.stages_editor import StagesEditor

    return {
        "target.model": ModelEditor(),
        "target.url": ConnectionTestPanel(),
        "load.sweep": LoadKindEditor(),
        "load.stages": StagesEditor(theme_controller),
        "load.search": SearchEditor(theme_controller),
        "workload.lengths": LengthsEditor(theme_controller),
        "preview": Preview(),
    }


def _build_column(*widgets: QWidget) -> QWidget:
    column = QWidget()
    vbox(*widgets[:-1], (widgets[-1], 1), within=column, spacing=GAP)
    return column


def _format_field_issue(issue: ProfileIssue) -> str:
    """Format an error for display beside its field. The key is omitted."""
    return f"✕ {sentence(issue.cause)} {issue.hint or ''}".strip()


def _format_issue_with_line(issue: ProfileIssue) -> str:
    text = _format_issue(issue)
    return text if issue.line is None else f"Line {issue.line}: {text}"


def _format_issue(issue: ProfileIssue) -> str:
    place = issue.key if issue.is_key else display_path(issue.path)
    return f"{place}: {with_full_stop(issue.cause)}" if issue.key and place else sentence(issue.cause)
