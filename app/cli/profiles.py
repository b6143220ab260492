"""List, show and check profiles."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    actions.add_parser("list", help="the bundled profiles")
    show = actions.add_parser("show", help="a profile with every default filled in")
    check = actions.add_parser("check", help="whether a profile is right, without running it")
    for action in (show, check):
        action.add_argument("profile", help="a profile file, or the name of a bundled one")
        action.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")


def execute(arguments: argparse.Namespace) -> int:
    from app.cli.tables import table
    from app.profiles.bundled import bundled_profiles, find_profile
    from app.profiles.loading import load_profile
    from app.profiles.resolved import profile_hash, spec_yaml

    if arguments.action == "list":
        rows = [(name, str(path)) for name, path in sorted(bundled_profiles().items())]
        print(table(("profile", "file"), rows))
        return 0
    path = find_profile(arguments.profile)
    profile = load_profile(path, arguments.overrides)
    if arguments.action == "show":
        print(spec_yaml(profile), end="")
    else:
        print(f"{path}: right ({profile.name}, hash {profile_hash(profile)[:12]})")
    return 0
