"""Find the profiles and models that are bundled with Sizewise."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from app.errors import UsageError
from app.profiles.problems import did_you_mean

DATA_DIRECTORY = Path(str(files("profiles")))
"""Folder of the bundled data files."""


def bundled_profiles() -> dict[str, Path]:
    return {path.stem: path for path in sorted((DATA_DIRECTORY / "workloads").glob("*.yaml"))}


def bundled_models() -> dict[str, Path]:
    return {path.stem: path for path in sorted((DATA_DIRECTORY / "models").glob("*.onnx"))}


def find_profile(name_or_path: str) -> Path:
    """Return the path of a profile. `name_or_path` is a path or the name of a bundled profile.
    Raises UsageError if there is no such profile."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    profiles = bundled_profiles()
    if path.is_dir():
        raise UsageError(f"{name_or_path} is a folder, not a profile", hint="Specify the .yaml file in it.")
    if name_or_path not in profiles:
        hint = (
            did_you_mean(name_or_path, profiles)
            or f"Use a file, or one of these bundled profiles: {', '.join(profiles)}."
        )
        raise UsageError(f"{name_or_path} is neither a file nor a bundled profile", hint=hint)
    return profiles[name_or_path]
