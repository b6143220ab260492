"""Store the user's permissions to send secrets to hosts, in a file in Sizewise's home folder."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.errors import UNWRITABLE_FILE_HINT, StorageError, UsageError
from app.storage.run_directory import runs_home, write_atomically
from loadgen.decoding import decode_json

_FILE_NAME = "allowed-secrets.json"
_MAX_BYTES = 4 * 2**20


class AllowedSecrets(msgspec.Struct, frozen=True):
    """Permission to send the secrets of a profile to a host. `profile` is the name of the profile.

    `references` lists where the secrets are stored, for example `env:API_KEY`.
    """

    profile: str
    host: str
    references: tuple[str, ...]


def is_allowed(permission: AllowedSecrets) -> bool:
    return any(
        (stored_permission.profile, stored_permission.host) == (permission.profile, permission.host)
        and set(permission.references) <= set(stored_permission.references)
        for stored_permission in _read_permissions()
    )


def store_permission(permission: AllowedSecrets) -> None:
    """Store a permission. Raises StorageError if the file cannot be written."""
    if is_allowed(permission):
        return
    path = _get_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(
            path, msgspec.json.format(msgspec.json.encode((*_read_permissions(), permission)), indent=1) + b"\n"
        )
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}", hint=UNWRITABLE_FILE_HINT) from error


def _get_path() -> Path:
    return runs_home().parent / _FILE_NAME


def _read_permissions() -> tuple[AllowedSecrets, ...]:
    """Read all permissions. Raises UsageError if the file is corrupted."""
    path = _get_path()
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        return decode_json(content, tuple[AllowedSecrets, ...])
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.DecodeError) as error:
        hint = "Move the file to another folder. Sizewise then requests permission again for each host."
        raise UsageError(f"{path} cannot be read: {error}", hint=hint) from error
