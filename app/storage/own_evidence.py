"""Store measurements of language models that the user adds as evidence: a file for each in the folder `evidence` of
Sizewise's home. Nothing in it is ever sent anywhere."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import msgspec

from app.errors import UNWRITABLE_FILE_HINT, DamagedFileError, StorageError, UsageError
from app.records.planning_inputs import OwnEvidence
from app.storage.run_directory import runs_home, write_atomically
from loadgen.decoding import decode_json

_MAX_BYTES = 4 * 2**20
_ID = re.compile(r"own-[0-9a-f]{8}")
_LIST_HINT = "List your measurements with `sizewise evidence list --source own`."


def evidence_home() -> Path:
    return runs_home().parent / "evidence"


def identify(evidence: OwnEvidence) -> OwnEvidence:
    """Return the evidence with an ID that is derived from what was measured, on which server, so that the same
    measurement has the same ID whenever it is added."""
    measured = [evidence.shape, evidence.served, evidence.kv_dtype, evidence.speculation, evidence.points]
    digest = hashlib.sha256(msgspec.json.encode(measured)).hexdigest()
    return msgspec.structs.replace(evidence, id=f"own-{digest[:8]}")


def store_evidence(evidence: OwnEvidence) -> Path:
    """Store evidence under its ID and return its path. Raises UsageError if it is already stored, and StorageError if
    it cannot be written."""
    path = _get_path(evidence.id)
    if path.exists():
        raise UsageError(
            f"{evidence.id} already has these measurements", hint=f"See `sizewise evidence show {path.stem}`."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, msgspec.json.format(msgspec.json.encode(evidence), indent=1) + b"\n")
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}", hint=UNWRITABLE_FILE_HINT) from error
    return path


def list_evidence() -> tuple[list[OwnEvidence], list[DamagedFileError]]:
    """Return all evidence, oldest first, and an error for each file that cannot be read."""
    stored, errors = [], []
    try:
        paths = sorted(path for path in evidence_home().iterdir() if path.suffix == ".json")
    except OSError:
        return [], []
    for path in paths:
        if _ID.fullmatch(path.stem):
            try:
                stored.append(_read(path))
            except DamagedFileError as error:
                errors.append(error)
    return sorted(stored, key=lambda evidence: (evidence.added_on, evidence.id)), errors


def find_evidence(evidence_id: str) -> OwnEvidence:
    """Return stored evidence. Raises UsageError if there is none of this ID, and DamagedFileError if its file cannot
    be read."""
    return _read(_find_path(evidence_id))


def remove_evidence(evidence_id: str) -> None:
    """Remove stored evidence, even if its file is damaged. Raises UsageError if there is none of this ID, and
    StorageError if it cannot be removed."""
    path = _find_path(evidence_id)
    try:
        path.unlink()
    except OSError as error:
        raise StorageError(f"{path} cannot be removed: {error.strerror}", hint=UNWRITABLE_FILE_HINT) from error


def _find_path(evidence_id: str) -> Path:
    path = _get_path(evidence_id)
    if not _ID.fullmatch(evidence_id) or not path.is_file():
        raise UsageError(f"there is no evidence {evidence_id!r}", hint=_LIST_HINT)
    return path


def _get_path(evidence_id: str) -> Path:
    return evidence_home() / f"{evidence_id}.json"


def _read(path: Path) -> OwnEvidence:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        evidence = decode_json(content, OwnEvidence)
    except (OSError, msgspec.DecodeError) as error:
        raise _build_damage_error(path, str(error)) from error
    if evidence.id != path.stem:
        raise _build_damage_error(path, f"it has the measurements of {evidence.id}")
    return evidence


def _build_damage_error(path: Path, reason: str) -> DamagedFileError:
    return DamagedFileError(
        f"{path} cannot be read: {reason}",
        hint=f"Remove it with `sizewise evidence remove {path.stem}`, and add the measurements again.",
    )
