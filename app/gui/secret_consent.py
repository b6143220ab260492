"""Consent dialog before secrets of a profile are sent to a host for the first time, as on the
command line."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtWidgets import QMessageBox, QWidget

from app.storage.allowed_secrets import AllowedSecrets, store_permission


def confirm_secrets(parent: QWidget, wanted: Iterable[AllowedSecrets]) -> bool:
    """Ask for consent for each entry of `wanted`, remember each consent, and return whether all
    entries are allowed."""
    return all(_is_allowed(parent, secrets) for secrets in wanted)


def _is_allowed(parent: QWidget, grant: AllowedSecrets) -> bool:
    secrets = ", ".join(grant.references)
    question = f"Profile {grant.profile} sends {secrets} to {grant.host}. Allow it for this profile from now on?"
    answer = QMessageBox.question(parent, "Send secrets", question)
    if answer == QMessageBox.StandardButton.Yes:
        store_permission(grant)
    return answer == QMessageBox.StandardButton.Yes
