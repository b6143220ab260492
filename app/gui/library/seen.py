"""Models, endpoints and profiles as the stored runs and the user's own list tell of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from app.errors import SizewiseError
from app.profiles.bundled import bundled_models, bundled_profiles
from app.profiles.loading import load_profile
from app.profiles.local import LocalProfile
from app.reporting.run_rows import RunRow
from app.storage.run_directory import SPEC

Origin = Literal["bundled", "added", "run"]
_LOCAL = "local"


class SeenModel(msgspec.Struct, frozen=True):
    """`path` is None where no file of it is known; `size_bytes` is None where it is missing."""

    name: str
    origin: Origin
    path: Path | None
    size_bytes: int | None
    runs: int
    last_run: str | None
    carries: str | None


class SeenEndpoint(msgspec.Struct, frozen=True):
    """`last` is the newest run of it; `best_per_s` the highest rate that any VALID or WARN one found."""

    where: str
    protocol: str
    model: str | None
    runs: int
    best_per_s: float | None
    last: RunRow


class SeenProfile(msgspec.Struct, frozen=True):
    """`state` is "right", or the first thing that is wrong with it."""

    name: str
    description: str
    origin: Origin
    path: Path
    state: str
    is_right: bool
    is_missing: bool = False


def models_seen(rows: Sequence[RunRow], added: Iterable[Path]) -> tuple[SeenModel, ...]:
    """Bundled ones first, then the user's own, then what only runs tell of."""
    local: dict[str, list[RunRow]] = {}
    for row in rows:
        if row.protocol == _LOCAL and row.model is not None:
            local.setdefault(row.model, []).append(row)
    bundled = bundled_models()
    paths: dict[Path, tuple[str, Origin]] = {path: (name, "bundled") for name, path in bundled.items()}
    for path in added:
        paths.setdefault(path, (path.name, "added"))
    found = [_model(name, origin, path, local) for path, (name, origin) in paths.items()]
    told = {name for one in found for name in _names(one.name, one.path)}
    return (*found, *(_model(name, "run", _path_of(name, local), local) for name in sorted(local) if name not in told))


def endpoints_seen(rows: Sequence[RunRow]) -> tuple[SeenEndpoint, ...]:
    """The newest load-tested first."""
    by_place: dict[tuple[str, str, str | None], list[RunRow]] = {}
    for row in rows:
        if row.protocol in (None, _LOCAL):
            continue
        by_place.setdefault((row.url or "", row.protocol or "", row.model), []).append(row)
    found = [_endpoint(key, those) for key, those in by_place.items()]
    return tuple(sorted(found, key=lambda one: one.last.started_at or "", reverse=True))


def profiles_seen(rows: Sequence[RunRow], added: Iterable[Path]) -> tuple[SeenProfile, ...]:
    """Each checked as `sizewise profiles check` does; of those that runs were made of, the newest of a name."""
    found = [_profile(name, "bundled", path) for name, path in bundled_profiles().items()]
    found += [_profile(path.stem, "added", path) for path in added]
    newest: dict[str, RunRow] = {}
    for row in sorted(rows, key=lambda one: one.started_at or ""):
        if row.name is not None and (Path(row.directory) / SPEC).exists():
            newest[row.name] = row
    return (*found, *(_profile(name, "run", Path(row.directory) / SPEC) for name, row in sorted(newest.items())))


def _names(name: str, path: Path | None) -> set[str]:
    return {name} if path is None else {name, path.name, path.stem, str(path)}


def _path_of(name: str, local: Mapping[str, Sequence[RunRow]]) -> Path | None:
    """That the newest profile of its runs names."""
    newest = max(local[name], key=lambda row: row.started_at or "")
    try:
        profile = load_profile(Path(newest.directory) / SPEC, files_must_exist=False)
    except SizewiseError:
        return None
    if not isinstance(profile, LocalProfile):
        return None
    paths = [Path(one) for one in profile.target.models]
    return next((path for path in paths if name in _names(path.name, path)), None)


def _model(name: str, origin: Origin, path: Path | None, local: Mapping[str, Sequence[RunRow]]) -> SeenModel:
    those = [row for key in _names(name, path) for row in local.get(key, ())]
    last = max(those, key=lambda row: row.started_at or "", default=None)
    return SeenModel(
        name=name,
        origin=origin,
        path=path,
        size_bytes=path.stat().st_size if path is not None and path.is_file() else None,
        runs=len(those),
        last_run=None if last is None else last.started_at,
        carries=None if last is None else last.carries,
    )


def _endpoint(key: tuple[str, str, str | None], rows: Sequence[RunRow]) -> SeenEndpoint:
    url, protocol, model = key
    rates = [row.max_rate_per_s for row in rows if row.max_rate_per_s is not None and row.verdict != "INVALID"]
    return SeenEndpoint(
        where=url,
        protocol=protocol,
        model=model,
        runs=len(rows),
        best_per_s=max(rates, default=None),
        last=max(rows, key=lambda row: row.started_at or ""),
    )


def _profile(name: str, origin: Origin, path: Path) -> SeenProfile:
    if not path.is_file():
        return SeenProfile(name, "", origin, path, "", is_right=False, is_missing=True)
    try:
        profile = load_profile(path)
    except SizewiseError as error:
        return SeenProfile(name, "", origin, path, str(error), is_right=False)
    return SeenProfile(profile.name, profile.description or "", origin, path, "", is_right=True)
