"""The `keys` and `ci` actions of the `profiles` command: list all keys of a profile, and write a CI
job for a profile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from app.cli.commands import PATH, Arguments, Command, CommandOption
from app.cli.options import json_option, profile_argument

_DEFAULT_PROTOCOL = "http"


def _list_keys(arguments: Arguments) -> int:
    from app.errors import UsageError
    from app.profiles.fields import iter_fields, profile_fields
    from app.profiles.problems import did_you_mean
    from app.profiles.profile import PROFILES

    if arguments.protocol not in PROFILES:
        hint = did_you_mean(arguments.protocol, PROFILES) or f"Use one of {', '.join(PROFILES)}."
        raise UsageError(f"the protocol {arguments.protocol!r} is unknown", hint=hint)
    fields = [(path, field) for path, field in iter_fields(profile_fields(arguments.protocol)) if path[-1] != "*"]
    if arguments.json:
        import msgspec

        rows = [_build_row(path, field) for path, field in fields]
        print(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
        return 0
    for path, field in fields:
        row = _build_row(path, field)
        detail_texts = [row[name] for name in ("unit", "bounds") if row[name]]
        detail_texts += [f"default {row['default']}"] if row["default"] not in (None, [], {}) else []
        details_text = f"  ({'; '.join(map(str, detail_texts))})" if detail_texts else ""
        print(f"{row['key']}{details_text}\n    {field.help}")
    return 0


def _build_row(path: tuple[str, ...], field: Any) -> dict[str, Any]:
    return {
        "key": ".".join(path),
        "kind": field.kind,
        "unit": field.unit or None,
        "bounds": field.bounds or ", ".join(field.choices or (field.item.choices if field.item else ())) or None,
        "default": field.default,
        "required": field.is_required,
        "help": field.help,
    }


def _write_ci_job(arguments: Arguments) -> int:
    from app.profiles.bundled import find_profile
    from app.profiles.ci_job import write_ci_job
    from app.profiles.document import read_document
    from app.profiles.loading import load_profile

    path = find_profile(arguments.profile)
    load_profile(path)
    profile_text = path.read_text(encoding="utf-8")
    profile_document = read_document(profile_text.encode(), str(path)).value
    for written_path in write_ci_job(
        arguments.pipeline, profile_text, profile_document, path.resolve().parent, arguments.out, arguments.requirement
    ):
        print(written_path)
    return 0


KEYS_COMMAND = Command(
    "keys",
    _list_keys,
    [
        click.Argument(
            ["protocol"], default=_DEFAULT_PROTOCOL, help=f"protocol of the target (default: {_DEFAULT_PROTOCOL})"
        ),
        json_option(),
    ],
    documentation="List all profile keys with unit, bounds, default and meaning.",
    examples=("sizewise profiles keys openai",),
)
CI_COMMAND = Command(
    "ci",
    _write_ci_job,
    [
        profile_argument("profile file, or name of a bundled profile"),
        CommandOption(
            ["--for", "pipeline"],
            type=click.Choice(["github", "gitlab"]),
            required=True,
            help="CI system that runs the job",
        ),
        CommandOption(
            ["-o", "--out"],
            type=PATH,
            default=Path(),
            metavar="DIR",
            help="directory of the repository (default: current directory)",
        ),
        CommandOption(
            ["--install", "requirement"],
            metavar="REQUIREMENT",
            help="what pip installs in the job, such as the URL of a wheel (default: this version of sizewise)",
        ),
    ],
    documentation="Write a profile and a CI job that runs it to a repository.",
    examples=("sizewise profiles ci profile.yaml --for github",),
)
