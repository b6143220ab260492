"""Store the calibration of this machine's load generator and its last self-test.

A stored calibration saves runs from measuring it again. Results refer to the last self-test.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from app import __version__
from app.errors import UsageError
from app.records.calibration import Calibration
from app.records.selftest import SelfTest
from app.storage.run_directory import runs_home, write_atomically
from loadgen.decoding import decode_json

MAX_AGE = timedelta(hours=24)


def calibration_path() -> Path:
    return runs_home().parent / "calibration.json"


def store_calibration(calibration: Calibration) -> None:
    """Merge a calibration into the stored one, where newer capacities replace older ones of the same kind.

    Measurements disturbed by other processes are not stored.
    """
    calibration = calibration.without_disturbed()
    if not calibration.capacities:
        return
    stored = load_calibration(calibration.fingerprint, datetime.fromisoformat(calibration.measured_at))
    merged = calibration if stored is None else stored.merge(calibration)
    path = calibration_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, msgspec.json.format(msgspec.json.encode(merged), indent=2))


def load_calibration(fingerprint: str, now: datetime) -> Calibration | None:
    """Return the stored calibration if it is less than a day old and this machine has not changed since."""
    try:
        calibration = decode_json(calibration_path().read_bytes(), Calibration)
        age = now - datetime.fromisoformat(calibration.measured_at)
    except (OSError, ValueError, TypeError):
        return None  # this is a cache: a file that cannot be read, or is from another version, is measured again
    is_recent = timedelta(0) <= age < MAX_AGE
    return calibration if is_recent and calibration.fingerprint == fingerprint else None


def selftest_path() -> Path:
    return runs_home().parent / "selftest.json"


def store_selftest(selftest: SelfTest) -> None:
    """Store a self-test, passed or failed, in place of the previous one. Raises UsageError."""
    path = selftest_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, msgspec.json.format(msgspec.json.encode(selftest), indent=2))
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="Choose another SIZEWISE_HOME.") from error


def load_selftest(fingerprint: str) -> SelfTest | None:
    """Return the stored self-test if it applies to this machine and this version of Sizewise."""
    try:
        selftest = decode_json(selftest_path().read_bytes(), SelfTest)
    except (OSError, ValueError, RecursionError):
        return None  # the file cannot be read or is from another version
    is_ours = selftest.fingerprint == fingerprint and selftest.tool == __version__
    return selftest if is_ours else None
