"""What the Run page knows: whether the profile is right, what Start would run, and what is kept of unsaved edits."""

from __future__ import annotations

import hashlib
import shlex
from datetime import datetime
from pathlib import Path

import msgspec
from PySide6.QtCore import QCoreApplication, QObject, QTimer, Signal

from app.gui.background import Latest
from app.gui.navigation import Launch, Navigation
from app.gui.run import drafts
from app.gui.run.checking import Checked, Wrong, check, protocol_to_show, without
from app.gui.run.document import ProfileDocument
from app.profiles.beginnings import converted
from app.profiles.bundled import bundled_profiles
from app.profiles.document import KeyPath
from app.profiles.editing import as_text, rewritten
from app.profiles.redaction import redacted, relocated
from app.storage.allowed_secrets import AllowedSecrets, is_allowed
from app.storage.run_directory import new_run_id, runs_home, write_whole

_CHECK_AFTER_MS = 200
_KEEP_EVERY_MS = 10_000
_MOST_DRAFTS = 50


class State(msgspec.Struct, frozen=True):
    """`why_not` says why it cannot be started, and is empty where it can."""

    protocol: str
    title: str
    is_saved: bool
    is_checked: bool
    wrong: tuple[Wrong, ...]
    why_not: str


class RunPresenter(QObject):
    changed = Signal(object)
    """A State."""

    def __init__(self, navigation: Navigation, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._navigation = navigation
        self.document = ProfileDocument(self)
        self._checked: Checked | None = None
        self._checker: Latest[Checked] = Latest(self, self._take, self._fail)
        self._check_soon = QTimer(self, singleShot=True, interval=_CHECK_AFTER_MS)
        self._check_soon.timeout.connect(self._check)
        self._keep_often = QTimer(self, interval=_KEEP_EVERY_MS)
        self._keep_often.timeout.connect(self.keep)
        self._kept_text: str | None = None
        self.document.changed.connect(self._edited)
        application = QCoreApplication.instance()
        assert application is not None
        application.aboutToQuit.connect(self.keep)

    # what it is

    @property
    def place(self) -> Path:
        """What errors name the profile by, in the folder its paths are relative to."""
        document = self.document
        return document.path or document.directory / f"{document.tree.get('name') or 'profile'}.yaml"

    def state(self) -> State:
        document, wrong = self.document, self._wrong()
        title = document.path.stem if document.path is not None else str(document.tree.get("name") or "New profile")
        is_checked = self._checked is not None and self._checked.text == document.text
        if wrong:
            why_not = f"{len(wrong)} things are wrong" if len(wrong) > 1 else wrong[0].text
        else:
            why_not = self._unwritable() if is_checked else "The profile is being checked."
        return State(protocol_to_show(document.tree), title, document.is_saved, is_checked, wrong, why_not)

    def _unwritable(self) -> str:
        """Why its unsaved text cannot be written for the engine to read; empty where it can."""
        secret = self._checked.secret if self._checked is not None else None
        if secret is None or (self.document.is_saved and self.document.path is not None):
            return ""
        return (
            f"{secret} holds a secret, which is written nowhere unasked: give it as env:NAME or file:PATH, or save the "
            "profile."
        )

    def _wrong(self) -> tuple[Wrong, ...]:
        error = self.document.error
        if error is not None:
            return (Wrong((), error.problem, error.hint, error.line),)
        return self._checked.wrong if self._checked is not None else ()

    # editing

    def take(self, path: KeyPath, value: object) -> None:
        """An edit of the form. Another protocol turns the whole profile into one of its kind."""
        if path == ("target", "protocol") and isinstance(value, str):
            self.turn_into(value)
        else:
            self.document.set_value(path, value)

    def turn_into(self, protocol: str) -> None:
        what = f"Turn into {protocol}"
        self.document.set_tree(converted(self.document.tree, protocol), what)

    def mend(self, wrong: Wrong) -> None:
        tree = without(self.document.tree, wrong)
        if tree is not None:
            self.document.set_tree(tree, f"Write {wrong.instead}")

    # checking

    def _edited(self) -> None:
        self._check_soon.start()
        if not self._keep_often.isActive():
            self._keep_often.start()
        self.changed.emit(self.state())

    def _check(self) -> None:
        text, place = self.document.text, self.place
        self._checker.ask(lambda: check(text, place))

    def _take(self, checked: Checked) -> None:
        self._checked = checked
        self.changed.emit(self.state())

    def _fail(self, error: Exception) -> None:
        self._navigation.tell_error(error)

    # saving

    def save(self, path: Path) -> None:
        """Raises OSError. In another folder paths in it lead where they led."""
        document = self.document
        if path.parent.resolve() != document.directory.resolve() and document.error is None:
            document.set_tree(relocated(document.tree, document.directory), "Move to another folder")
        write_whole(path, document.text.encode())
        document.mark_saved(path)
        self._forget_draft()

    def keep(self) -> None:
        """What is unsaved, on the disk, so that nothing is lost when the window is; but for secrets."""
        document = self.document
        if document.is_saved:
            self._forget_draft()
            self._keep_often.stop()
        elif document.text != self._kept_text:
            text = redacted(document.text)
            if text is None:  # half-typed YAML: what was kept of it before is kept on
                return
            path = None if document.path is None else str(document.path)
            drafts.keep(drafts.Draft(text, path, str(document.directory)))
            self._kept_text = document.text

    def recover(self, draft: drafts.Draft) -> None:
        path = None if draft.path is None else Path(draft.path)
        self.document.open(draft.text, path, Path(draft.directory))
        self.document.mark_unsaved()

    def _forget_draft(self) -> None:
        if self._kept_text is not None:
            drafts.forget()
            self._kept_text = None

    # starting

    def source(self) -> str:
        """What `sizewise run` is given: a bundled name, a file, or the file that unsaved edits are written to."""
        document = self.document
        if not document.is_saved or document.path is None:
            return str(self._draft_file())
        name = next((name for name, path in bundled_profiles().items() if path == document.path), None)
        return name or str(document.path)

    def command_line(self) -> str:
        return shlex.join(("sizewise", "run", self.source()))

    def to_allow(self) -> tuple[AllowedSecrets, ...]:
        """Secrets that the run would send to hosts that nobody has allowed yet."""
        if self._checked is None or self.state().why_not:
            return ()
        return tuple(one for one in self._checked.to_allow if not is_allowed(one))

    def launch(self) -> Launch | None:
        """Of a run of the profile; None where that is wrong, or not checked yet."""
        if self.state().why_not:
            return None
        name = (self._checked.name if self._checked else None) or "run"
        directory = runs_home() / new_run_id(name, datetime.now().astimezone())
        return Launch(("run", self.write_source()), directory, name)

    def write_source(self) -> str:
        """As `source`, and it is there."""
        source = self.source()
        if source == str(self._draft_file()):
            document, file = self.document, self._draft_file()
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, _standing_alone(document).encode())
            _keep_newest(file.parent)
        return source

    def _draft_file(self) -> Path:
        """The same text is the same file, so that a run started again finds what it was started with."""
        document = self.document
        digest = hashlib.sha256(f"{document.directory}\n{document.text}".encode()).hexdigest()[:8]
        word = "".join(
            letter for letter in str(document.tree.get("name") or "profile") if letter.isalnum() or letter in "-_"
        )
        return runs_home().parent / "drafts" / f"{word[:40] or 'profile'}-{digest}.yaml"


def _standing_alone(document: ProfileDocument) -> str:
    """Its text, for any folder."""
    if document.error is not None:
        return document.text
    return rewritten(document.text, relocated(document.tree, document.directory)).text or as_text(document.tree)


def _keep_newest(folder: Path) -> None:
    files = sorted(folder.glob("*.yaml"), key=lambda file: file.stat().st_mtime)
    for file in files[:-_MOST_DRAFTS]:
        file.unlink(missing_ok=True)
