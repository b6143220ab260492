"""The `keys` and `ci` actions of the `profiles` command: list all keys of a profile, and write a CI
job for a profile."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from app.cli.commands import PATH, Command, CommandOption
from app.cli.options import OutputOptions, output_options, parse_output, profile_argument
from app.cli.streams import print_whole, warn

if TYPE_CHECKING:
    from reports.sections.section import Cell, Column

_DEFAULT_PROTOCOL = "http"


def _list_keys(protocol: str, requested_output: OutputOptions) -> int:
    from app.cli.tables import format_table, print_json
    from app.errors import UsageError
    from app.profiles.fields import iter_fields, profile_fields
    from app.profiles.problems import did_you_mean
    from app.profiles.profile import PROFILES

    output = parse_output(requested_output)
    if protocol not in PROFILES:
        hint = did_you_mean(protocol, PROFILES) or f"Use one of {', '.join(PROFILES)}."
        raise UsageError(f"the protocol {protocol!r} is unknown", hint=hint)
    fields = [(path, field) for path, field in iter_fields(profile_fields(protocol)) if path[-1] != "*"]
    rows = [_build_row(path, field) for path, field in fields]
    if output == "json":
        print_json(rows)
    elif output == "table":
        for row in rows:
            _print_key(row)
    else:
        print_whole(format_table(_build_columns(), rows, output))
    return 0


def _print_key(row: dict[str, Any]) -> None:
    """Print a key with its meaning below it, since the meanings are too long for a table."""
    from app.profiles.editing import format_inline

    detail_texts = [row[name] for name in ("unit", "bounds") if row[name]]
    default = row["default"]
    if default not in (None, [], {}):
        detail_texts.append(f"default {format_inline(default) if isinstance(default, dict) else default}")
    details_text = f"  ({'; '.join(map(str, detail_texts))})" if detail_texts else ""
    print(f"{row['key']}{details_text}\n    {row['help']}")


def _build_columns() -> list[Column[dict[str, Any]]]:
    from reports.sections.section import Column

    def read_value(row: dict[str, Any], name: str) -> Cell:
        value: Cell | list[Any] | dict[str, Any] = row[name]
        return str(value) if isinstance(value, list | dict) else value

    names = ("key", "kind", "unit", "bounds", "default", "required", "help")
    return [Column(name, name, partial(read_value, name=name)) for name in names]


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


def _write_ci_job(profile: str, pipeline: Literal["github", "gitlab"], out: Path, requirement: str | None) -> int:
    from app.profiles.bundled import find_profile
    from app.profiles.ci_job import describe_missing_package, write_ci_job
    from app.profiles.document import read_document
    from app.profiles.loading import load_profile

    path = find_profile(profile)
    load_profile(path)
    profile_text = path.read_text(encoding="utf-8")
    profile_document = read_document(profile_text.encode(), str(path)).value
    for written_path in write_ci_job(pipeline, profile_text, profile_document, path.resolve().parent, out, requirement):
        print(written_path)
    problem = describe_missing_package(requirement)
    if problem is not None:
        warn(problem)
    return 0


KEYS_COMMAND = Command(
    "keys",
    _list_keys,
    [
        click.Argument(
            ["protocol"], default=_DEFAULT_PROTOCOL, help=f"protocol of the target (default: {_DEFAULT_PROTOCOL})"
        ),
        *output_options(),
    ],
    documentation="List all profile keys with unit, bounds, default and meaning.",
    examples=("sizewise profiles keys openai-chat",),
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
            help="what pip installs in the job: a wheel in the repository, the URL of a wheel, or a VCS URL such as "
            "git+https://… (default: this version of sizewise from a package index)",
        ),
    ],
    documentation="Write a profile and a CI job that runs it to a repository.",
    examples=(
        "sizewise profiles ci profile.yaml --for github --install git+https://git.example.com/tools/sizewise@v0.1.0",
    ),
)
