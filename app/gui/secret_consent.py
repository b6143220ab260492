"""Consent dialog that is shown before secrets and files of a profile are sent to a host for the first
time. The command line asks the same question."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtWidgets import QMessageBox, QWidget

from app.gui.widgets import tool_tip_text
from app.storage.allowed_secrets import AllowedSecrets, store_permission


def confirm_secrets(parent: QWidget, permissions: Iterable[AllowedSecrets]) -> bool:
    """Request each permission from the user, and store each one that is granted. Stop at the first
    refusal. Return whether all permissions were granted."""
    return all(_request_permission(parent, permission) for permission in permissions)


def _request_permission(parent: QWidget, permission: AllowedSecrets) -> bool:
    references_text = ", ".join(permission.references)
    question = (
        f"Profile {permission.profile} sends {references_text} to {permission.host}. "
        "Allow it for this profile from now on?"
    )
    answer = QMessageBox.question(parent, "Send secrets and files", tool_tip_text(question))
    if answer == QMessageBox.StandardButton.Yes:
        store_permission(permission)
    return answer == QMessageBox.StandardButton.Yes
