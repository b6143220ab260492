"""What new runs are compared with: a run named by hand, or the one promoted for its profile's name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.analysis.foreign_result import foreign_result
from app.errors import InvalidRunError, UsageError
from app.records.result import Result
from app.storage.foreign.reading import read_foreign
from app.storage.results import decode_result
from app.storage.run_directory import StoredRun, find_run, runs_home, write_whole
from loadgen.decoding import decode_json

PROMOTED = "promoted"
_POINTERS = "baselines.json"
"""In the runs' home: by profile name the run's id, or the directory of a run that is elsewhere."""
_RUNS = "`sizewise runs list` shows the runs there are."
_PROMOTE = "`sizewise runs promote RUN` makes a run the baseline of its profile."


def promote(run: StoredRun) -> Result:
    """Make it the baseline of its profile's name, in place of the one before. Raises UsageError for what failed."""
    result = run.measured
    if result.verdict.status == "INVALID" or result.exit.code != 0:
        why = (
            "its measurement is INVALID" if result.verdict.status == "INVALID" else f"it ended with {result.exit.code}"
        )
        causes = "; ".join(result.exit.texts or result.verdict.reasons)
        raise UsageError(
            f"{result.run_id} cannot be a baseline: {why}", hint=f"Promote a run that passed. This one: {causes}"
        )
    directory, home = run.directory.resolve(), runs_home()
    pointers = _pointers() | {result.name: directory.name if directory.parent == home.resolve() else str(directory)}
    try:
        home.mkdir(parents=True, exist_ok=True)
        write_whole(home / _POINTERS, msgspec.json.format(msgspec.json.encode(pointers, order="sorted"), indent=2))
    except OSError as error:
        raise UsageError(f"{home / _POINTERS} cannot be written: {error.strerror}") from error
    return result


def read_baselines(references: str, profile_name: str) -> tuple[Result, ...]:
    """One, or several repeats by commas. Raises UsageError as `read_baseline` does."""
    names = [references] if Path(references).exists() else [name for name in references.split(",") if name]
    if not names:
        raise UsageError("the name of a run is empty", hint=_RUNS)
    return tuple(read_baseline(name, profile_name) for name in names)


def read_sides(base: str, candidates: Sequence[str]) -> tuple[tuple[Result, ...], tuple[Result, ...]]:
    """What is compared: the baseline's repeats, and the candidate's. Raises UsageError as `read_baseline` does."""
    if PROMOTED in candidates:
        raise UsageError("'promoted' is a baseline, and no candidate", hint="Name the candidate's run.")
    candidate = tuple(run for text in candidates for run in read_baselines(text, ""))
    return read_baselines(base, candidate[0].name), candidate


def read_baseline(reference: str, profile_name: str) -> Result:
    """Of a run by its id, directory or "last", of a `result.json`, of another tool's result, or of what was promoted
    for this name.

    Raises UsageError where there is none, and InvalidRunError where no number of it is to be relied on.
    """
    result = _result_of(reference, profile_name)
    if result.verdict.status == "INVALID":
        why = f"{result.run_id} is INVALID: no number of it is to be relied on"
        raise InvalidRunError(why, hint="Give another run.")
    return result


def _result_of(reference: str, profile_name: str) -> Result:
    if reference == PROMOTED:
        return _promoted(profile_name).measured
    path = Path(reference)
    if not path.is_file():
        return find_run(reference).measured
    try:
        return decode_result(path.read_bytes())
    except (msgspec.DecodeError, OSError) as error:
        return _of_another_tool(path, f"{path} cannot be read as a result: {error}")


def _of_another_tool(path: Path, why_not_ours: str) -> Result:
    try:
        return foreign_result(read_foreign([path]))
    except UsageError as error:
        hint = f"Give a run, its directory, its result.json, or another tool's result ({error})."
        raise UsageError(why_not_ours, hint=hint) from None


def _promoted(profile_name: str) -> StoredRun:
    named = _pointers().get(profile_name)
    if named is None:
        raise UsageError(f"no run of {profile_name!r} was promoted", hint=_PROMOTE)
    directory = runs_home() / named  # an absolute path stays what it is
    if not directory.is_dir():
        raise UsageError(f"the run promoted for {profile_name!r} is gone: {named}", hint=_PROMOTE)
    return StoredRun(directory)


def _pointers() -> dict[str, str]:
    path = runs_home() / _POINTERS
    try:
        return decode_json(path.read_bytes(), dict[str, str])
    except FileNotFoundError:
        return {}
    except (msgspec.DecodeError, OSError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint="Remove it, and promote again.") from None
