"""A bundle: a damaged zip file (first byte below 0x40), or a sound one with damaged files and right checksums."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from app.records.bundle import Bundle, BundledFile
from app.reporting.opened import load_run
from app.storage.bundle import import_run
from app.storage.run_directory import StoredRun
from tests.fuzz.scratch import EDITS, edited_run, scratch_folder

_RUN_ID = "20261128-004846-golden-local-c94b"


def read(data: bytes) -> None:
    with scratch_folder() as folder:
        path = folder / "run.zip"
        if data[:1] < b"\x40":
            path.write_bytes(data[1:])
        else:
            _write_bundle(edited_run("local", data[1:], folder), path)
        os.environ["SIZEWISE_HOME"] = str(folder / "home")
        directory, _ = import_run(path)
        load_run(StoredRun(directory), recover=True)


def seeds() -> Iterable[bytes]:
    return (b"\x80" + edits for edits in EDITS)


def _write_bundle(run: Path, path: Path) -> None:
    """Write what `sizewise runs export` would write, had the files been measured as they are now."""
    files = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(run.rglob("*")):
            if file.is_file():
                content = _sealed(run) if file.name == "result.json" else file.read_bytes()
                name = file.relative_to(run).as_posix()
                archive.writestr(f"{_RUN_ID}/{name}", content)
                files.append(BundledFile(name, len(content), _sha256(content)))
        archive.writestr("bundle.json", msgspec.json.encode(Bundle(1, _RUN_ID, tuple(files))))


def _sealed(run: Path) -> bytes:
    """Return result.json with the checksums that the damaged files have; as it is where it is damaged itself."""
    content = (run / "result.json").read_bytes()
    with contextlib.suppress(ValueError, LookupError, TypeError, AttributeError, OSError):
        result = json.loads(content)
        for artifact in result["artifacts"]:
            artifact["sha256"] = _sha256((run / artifact["path"]).read_bytes())
        return json.dumps(result).encode()
    return content


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
