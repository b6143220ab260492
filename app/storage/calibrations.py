"""Store the calibration of the load generator and the last self-test of this machine.

With a stored calibration, a run does not have to calibrate again. Results contain a summary of the
last self-test.
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


def get_calibration_path() -> Path:
    return runs_home().parent / "calibration.json"


def store_calibration(calibration: Calibration) -> None:
    """Merge a calibration into the stored calibration. Newer capacities replace older capacities
    for the same kind of load and number of workers, except that a capacity whose measurement was
    disturbed by other processes does not replace an undisturbed one."""
    stored_calibration = load_calibration(calibration.fingerprint, datetime.fromisoformat(calibration.measured_at))
    if stored_calibration is not None:
        undisturbed_calibration = stored_calibration.drop_disturbed()
        new_capacities = tuple(
            capacity
            for capacity in calibration.capacities
            if capacity.disturbed_by_cores is None
            or undisturbed_calibration.find_capacity(capacity.kind, capacity.workers) is None
        )
        calibration = stored_calibration.merge(msgspec.structs.replace(calibration, capacities=new_capacities))
    if not calibration.capacities:
        return
    path = get_calibration_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, msgspec.json.format(msgspec.json.encode(calibration), indent=2))


def load_calibration(fingerprint: str, now: datetime) -> Calibration | None:
    """Return the stored calibration; `None` unless it is less than a day old and the machine is
    unchanged."""
    try:
        calibration = decode_json(get_calibration_path().read_bytes(), Calibration)
        age = now - datetime.fromisoformat(calibration.measured_at)
    except (OSError, ValueError, TypeError):
        return None  # the file is a cache: if it is unreadable or from another version, calibration is repeated
    is_recent = timedelta(0) <= age < MAX_AGE
    return calibration if is_recent and calibration.fingerprint == fingerprint else None


def get_selftest_path() -> Path:
    return runs_home().parent / "selftest.json"


def store_selftest(selftest: SelfTest) -> None:
    """Store a self-test, passed or failed, replacing the previous self-test. Raises UsageError if
    the file cannot be written."""
    path = get_selftest_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, msgspec.json.format(msgspec.json.encode(selftest), indent=2))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", hint="Set SIZEWISE_HOME to another folder."
        ) from error


def load_selftest(fingerprint: str) -> SelfTest | None:
    """Return the stored self-test; `None` unless it is from this machine and this version of
    Sizewise."""
    try:
        selftest = decode_json(get_selftest_path().read_bytes(), SelfTest)
    except (OSError, ValueError, RecursionError):
        return None  # the file cannot be read or is from another version
    is_current = selftest.fingerprint == fingerprint and selftest.tool == __version__
    return selftest if is_current else None
