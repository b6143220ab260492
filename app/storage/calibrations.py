"""The last calibration of this machine, kept so that a run need not repeat it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from app.records.calibration import Calibration
from app.storage.run_directory import runs_home, write_whole

KEPT_FOR = timedelta(hours=24)


def calibration_path() -> Path:
    return runs_home().parent / "calibration.json"


def store_calibration(calibration: Calibration) -> Path:
    path = calibration_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, msgspec.json.format(msgspec.json.encode(calibration), indent=2))
    return path


def stored_calibration(fingerprint: str, now: datetime) -> Calibration | None:
    """The stored one, when it is of this machine as it is now and younger than a day."""
    try:
        calibration = msgspec.json.decode(calibration_path().read_bytes(), type=Calibration)
    except (OSError, msgspec.DecodeError):
        return None  # a cache: what cannot be read is measured again
    is_recent = timedelta(0) <= now - datetime.fromisoformat(calibration.measured_at) < KEPT_FOR
    return calibration if is_recent and calibration.fingerprint == fingerprint else None
