"""Presenter of the Run page: validation of the profile, the run to start, and the draft of unsaved
changes."""

from __future__ import annotations

import hashlib
import shlex
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from PySide6.QtCore import QCoreApplication, QObject, QTimer, Signal

from app.gui.background import LatestRunner
from app.gui.navigation import Launch, Navigation
from app.gui.run import drafts
from app.gui.run.document import ProfileDocument
from app.gui.run.validation import ProfileIssue, ValidationResult, apply_suggestion, display_protocol, validate_profile
from app.profiles.bundled import bundled_profiles
from app.profiles.document import KeyPath, read_document
from app.profiles.editing import format_profile, rewrite
from app.profiles.redaction import make_paths_absolute, redact_profile
from app.profiles.templates import ENDPOINT_TEMPLATE, adapt_to_url, convert_profile, list_default_objectives
from app.storage.allowed_secrets import AllowedSecrets, is_allowed
from app.storage.run_directory import new_run_id, runs_home, write_atomically
from app.wiring.secret_consent import remember_own_files

_VALIDATION_DELAY_MS = 200
_DRAFT_INTERVAL_MS = 10_000
_MAX_DRAFTS = 50
URL_PATH: KeyPath = ("target", "url")
ENDPOINT_NAME = "endpoint"


class RunPageState(msgspec.Struct, frozen=True):
    """State of the Run page. `blocked_reason` is the reason why the profile cannot be started, or
    empty if the profile can be started."""

    protocol: str
    title: str
    is_saved: bool
    is_checked: bool
    issues: tuple[ProfileIssue, ...]
    blocked_reason: str


