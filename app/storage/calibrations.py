"""What this machine was last calibrated to send, kept so that a run need not measure it again.

The last self-test of this machine, which results refer to.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from app import __version__
from app.errors import UsageError
from app.records.calibration import Calibration
from app.records.selftest import SelfTest
from app.storage.run_directory import runs_home, write_whole
from loadgen.decoding import decode_json

KEPT_FOR = timedelta(hours=24)


def calibration_path() -> Path:
    return runs_home().parent / "calibration.json"


def store_calibration(calibration: Calibration) -> None:
    """Beside what is stored and still counts; a ceiling that was measured again takes the place of the old one. Those
    that other processes disturbed are not stored."""
    calibration = calibration.lasting()
    if not calibration.ceilings:
        return
    stored = stored_calibration(calibration.fingerprint, datetime.fromisoformat(calibration.measured_at))
    together = calibration if stored is None else stored.joined(calibration)
    path = calibration_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, msgspec.json.format(msgspec.json.encode(together), indent=2))


def stored_calibration(fingerprint: str, now: datetime) -> Calibration | None:
    """The stored one, when it is of this machine as it is now and younger than a day."""
    try:
        calibration = decode_json(calibration_path().read_bytes(), Calibration)
        age = now - datetime.fromisoformat(calibration.measured_at)
    except (OSError, ValueError, TypeError):
        return None  # a cache: what cannot be read, or was written by another version, is measured again
    is_recent = timedelta(0) <= age < KEPT_FOR
    return calibration if is_recent and calibration.fingerprint == fingerprint else None


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
