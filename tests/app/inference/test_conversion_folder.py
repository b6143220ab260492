from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from app.inference.conversion_folder import open_conversion_folder


def _age(folder: Path, age_s: float) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(b"weights")
    os.utime(folder, (time.time() - age_s,) * 2)
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_folders_of_killed_processes_are_removed_and_others_are_not(tmp_path: Path) -> None:
    stale, new = _age(tmp_path / "making-stale", 120), _age(tmp_path / "making-new", 0)
    other, linked = _age(tmp_path / "gguf-0", 1e6), tmp_path / "making-link"
    linked.symlink_to(other)
    with open_conversion_folder(tmp_path) as used:
        assert not stale.exists()
        _age(used, 120)
        with open_conversion_folder(tmp_path) as second:
            assert used.exists(), "its process lives"
            assert second != used
    assert set(tmp_path.iterdir()) == {new, other, linked}
    assert (other / "model.onnx").exists()


def test_without_locks_only_the_age_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.inference.conversion_folder._lock", lambda _: (None, None))
    recent, old = _age(tmp_path / "making-recent", 3600), _age(tmp_path / "making-old", 100_000)
    with open_conversion_folder(tmp_path):
        assert (recent.exists(), old.exists()) == (True, False)
