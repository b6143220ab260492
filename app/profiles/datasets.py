"""Datasets of a workload: a file by its extension, or a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, PlainSerializer, ValidationInfo

from app.profiles.problems import BadValueError
from app.profiles.settings import files_must_exist, profile_directory
from loadgen.workloads import Dataset

Format = Literal["jsonl", "csv", "parquet", "folder"]
_FORMATS: dict[str, Format] = {".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet"}


def _existing_dataset(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, str) or not value:
        raise BadValueError(f"{value!r} is not the path of a file or folder")
    path = (profile_directory(info) / value).resolve()
    if files_must_exist(info):
        if not path.exists():
            raise BadValueError(f"no such file or folder: {path}", hint="Paths are relative to the profile's folder.")
        if not path.is_dir() and path.suffix.casefold() not in _FORMATS:
            hint = f"A dataset is a folder or a file that ends in {', '.join(_FORMATS)}."
            raise BadValueError(f"{path.name} is no dataset by its name", hint=hint)
    return path


def dataset_of(path: Path) -> Dataset:
    return Dataset(str(path), "folder" if path.is_dir() else _FORMATS[path.suffix.casefold()])


DatasetPath = Annotated[Path, BeforeValidator(_existing_dataset), PlainSerializer(str)]
