"""Which secrets may be sent to which hosts, as the user has allowed: a file in Sizewise's home."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app.errors import StorageError, UsageError
from app.storage.run_directory import runs_home, write_whole
from loadgen.decoding import decode_json

_FILE = "allowed-secrets.json"
_MAX_BYTES = 4 * 2**20


class AllowedSecrets(msgspec.Struct, frozen=True):
    """`profile` is its name; `references` say where the secrets are, such as `env:API_KEY`."""

    profile: str
    host: str
    references: tuple[str, ...]


def is_allowed(wanted: AllowedSecrets) -> bool:
    return any(
        (one.profile, one.host) == (wanted.profile, wanted.host) and set(wanted.references) <= set(one.references)
        for one in _read()
    )


def allow(wanted: AllowedSecrets) -> None:
    """Remember it. Raises StorageError."""
    if is_allowed(wanted):
        return
    path = _path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, msgspec.json.format(msgspec.json.encode((*_read(), wanted)), indent=1) + b"\n")
    except OSError as error:
        raise StorageError(f"{path} could not be written: {error.strerror}") from error


def _path() -> Path:
    return runs_home().parent / _FILE


def _read() -> tuple[AllowedSecrets, ...]:
    """Raises UsageError for a file that is damaged."""
    path = _path()
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        return decode_json(content, tuple[AllowedSecrets, ...])
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.DecodeError) as error:
        hint = "Move it away; you are asked once more for each host."
        raise UsageError(f"{path} cannot be read: {error}", hint=hint) from error
