"""List, show, check and try profiles, list their keys, and write CI jobs for them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from app.cli.commands import Command, CommandGroup, CommandOption
from app.cli.options import OutputOptions, json_option, output_options, parse_output, profile_argument, set_option
from app.cli.profile_keys import CI_COMMAND, KEYS_COMMAND
from app.cli.secret_consent import consent_option, request_consent
from app.cli.streams import print_whole
from app.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from app.profiles.local import LocalProfile
    from app.profiles.profile import Profile
    from app.records.planned_work import ImpossibleVariant


class _ProfileSource(NamedTuple):
    """Argument and option that name a profile and change its values."""

    profile: str
    overrides: tuple[str, ...]


def _show_profile(source: _ProfileSource, minimal: bool) -> int:
    from app.profiles.resolved import format_minimal, format_spec

    format_profile = format_minimal if minimal else format_spec
    print_whole(format_profile(_load_profile(source)[1]), end="")
    return 0


def _check_profile(source: _ProfileSource, json: bool, this_machine: bool) -> int:
    from app.profiles.local import LocalProfile
    from app.profiles.pricing.catalog import load_catalog
    from app.profiles.resolved import compute_profile_hash
    from app.wiring.local_spec import check_generation_tests
    from app.wiring.planned_work import estimate_work
    from app.wiring.workload import build_workload, check_data, check_tokenizers

    path, profile = _load_profile(source)
    if this_machine and not isinstance(profile, LocalProfile):
        raise UsageError(
            "--this-machine requires a profile of a local model", hint="Remove --this-machine, or set target.model."
        )
    if isinstance(profile, LocalProfile):
        check_generation_tests(profile)
    else:
        workload = build_workload(profile)
        check_data(workload)
        check_tokenizers(workload)
    work = estimate_work(profile, load_catalog())
    unrunnable_variants = (
        _find_unrunnable_variants(profile) if this_machine and isinstance(profile, LocalProfile) else None
    )
    if json:
        from app.cli.tables import print_json

        document = {"profile": str(path), "name": profile.name, "hash": compute_profile_hash(profile), "work": work}
        print_json(document if unrunnable_variants is None else {**document, "impossible": unrunnable_variants})
    else:
        from app.cli.planned_work import format_work

        print(f"{path} is valid ({profile.name}, hash {compute_profile_hash(profile)[:12]})")
        print(f"planned work: {format_work(work)}")
        for variant in unrunnable_variants or ():
            print(f"{variant.cell} cannot run here: {variant.reason} ({variant.hint})")
    is_unrunnable = bool(unrunnable_variants) and len(unrunnable_variants or ()) == work.variants
    return ExitCode.UNAVAILABLE if is_unrunnable else ExitCode.OK


def _find_unrunnable_variants(profile: LocalProfile) -> tuple[ImpossibleVariant, ...]:
    from app.wiring.unrunnable_variants import find_unrunnable_variants, inspect_local_machine, inspect_models

    return find_unrunnable_variants(profile, inspect_local_machine(), inspect_models(profile))


def _test_connection(source: _ProfileSource, json: bool, allow_secrets: tuple[str, ...]) -> int:
    from app.wiring.target_check import check_target

    profile = _load_profile(source)[1]
    request_consent([profile], allow_secrets)
    trial = check_target(profile)
    if json:
        from app.cli.tables import print_json

        print_json(trial)
    else:
        from app.cli.trials import format_trial

        for line in format_trial(trial):
            print(line)
    has_response = trial.problem in (None, "not streaming")
    if trial.problem is not None:
        print(f"{'warning' if has_response else 'error'}: {trial.problem}: {trial.summary}", file=sys.stderr)
        print(f"hint: {trial.hint}", file=sys.stderr)
    return ExitCode.OK if has_response else ExitCode.UNAVAILABLE


def _load_profile(source: _ProfileSource) -> tuple[Path, Profile]:
    from app.profiles.bundled import find_profile
    from app.profiles.loading import load_profile, load_profile_text

    if source.profile == "-":
        path = Path("standard input")
        return path, load_profile_text(sys.stdin.buffer.read(), path, source.overrides)
    path = find_profile(source.profile)
    return path, load_profile(path, source.overrides)


def _list_profiles(requested_output: OutputOptions) -> int:
    from app.cli.tables import format_table, print_json
    from app.profiles.bundled import bundled_profiles
    from app.profiles.loading import load_profile
    from reports.sections.section import Column

    output = parse_output(requested_output)
    rows: list[dict[str, str | None]] = [
        {"name": name, "description": load_profile(path).description, "file": str(path)}
        for name, path in bundled_profiles().items()
    ]
    if output == "json":
        print_json(rows)
    else:
        columns = (
            Column[dict[str, str | None]]("name", "profile", lambda row: row["name"]),
            Column[dict[str, str | None]]("description", "description", lambda row: row["description"]),
            Column[dict[str, str | None]]("file", "", lambda row: row["file"]),
        )
        print_whole(format_table(columns, rows, output))
    return 0


_PROFILE_ARGUMENT = profile_argument("profile file, name of a bundled profile, or - for standard input")
_SET_OPTION = set_option("override one value of the profile, e.g. --set load.seed=3")

COMMAND = CommandGroup(
    "profiles",
    [
        Command(
            "list",
            _list_profiles,
            output_options("print as JSON, with file paths"),
            documentation="List the bundled profiles.",
            examples=("sizewise profiles list",),
        ),
        Command(
            "show",
            _show_profile,
            [
                _PROFILE_ARGUMENT,
                _SET_OPTION,
                CommandOption(["--minimal"], is_flag=True, help="only the keys that differ from the defaults"),
            ],
            documentation="Show a profile with all defaults.",
            examples=("sizewise profiles show quickstart", "sizewise profiles show quickstart --minimal > mine.yaml"),
        ),
        Command(
            "check",
            _check_profile,
            [
                _PROFILE_ARGUMENT,
                _SET_OPTION,
                json_option(),
                CommandOption(
                    ["--this-machine"],
                    is_flag=True,
                    help="also list the variants that cannot run on this machine",
                ),
            ],
            documentation="Validate a profile and estimate its work, without running it.",
            examples=("sizewise profiles check profile.yaml",),
        ),
        Command(
            "try",
            _test_connection,
            [_PROFILE_ARGUMENT, _SET_OPTION, json_option(), consent_option()],
            documentation="Send one request as the run would, and show the response.",
            examples=("sizewise profiles try profile.yaml",),
        ),
        KEYS_COMMAND,
        CI_COMMAND,
    ],
    documentation=__doc__,
)
