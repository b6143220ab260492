"""The last self-test of this machine, which results refer to."""

from __future__ import annotations

from pathlib import Path

import msgspec

from app import __version__
from app.errors import UsageError
from app.records.selftest import SelfTest
from app.storage.run_directory import runs_home, write_whole
from loadgen.decoding import decode_json


def selftest_path() -> Path:
    return runs_home().parent / "selftest.json"


def store_selftest(selftest: SelfTest) -> None:
    """In place of the one before, whether it passed or not."""
    path = selftest_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, msgspec.json.format(msgspec.json.encode(selftest), indent=2))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="Choose another SIZEWISE_HOME.") from error


def stored_selftest(fingerprint: str) -> SelfTest | None:
    """When it is of this machine as it is now, and of this version: what has changed since was not proved."""
    try:
        selftest = decode_json(selftest_path().read_bytes(), SelfTest)
    except (OSError, ValueError, RecursionError):
        return None  # as good as none: what cannot be read, or was written by another version
    is_ours = selftest.fingerprint == fingerprint and selftest.tool == __version__
    return selftest if is_ours else None