class RunPresenter(QObject):
    changed = Signal(object)
    """Signal that is emitted with the new RunPageState after each change."""

    def __init__(self, navigation: Navigation, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._navigation = navigation
        self.document = ProfileDocument(self)
        self._validation: ValidationResult | None = None
        self._latest_validation: LatestRunner[ValidationResult] = LatestRunner(
            self, self._on_validated, self._on_validation_error
        )
        self._validation_timer = QTimer(self, singleShot=True, interval=_VALIDATION_DELAY_MS)
        self._validation_timer.timeout.connect(self._validate)
        self._draft_timer = QTimer(self, interval=_DRAFT_INTERVAL_MS)
        self._draft_timer.timeout.connect(self.save_draft)
        self._draft_text: str | None = None
        self._suggested_slo: list[str] | None = None
        self._is_url_edited = False
        self.document.changed.connect(self._on_edit)
        self.document.opened.connect(self._forget_validation)
        application = QCoreApplication.instance()
        assert application is not None
        application.aboutToQuit.connect(self.save_draft)

    # State

    @property
    def display_path(self) -> Path:
        """Path that identifies the profile in error messages. Paths in the profile are relative to
        the directory of this path."""
        document = self.document
        return document.path or document.directory / f"{document.tree.get('name') or 'profile'}.yaml"

    def state(self) -> RunPageState:
        document, issues = self.document, self._list_issues()
        title = document.path.stem if document.path is not None else str(document.tree.get("name") or "New profile")
        is_checked = self._validation is not None and self._validation.text == document.text
        if issues:
            blocked_reason = f"The profile has {len(issues)} errors." if len(issues) > 1 else issues[0].text
        else:
            blocked_reason = self._get_unwritable_reason() if is_checked else "Checking the profile…"
        return RunPageState(
            display_protocol(document.tree), title, document.is_saved, is_checked, issues, blocked_reason
        )

    def _get_unwritable_reason(self) -> str:
        """Return the reason why the unsaved text must not be written to a file for the run, or an
        empty string if writing is allowed."""
        secret = self._validation.secret if self._validation is not None else None
        if secret is None or (self.document.is_saved and self.document.path is not None):
            return ""
        return (
            f"{secret} contains a plain-text secret. Replace it with env:NAME or file:PATH, or save the profile first."
        )

    def _list_issues(self) -> tuple[ProfileIssue, ...]:
        error = self.document.error
        if error is not None:
            return (ProfileIssue((), error.problem, error.hint, error.line),)
        return self._validation.issues if self._validation is not None else ()

    # Edits

    def apply_edit(self, path: KeyPath, value: object) -> None:
        """Apply an edit of the form. If the edit changes the protocol, the whole profile is
        converted."""
        if path == ("target", "protocol") and isinstance(value, str):
            self.convert_protocol(value)
        else:
            self.document.set_value(path, value)
            self._is_url_edited = self._is_url_edited or path == URL_PATH

    def convert_protocol(self, protocol: str) -> None:
        self._is_url_edited = False  # the choice of a protocol counts more than the URL
        title = f"Convert to {protocol}"
        self.document.set_tree(convert_profile(self._tree_with_default_slo(), protocol), title)

    def apply_suggested_slo(self, objectives: list[str]) -> None:
        """Set the suggested SLO. If the user does not edit it, it follows the protocol, as the
        default SLO does."""
        self._suggested_slo = objectives
        self.document.set_value(("slo",), objectives)

    def adopt_url(self) -> str | None:
        """Convert the profile to the API that the edited URL names, as one undo step. Return the new
        protocol, or `None` if the protocol is the same."""
        if not self._is_url_edited or self.document.error is not None:
            return None
        self._is_url_edited = False
        tree = self._tree_with_default_slo()
        adapted_tree = adapt_to_url(tree, _read_endpoint_template())
        if adapted_tree is None:
            return None
        previous_protocol = display_protocol(tree)
        self.document.set_tree(adapted_tree, "Recognize the API of the URL")
        protocol = display_protocol(adapted_tree)
        return protocol if protocol != previous_protocol else None

    def _tree_with_default_slo(self) -> dict[str, Any]:
        """Return the profile with the default SLO in place of a suggested SLO that the user has not
        edited."""
        tree = self.document.tree
        if self._suggested_slo is None or tree.get("slo") != self._suggested_slo:
            return tree
        return {**tree, "slo": list_default_objectives(display_protocol(tree))}

    def fix(self, issue: ProfileIssue) -> None:
        tree = apply_suggestion(self.document.tree, issue)
        if tree is not None:
            self.document.set_tree(tree, f"Change to {issue.suggestion}")

    # Validation

    def _on_edit(self) -> None:
        self._validation_timer.start()
        if not self._draft_timer.isActive():
            self._draft_timer.start()
        self.changed.emit(self.state())

    def _validate(self) -> None:
        text, path = self.document.text, self.display_path
        self._latest_validation.request(lambda: validate_profile(text, path))

    def _on_validated(self, validation: ValidationResult) -> None:
        self._validation = validation
        self.changed.emit(self.state())

    def _forget_validation(self) -> None:
        """Show no error of the previous profile while the opened profile is checked."""
        self._validation = None
        self.changed.emit(self.state())

    def _on_validation_error(self, error: Exception) -> None:
        self._navigation.notify_error(error)

    # Saving

    def save(self, path: Path) -> None:
        """Save the profile. If `path` is in another directory, relative paths in the profile become
        absolute. Raises OSError on failure."""
        document = self.document
        if path.parent.resolve() != document.directory.resolve() and document.error is None:
            document.set_tree(make_paths_absolute(document.tree, document.directory), "Move to another folder")
        write_atomically(path, document.text.encode())
        document.mark_saved(path)
        self._delete_draft()

    def save_draft(self) -> None:
        """Store unsaved changes on disk, so that a crash does not lose any changes. Secrets are
        removed from the stored text."""
        document = self.document
        if document.is_saved:
            self._delete_draft()
            self._draft_timer.stop()
        elif document.text != self._draft_text:
            text = redact_profile(document.text)
            if text is None:  # the YAML is incomplete, so the previous draft is preserved
                return
            path = None if document.path is None else str(document.path)
            drafts.save_draft(drafts.Draft(text, path, str(document.directory)))
            self._draft_text = document.text

    def recover(self, draft: drafts.Draft) -> None:
        path = None if draft.path is None else Path(draft.path)
        self.document.open(draft.text, path, Path(draft.directory))
        self.document.mark_unsaved()

    def _delete_draft(self) -> None:
        if self._draft_text is not None:
            drafts.delete_draft()
            self._draft_text = None

    # Starting

    def source(self) -> str:
        """Return the profile argument of `sizewise run`: the name of a bundled profile, a file, or
        the file to which unsaved changes will be written."""
        document = self.document
        if not document.is_saved or document.path is None:
            return str(self._draft_file())
        name = next((name for name, path in bundled_profiles().items() if path == document.path), None)
        return name or str(document.path)

    def command_line(self) -> str:
        return shlex.join(("sizewise", "run", self.source()))

    def unapproved_secrets(self) -> tuple[AllowedSecrets, ...]:
        """Return the secrets that the run would send to hosts that are not allowed yet."""
        if self._validation is None or self.state().blocked_reason:
            return ()
        return tuple(secrets for secrets in self._validation.unapproved_secrets if not is_allowed(secrets))

    def launch(self) -> Launch | None:
        """Build the launch of a run of this profile. Return `None` if the profile is invalid or has
        not been validated yet."""
        if self.state().blocked_reason:
            return None
        name = (self._validation.name if self._validation else None) or "run"
        directory = runs_home() / new_run_id(name, datetime.now().astimezone())
        return Launch(("run", self.write_source()), directory, name)

    def write_source(self) -> str:
        """Write unsaved changes to the draft file if needed, and return the profile argument of
        `sizewise run`."""
        source = self.source()
        if source == str(self._draft_file()):
            document, file = self.document, self._draft_file()
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, _format_self_contained(document).encode())
            _delete_old_drafts(file.parent)
            # The draft is in another folder, so that its files are not in its own folder any more.
            remember_own_files(self._validation.own_files if self._validation is not None else ())
        return source

    def _draft_file(self) -> Path:
        """Return the path of the file for unsaved changes. The path depends on the text, so that a
        rerun finds the same profile."""
        document = self.document
        digest = hashlib.sha256(f"{document.directory}\n{document.text}".encode()).hexdigest()[:8]
        stem = "".join(
            character
            for character in str(document.tree.get("name") or "profile")
            if character.isalnum() or character in "-_"
        )
        return runs_home().parent / "drafts" / f"{stem[:40] or 'profile'}-{digest}.yaml"


def _read_endpoint_template() -> dict[str, Any]:
    tree = read_document(ENDPOINT_TEMPLATE.format(name=ENDPOINT_NAME).encode(), "the template").value
    assert isinstance(tree, dict)
    return tree


def _format_self_contained(document: ProfileDocument) -> str:
    """Return the text of the profile with relative paths made absolute, so that the profile works
    in any directory."""
    if document.error is not None:
        return document.text
    return rewrite(document.text, make_paths_absolute(document.tree, document.directory)).text or format_profile(
        document.tree
    )


def _delete_old_drafts(directory: Path) -> None:
    files = sorted(directory.glob("*.yaml"), key=lambda file: file.stat().st_mtime)
    for file in files[:-_MAX_DRAFTS]:
        file.unlink(missing_ok=True)
