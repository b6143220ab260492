"""Find the baseline runs that new runs are compared with: runs specified by the user, or the run
promoted for the profile name."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from app.analysis.comparisons.comparison import find_regressions
from app.analysis.foreign_result import build_foreign_result
from app.errors import UNWRITABLE_FILE_HINT, InvalidRunError, UsageError
from app.records.result import Result
from app.storage.foreign.reading import read_foreign
from app.storage.names import LAST, PROMOTED
from app.storage.results import decode_result
from app.storage.run_directory import StoredRun, find_run, list_own_runs, runs_home, write_atomically
from loadgen.decoding import decode_json

_POINTERS_FILE = "baselines.json"
"""Name of the file in the runs' home that maps profile names to promoted runs.

A promoted run is stored as its run ID, or as its directory if it is not in the runs' home.
"""
_RUNS_HINT = "List the runs with `sizewise runs list`."
_PROMOTE_HINT = "Set a run as the baseline of its profile with `sizewise runs promote RUN`."


class MissingBaselineError(UsageError):
    """Error that is raised if no run was promoted, or no earlier run is stored, as before the first
    run of a pipeline."""


def promote_run(run: StoredRun) -> Result:
    """Make a run the baseline of its profile name, replacing any previous baseline. Raises
    UsageError if the run is INVALID or failed, or if the baseline cannot be stored."""
    result = run.complete_result
    require_promotable(result)
    directory, home = run.directory.resolve(), runs_home()
    pointers = _read_pointers() | {
        result.name: directory.name if directory.parent == home.resolve() else str(directory)
    }
    try:
        home.mkdir(parents=True, exist_ok=True)
        write_atomically(
            home / _POINTERS_FILE, msgspec.json.format(msgspec.json.encode(pointers, order="sorted"), indent=2)
        )
    except OSError as error:
        raise UsageError(
            f"{home / _POINTERS_FILE} cannot be written: {error.strerror}", hint=UNWRITABLE_FILE_HINT
        ) from error
    return result


def list_promoted_directories() -> dict[str, str]:
    """Return the directory of the promoted run of each profile name; empty if they cannot be
    read."""
    try:
        return {name: str(runs_home() / path) for name, path in _read_pointers().items()}
    except UsageError:
        return {}


def require_promotable(result: Result) -> None:
    """Raise UsageError if a run is INVALID or failed, and so cannot be a baseline."""
    if not has_passed(result):
        reason = (
            "its measurement is INVALID"
            if result.verdict.status == "INVALID"
            else f"its exit code is {result.exit.code}"
            if result.exit.code
            else "an objective failed"
        )
        causes = "; ".join(result.exit.texts or result.verdict.reasons)
        raise UsageError(
            f"{result.run_id} cannot be a baseline: {reason}",
            hint=f"Promote a run that passed. The causes in this run are: {causes}",
        )


def has_passed(result: Result) -> bool:
    """Return whether a run is neither INVALID nor failed, and so may become a baseline on its own: by
    promotion, or as the last run. A demonstration can fail although its exit code is 0."""
    return result.verdict.status != "INVALID" and result.exit.first_code == 0


def read_baselines(references: str, profile_name: str) -> tuple[Result, ...]:
    """Read the result of a run, or the results of several repeats whose references are separated by
    commas. Raises the same errors as `read_baseline`."""
    run_references = (
        [references] if Path(references).exists() else [reference for reference in references.split(",") if reference]
    )
    if not run_references:
        raise UsageError("no run was specified", hint=_RUNS_HINT)
    return tuple(read_baseline(reference, profile_name) for reference in run_references)


def read_sides(baseline: str, candidates: Sequence[str]) -> tuple[tuple[Result, ...], tuple[Result, ...]]:
    """Read the results of the baseline runs and of the candidate runs. Raises the same errors as
    `read_baseline`."""
    if PROMOTED in candidates:
        raise UsageError(
            "'promoted' is a baseline and cannot be the candidate", hint="Specify the run to use as the candidate."
        )
    candidate_results = tuple(result for references in candidates for result in read_baselines(references, ""))
    return read_baselines(baseline, candidate_results[0].name), candidate_results


def read_baseline(reference: str, profile_name: str) -> Result:
    """Read the result of a run. `reference` is a run ID, a directory, "last", a `result.json`, a
    result file of another tool, or "promoted".

    With a `profile_name`, "last" is the last run of that profile that passed, without a regression
    even if regressions do not fail the run; without one, it is the last run. It is never an
    imported run. Raises UsageError if there is no such run, MissingBaselineError if there is
    no last or promoted run of the profile, and InvalidRunError if the run is INVALID, because its
    metrics are not reliable.
    """
    result = _read_result(reference, profile_name)
    if result.verdict.status == "INVALID":
        reason = f"{result.run_id} is INVALID, so its numbers are not reliable"
        raise InvalidRunError(reason, hint="Use another run.")
    return result


def _read_result(reference: str, profile_name: str) -> Result:
    if reference == PROMOTED:
        return _find_promoted_run(profile_name).complete_result
    if reference == LAST and profile_name:
        return _find_last_result(profile_name)
    path = Path(reference)
    if not path.is_file():
        return find_run(reference).complete_result
    try:
        return decode_result(path.read_bytes())
    except (msgspec.DecodeError, OSError) as error:
        return _read_foreign_result(path, f"{path} cannot be read as a result: {error}")


def _read_foreign_result(path: Path, message: str) -> Result:
    try:
        return build_foreign_result(read_foreign([path]))
    except UsageError as error:
        hint = f"Use a run ID, a run directory, its result.json, or the result of another tool ({error})."
        raise UsageError(message, hint=hint) from None


def _find_last_result(profile_name: str) -> Result:
    """Return the result of the last run of a profile that measured something and passed. Damaged and
    imported runs are skipped."""
    for run in reversed(list_own_runs()):
        with contextlib.suppress(UsageError):
            result = run.result
            if result is not None and result.name == profile_name and _is_usable(result):
                return result
    raise MissingBaselineError(f"no run of {profile_name!r} that passed is stored yet", hint=_RUNS_HINT)


def _is_usable(result: Result) -> bool:
    has_regressed = result.comparison is not None and bool(find_regressions(result.comparison))
    return bool(result.stages) and has_passed(result) and not has_regressed


def _find_promoted_run(profile_name: str) -> StoredRun:
    stored_path = _read_pointers().get(profile_name)
    if stored_path is None:
        raise MissingBaselineError(f"no run of {profile_name!r} was promoted", hint=_PROMOTE_HINT)
    directory = runs_home() / stored_path  # an absolute path is unchanged by the join
    if not directory.is_dir():
        raise UsageError(f"the promoted run of {profile_name!r} no longer exists: {stored_path}", hint=_PROMOTE_HINT)
    return StoredRun(directory)


def _read_pointers() -> dict[str, str]:
    path = runs_home() / _POINTERS_FILE
    try:
        return decode_json(path.read_bytes(), dict[str, str])
    except FileNotFoundError:
        return {}
    except (msgspec.DecodeError, OSError) as error:
        raise UsageError(
            f"{path} cannot be read: {error}", hint="Delete the file, and promote the runs again."
        ) from None
