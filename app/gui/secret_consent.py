"""The question before a profile's secrets are sent to a host for the first time, as the command line asks it."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtWidgets import QMessageBox, QWidget

from app.storage.allowed_secrets import AllowedSecrets, allow


def may_send(parent: QWidget, wanted: Iterable[AllowedSecrets]) -> bool:
    """Ask for each, remember every yes, and return whether all are allowed."""
    return all(_is_allowed(parent, one) for one in wanted)


def _is_allowed(parent: QWidget, wanted: AllowedSecrets) -> bool:
    secrets = ", ".join(wanted.references)
    question = f"Profile {wanted.profile} sends {secrets} to {wanted.host}. Allow it for this profile from now on?"
    answer = QMessageBox.question(parent, "Send secrets", question)
    if answer == QMessageBox.StandardButton.Yes:
        allow(wanted)
    return answer == QMessageBox.StandardButton.Yes
