"""Connection test: sends a single request to the target from a separate process, and shows the
result."""

from __future__ import annotations

import copy
import json

import msgspec
from PySide6.QtCore import Qt, Signal

from app.errors import ProfileError, SizewiseError
from app.gui.engine.launch import ERROR_JSON
from app.gui.formatting import sentence
from app.gui.message_strip import MessageStrip
from app.gui.navigation import Notice
from app.gui.run.command import CommandRunner
from app.gui.run.editor_interface import EditedProfile, SpecialEditor, base_directory, copy_tree, find_protocol
from app.gui.run.rows import Rows
from app.gui.run.trial_view import (
    SloSuggestion,
    build_result_notice,
    build_result_rows,
    build_trial_error_notice,
    format_served_models,
    format_suggestion,
    suggest_slo,
)
from app.gui.secret_consent import confirm_secrets
from app.gui.widgets import Badge, button, card, hbox, label, vbox
from app.profiles.loading import load_profile_text
from app.profiles.templates import has_default_slo, list_default_objectives
from app.records.trial import ConnectionTest
from app.wiring.secret_consent import find_secrets_to_allow
from loadgen.decoding import decode_json


class ConnectionTestPanel(SpecialEditor):
    """Connection test of the target. The test enters the model that the server lists if the profile
    has the model name of a template, and suggests limits for an SLO that the user has not edited.
    The displayed result is cleared when the target or the workload changes."""

    test_requested = Signal()
    """Signal that is emitted before the test, so that the profile has what the user entered."""
    suggestion_applied = Signal(object)
    """Signal that is emitted with the suggested objectives (list of strings) when the user applies
    them."""

    def __init__(self) -> None:
        super().__init__()
        self._suggestion: SloSuggestion | None = None
        self._applied_slo: list[str] | None = None
        self._is_entering_model = False
        self._document: EditedProfile | None = None
        self._tested_inputs: tuple[object, ...] | None = None
        self.command_runner = CommandRunner(self)
        self.command_runner.finished.connect(self._show_result)
        self.strip = MessageStrip()
        self.test_button = button("&Test connection", self.run_test)
        self.test_button.setToolTip("Send one test request, as `sizewise profiles try` does.")
        self.stop_button = button("S&top test", self._stop)
        self.badge = Badge()
        self.status_label = label("The test sends one request with this configuration.", "muted", wrap=True)
        self.rows = Rows("Response of the target")
        self._card = card(self.rows)
        self.suggestion_strip = MessageStrip()
        self.suggestion_strip.action_triggered.connect(self._apply_suggestion)
        test_row = hbox(
            self.test_button, self.stop_button, (self.badge, 0, Qt.AlignmentFlag.AlignVCenter), (self.status_label, 1)
        )
        vbox(self.strip, test_row, self.suggestion_strip, self._card, 0, within=self)
        self._clear_result()

    def supports_protocol(self, protocol: str | None) -> bool:
        return protocol != "local"

    def show_contents(self, document: EditedProfile) -> None:
        self._document = document
        tested_inputs = copy.deepcopy((document.value("target"), document.value("workload"), document.path))
        if tested_inputs != self._tested_inputs:
            self._tested_inputs = tested_inputs
            if not self._is_entering_model:
                self.command_runner.stop()
                self._clear_result()
        self._show_suggestion()
        self.test_button.setEnabled(bool(document.value("target")))

    def run_test(self) -> None:
        self.test_requested.emit()
        if self._document is None:
            return
        self._clear_result()
        profile_json = json.dumps(copy_tree(self._document), ensure_ascii=False).encode()  # JSON is also valid YAML
        directory = base_directory(self._document)
        try:
            secrets_to_allow = find_secrets_to_allow(load_profile_text(profile_json, directory / "profile.yaml"))
        except ProfileError as error:
            self.status_label.setText("No request was sent.")
            self.strip.show_notice(Notice("error", sentence(error.problem), None, error.hint))
            return
        except SizewiseError:  # is reported by the command
            secrets_to_allow = ()
        if not confirm_secrets(self, secrets_to_allow):
            self.status_label.setText("No request was sent.")
            return
        self.status_label.setText("Sending test request…")
        self.stop_button.show()
        self.test_button.setEnabled(False)
        self.command_runner.start(("profiles", "try", "-", "--json", ERROR_JSON), profile_json, directory)

    def _clear_result(self) -> None:
        self.strip.hide()
        self._suggestion = None
        self.suggestion_strip.hide()
        self._card.hide()
        self.stop_button.hide()
        self.badge.show_verdict("")
        self.rows.show_rows(())
        self.status_label.setText("The test sends one request with this configuration.")
        self.test_button.setEnabled(True)

    def _stop(self) -> None:
        self.command_runner.stop()
        self._clear_result()
        self.strip.show_notice(Notice("news", "The test was stopped."))

    def _show_result(self, exit_code: int, stdout: bytes, stderr: bytes) -> None:
        self.stop_button.hide()
        self.test_button.setEnabled(True)
        try:
            result = decode_json(stdout, ConnectionTest)
        except msgspec.DecodeError:
            self.status_label.setText("")
            self.strip.show_notice(build_trial_error_notice(exit_code, stderr))
            return
        notice = build_result_notice(result)
        self.badge.show_verdict(_BADGE_TEXTS[notice.severity], notice.summary)
        self._enter_served_model(result)
        model_text = f" {format_served_models(result)}" if result.served_models else ""
        self.status_label.setText(f"{notice.summary}{model_text}" if result.problem is None else model_text.strip())
        if result.problem is not None:
            self.strip.show_notice(notice)
        self.rows.show_rows(build_result_rows(result))
        self._card.setVisible(result.status is not None or bool(result.response_headers))
        protocol = None if self._document is None else find_protocol(self._document)
        self._suggestion = suggest_slo(result, list_default_objectives(protocol or "http"))
        self._show_suggestion()

    def _enter_served_model(self, result: ConnectionTest) -> None:
        if not result.served_models:
            return
        self._is_entering_model = True
        self.edited.emit("target.model", result.model)
        self._is_entering_model = False

    def _show_suggestion(self) -> None:
        suggestion, document = self._suggestion, self._document
        if suggestion is None or document is None:
            return
        if document.value("slo") == list(suggestion.objectives):
            self.suggestion_strip.hide()
            return
        is_slo_edited = not has_default_slo(copy_tree(document)) and document.value("slo") != self._applied_slo
        text = format_suggestion(suggestion, is_slo_edited=is_slo_edited)
        self.suggestion_strip.show_notice(Notice("news", text), None if is_slo_edited else "Use suggested SLO")

    def _apply_suggestion(self) -> None:
        if self._suggestion is not None:
            self._applied_slo = list(self._suggestion.objectives)
            self.suggestion_applied.emit(list(self._suggestion.objectives))


_BADGE_TEXTS = {"news": "PASS", "warning": "WARN", "error": "FAIL"}
