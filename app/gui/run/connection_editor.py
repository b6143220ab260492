"""Connection test: one request to the target, sent by a separate process, and its result."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import msgspec
from PySide6.QtCore import Qt

from app.errors import SizewiseError
from app.gui.engine.launch import ERROR_JSON
from app.gui.navigation import Notice
from app.gui.run.command import Command
from app.gui.run.rows import Rows
from app.gui.run.seam import Document, Editor, folder_of, tree_of
from app.gui.run.trial_view import error_notice, trial_notice, trial_rows
from app.gui.secret_consent import may_send
from app.gui.strip import Strip
from app.gui.widgets import Badge, button, card, hbox, label, vbox
from app.profiles.loading import load_profile_text
from app.records.trial import Trial
from app.storage.allowed_secrets import AllowedSecrets
from app.wiring.secret_consent import secrets_to_allow
from loadgen.decoding import decode_json


class ConnectionEditor(Editor):
    """Connection test. It changes no values. Its result is cleared when the target or the workload changes."""

    def __init__(self) -> None:
        super().__init__()
        self._document: Document | None = None
        self._tested: tuple[object, ...] | None = None
        self.command = Command(self)
        self.command.ended.connect(self._show_result)
        self.strip = Strip()
        self.test = button("&Test connection", self.try_it)
        self.test.setToolTip("Sends one request as the run would: sizewise profiles try")
        self.stop = button("St&op the test", self._stop)
        self.badge = Badge()
        self.said = label("One request, as the run would send it. Secrets stay where they are.", "muted", wrap=True)
        self.rows = Rows("What the target answered")
        self._card = card(self.rows)
        line = hbox(self.test, self.stop, (self.badge, 0, Qt.AlignmentFlag.AlignVCenter), (self.said, 1))
        vbox(self.strip, line, self._card, 0, within=self)
        self._clear_result()

    def is_for(self, protocol: str | None) -> bool:
        return protocol != "local"

    def show_contents(self, document: Document) -> None:
        self._document = document
        tested = copy.deepcopy((document.value("target"), document.value("workload"), document.path))
        if tested != self._tested:
            self._tested = tested
            self.command.stop()
            self._clear_result()
        self.test.setEnabled(bool(document.value("target")))

    def try_it(self) -> None:
        if self._document is None:
            return
        self._clear_result()
        profile = json.dumps(tree_of(self._document), ensure_ascii=False).encode()  # JSON is also valid YAML
        folder = folder_of(self._document)
        if not may_send(self, _secrets_to_allow(profile, folder)):
            self.said.setText("No request was sent.")
            return
        self.said.setText("Sending one request…")
        self.stop.show()
        self.test.setEnabled(False)
        self.command.start(("profiles", "try", "-", "--json", ERROR_JSON), profile, folder)

    def _clear_result(self) -> None:
        self.strip.hide()
        self._card.hide()
        self.stop.hide()
        self.badge.say("")
        self.rows.show_rows(())
        self.said.setText("One request, as the run would send it. Secrets stay where they are.")
        self.test.setEnabled(True)

    def _stop(self) -> None:
        self.command.stop()
        self._clear_result()
        self.strip.say(Notice("news", "The test was stopped."))

    def _show_result(self, code: int, out: bytes, errors: bytes) -> None:
        self.stop.hide()
        self.test.setEnabled(True)
        try:
            trial = decode_json(out, Trial)
        except msgspec.DecodeError:
            self.said.setText("")
            self.strip.say(error_notice(code, errors))
            return
        notice = trial_notice(trial)
        self.badge.say(_BADGES[notice.severity], notice.what)
        self.said.setText(notice.what if trial.problem is None else "")
        if trial.problem is not None:
            self.strip.say(notice)
        self.rows.show_rows(trial_rows(trial))
        self._card.setVisible(trial.status is not None or bool(trial.answer_headers))


def _secrets_to_allow(profile: bytes, folder: Path) -> tuple[AllowedSecrets, ...]:
    """Return the secrets that need permission; none if the profile is invalid, since the command reports that."""
    try:
        return secrets_to_allow(load_profile_text(profile, folder / "profile.yaml"))
    except SizewiseError:
        return ()


_BADGES = {"news": "PASS", "warning": "WARN", "error": "FAIL"}
