"""Run directories, a bundle and a plan file that version 0.1.0 wrote."""

from __future__ import annotations

import lzma
import shutil
import tarfile
from pathlib import Path

GOLDEN_RUNS = Path(__file__).parents[1] / "golden" / "runs"


def golden_run(name: str, folder: Path) -> Path:
    """Unpack the run directory `name` ("search", "llm", "local" or "killed") into `folder` and return its path."""
    with tarfile.open(GOLDEN_RUNS / f"{name}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / name


def golden_bundle(folder: Path) -> Path:
    """Copy the bundle of the LLM run into `folder` and return its path."""
    return Path(shutil.copy(GOLDEN_RUNS / "bundle.zip", folder))


def golden_plan(folder: Path) -> Path:
    """Unpack the plan file and its catalog into `folder` and return the path of the plan file."""
    path = folder / "plan.yaml"
    for packed in (GOLDEN_RUNS / "plan.yaml.xz", *GOLDEN_RUNS.glob("catalogue-*.csv.xz")):
        (folder / packed.stem).write_bytes(lzma.decompress(packed.read_bytes()))
    return path
