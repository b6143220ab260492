"""Write `checksums.txt`: the SHA-256 hash of every file of a run, in the format of
`sha256sum -c`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from app.storage.names import CHECKSUMS as CHECKSUMS
from app.storage.names import DATA_FILES, JOURNAL, OUTPUTS
from app.storage.run_directory import write_atomically


def write_checksums(directory: Path, export_names: Iterable[str]) -> None:
    """Write the checksums of the run data, the result and the existing files in `export_names`; all
    other files in the directory are ignored.

    The journal is removed, because the checksums replace it once the run has ended.
    """
    output_names = (f"{OUTPUTS}/{path.name}" for path in (directory / OUTPUTS).glob("*.npz"))
    names = (name for name in (*DATA_FILES, *export_names, *output_names) if (directory / name).is_file())
    _write_checksums_file(directory, {name: _compute_sha256(directory / name) for name in names})
    (directory / JOURNAL).unlink(missing_ok=True)


def update_checksum(directory: Path, name: str) -> None:
    """Update the checksum of one file that was rewritten or removed. All other files keep their stored
    checksums, so that corruption is still detected."""
    path = directory / CHECKSUMS
    if path.exists():
        entries = (line.partition("  ") for line in path.read_text("utf-8").splitlines())
        checksums = {file_name: checksum for checksum, _, file_name in entries if file_name != name}
        if (directory / name).is_file():
            checksums[name] = _compute_sha256(directory / name)
        _write_checksums_file(directory, checksums)


def _write_checksums_file(directory: Path, checksums: dict[str, str]) -> None:
    write_atomically(
        directory / CHECKSUMS, "".join(f"{checksums[name]}  {name}\n" for name in sorted(checksums)).encode()
    )


def _compute_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
