"""Models, endpoints and profiles that are known from the stored runs, the bundled files and the
user's list of files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from app.errors import ProfileError, SizewiseError
from app.profiles.bundled import bundled_models, bundled_profiles
from app.profiles.loading import load_profile
from app.profiles.local import LocalProfile
from app.reporting.run_rows import RunRow
from app.storage.run_directory import SPEC

Origin = Literal["bundled", "added", "run"]
_LOCAL = "local"


class ModelUsage(msgspec.Struct, frozen=True):
    """A known model and its use in the stored runs.

    `path` is None if no file of the model is known, and `size_bytes` is None if the file is
    missing.
    """

    name: str
    origin: Origin
    path: Path | None
    size_bytes: int | None
    run_count: int
    last_run_at: str | None
    last_max_rate: str | None


class EndpointUsage(msgspec.Struct, frozen=True):
    """A load-tested endpoint.

    `last_run` is the newest run of the endpoint. `best_rate_per_s` is the highest max rate, in
    req/s, of all VALID and WARN runs of the endpoint.
    """

    url: str
    protocol: str
    model: str | None
    run_count: int
    best_rate_per_s: float | None
    last_run: RunRow


class ProfileUsage(msgspec.Struct, frozen=True):
    """A known profile. `problem` is the first validation error, and is empty if `is_valid` or
    `is_missing` is true."""

    name: str
    description: str
    origin: Origin
    path: Path
    problem: str
    is_valid: bool
    is_missing: bool = False


def find_models(rows: Sequence[RunRow], added_paths: Iterable[Path]) -> tuple[ModelUsage, ...]:
    """Return the known models: bundled models first, then models that the user added, then models
    known only from runs."""
    rows_by_model: dict[str, list[RunRow]] = {}
    for row in rows:
        if row.protocol == _LOCAL and row.model is not None:
            rows_by_model.setdefault(row.model, []).append(row)
    bundled = bundled_models()
    paths: dict[Path, tuple[str, Origin]] = {path: (name, "bundled") for name, path in bundled.items()}
    for path in added_paths:
        paths.setdefault(path, (path.name, "added"))
    models = [_build_model_usage(name, origin, path, rows_by_model) for path, (name, origin) in paths.items()]
    listed_names = {name for model in models for name in _list_possible_names(model.name, model.path)}
    return (
        *models,
        *(
            _build_model_usage(name, "run", _find_model_path(name, rows_by_model), rows_by_model)
            for name in sorted(rows_by_model)
            if name not in listed_names
        ),
    )


def find_endpoints(rows: Sequence[RunRow]) -> tuple[EndpointUsage, ...]:
    """Return the load-tested endpoints, most recently tested first."""
    rows_by_endpoint: dict[tuple[str, str, str | None], list[RunRow]] = {}
    for row in rows:
        if row.protocol in (None, _LOCAL):
            continue
        rows_by_endpoint.setdefault((row.url or "", row.protocol or "", row.model), []).append(row)
    endpoints = [_build_endpoint_usage(key, endpoint_rows) for key, endpoint_rows in rows_by_endpoint.items()]
    return tuple(sorted(endpoints, key=lambda endpoint: endpoint.last_run.started_at or "", reverse=True))


def find_profiles(rows: Sequence[RunRow], added_paths: Iterable[Path]) -> tuple[ProfileUsage, ...]:
    """Return the known profiles, validated as by `sizewise profiles check`.

    If several runs stored a profile of the same name, only the profile of the newest run is
    included.
    """
    profiles = [_build_profile_usage(name, "bundled", path) for name, path in bundled_profiles().items()]
    profiles += [_build_profile_usage(path.stem, "added", path) for path in added_paths]
    newest: dict[str, RunRow] = {}
    for row in sorted(rows, key=lambda row: row.started_at or ""):
        if row.name is not None and (Path(row.directory) / SPEC).exists():
            newest[row.name] = row
    return (
        *profiles,
        *(_build_profile_usage(name, "run", Path(row.directory) / SPEC) for name, row in sorted(newest.items())),
    )


def _list_possible_names(name: str, path: Path | None) -> set[str]:
    return {name} if path is None else {name, path.name, path.stem, str(path)}


def _find_model_path(name: str, rows_by_model: Mapping[str, Sequence[RunRow]]) -> Path | None:
    """Return the path of the model `name` in the profile of the newest run of that model. Return
    None if the profile cannot be read or has no such model."""
    newest = max(rows_by_model[name], key=lambda row: row.started_at or "")
    try:
        profile = load_profile(Path(newest.directory) / SPEC, files_must_exist=False)
    except SizewiseError:
        return None
    if not isinstance(profile, LocalProfile):
        return None
    paths = [Path(text) for text in profile.target.models]
    return next((path for path in paths if name in _list_possible_names(path.name, path)), None)


def _build_model_usage(
    name: str, origin: Origin, path: Path | None, rows_by_model: Mapping[str, Sequence[RunRow]]
) -> ModelUsage:
    matching_rows = [row for key in _list_possible_names(name, path) for row in rows_by_model.get(key, ())]
    last_run = max(matching_rows, key=lambda row: row.started_at or "", default=None)
    return ModelUsage(
        name=name,
        origin=origin,
        path=path,
        size_bytes=path.stat().st_size if path is not None and path.is_file() else None,
        run_count=len(matching_rows),
        last_run_at=None if last_run is None else last_run.started_at,
        last_max_rate=None if last_run is None else last_run.max_rate_text,
    )


def _build_endpoint_usage(key: tuple[str, str, str | None], rows: Sequence[RunRow]) -> EndpointUsage:
    url, protocol, model = key
    rates = [row.max_rate_per_s for row in rows if row.max_rate_per_s is not None and row.verdict != "INVALID"]
    return EndpointUsage(
        url=url,
        protocol=protocol,
        model=model,
        run_count=len(rows),
        best_rate_per_s=max(rates, default=None),
        last_run=max(rows, key=lambda row: row.started_at or ""),
    )


def _build_profile_usage(name: str, origin: Origin, path: Path) -> ProfileUsage:
    if not path.is_file():
        return ProfileUsage(name, "", origin, path, "", is_valid=False, is_missing=True)
    try:
        profile = load_profile(path)
    except SizewiseError as error:
        problem = error.problem if isinstance(error, ProfileError) else str(error)
        return ProfileUsage(name, "", origin, path, problem, is_valid=False)
    return ProfileUsage(profile.name, profile.description or "", origin, path, "", is_valid=True)
