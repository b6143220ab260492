"""Classification of dropped and opened paths, with a description of the resulting action."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from app.records.language_model import is_language_model

FileKind = Literal["model", "profile", "run", "bundle", "prices", "plan", "results", "unknown"]
_MAX_READ_BYTES = 65_536


class DroppedFile(msgspec.Struct, frozen=True):
    path: Path
    kind: FileKind

    @property
    def action_text(self) -> str:
        """Description of the action that follows when the user drops the file on the window."""
        return {
            "model": "Benchmark this model",
            "profile": "Open this profile",
            "run": "Show this run",
            "bundle": "Import this run",
            "prices": "Plan with this price list",
            "plan": "Open this plan",
            "results": "Plan with these results",
            "unknown": "Unsupported file",
        }[self.kind]


def classify_path(path: Path) -> DroppedFile:
    """Classify a path by its name and its first bytes. The code that opens the file validates the
    remaining contents."""
    return DroppedFile(path, _detect_kind(path))


def is_run_directory(path: Path) -> bool:
    return (path / "events.jsonl").exists() or (path / "result.json").exists()


def is_model(path: Path) -> bool:
    """Return True for the name of an .onnx file, and for the folder of a language model."""
    return path.suffix.lower() == ".onnx" or is_language_model(path)


def _detect_kind(path: Path) -> FileKind:
    if is_language_model(path):
        return "model"
    if path.is_dir():
        return "run" if is_run_directory(path) else "results"
    if not path.is_file():
        return "unknown"
    if is_model(path):
        return "model"
    suffix = path.suffix.lower()
    if suffix in (".zip", ".sizewise") or path.name.endswith((".tar.gz", ".tgz")):
        return "bundle"
    if suffix in (".yaml", ".yml"):
        return _detect_yaml_kind(path)
    if path.name in ("result.json", "events.jsonl"):
        return "run"
    if suffix == ".json":
        return "results"
    return "prices" if suffix == ".csv" and _is_price_list(_read_start(path)) else "unknown"


def _read_start(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_READ_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _detect_yaml_kind(path: Path) -> FileKind:
    from app.storage.plan_file import is_plan_file

    if is_plan_file(path):
        return "plan"
    lines = _read_start(path).splitlines()
    keys = {line.partition(":")[0].strip().strip("\"'") for line in lines if line[:1] not in ("", " ", "#")}
    if any("@" in key for key in keys) or any(line.lstrip(" -").startswith("instance_type:") for line in lines):
        return "prices"
    return "profile" if "sizewise" in keys else "results"


def _is_price_list(text: str) -> bool:
    header = text.partition("\n")[0].lower()
    return "instance_type" in header or "usd_per_hour" in header
