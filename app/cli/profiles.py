"""List, show and check profiles."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(metavar="ACTION", required=True, dest="action")
    listing = actions.add_parser("list", help="the bundled profiles")
    listing.add_argument("--json", action="store_true", help="print as JSON, with their files")
    show = actions.add_parser("show", help="a profile with every default filled in")
    check = actions.add_parser("check", help="whether a profile is right, without running it")
    for action in (show, check):
        action.add_argument("profile", help="a profile file, or the name of a bundled one")
        action.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")


def execute(arguments: argparse.Namespace) -> int:
    from app.profiles.bundled import find_profile
    from app.profiles.loading import load_profile
    from app.profiles.resolved import profile_hash, spec_yaml

    if arguments.action == "list":
        return _list(arguments)
    path = find_profile(arguments.profile)
    profile = load_profile(path, arguments.overrides)
    if arguments.action == "show":
        print(spec_yaml(profile), end="")
    else:
        print(f"{path}: right ({profile.name}, hash {profile_hash(profile)[:12]})")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    from app.profiles.bundled import bundled_profiles
    from app.profiles.loading import load_profile

    profiles = [(name, load_profile(path).description, str(path)) for name, path in bundled_profiles().items()]
    if arguments.json:
        import msgspec

        rows = [dict(zip(("name", "description", "file"), one, strict=True)) for one in profiles]
        print(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
    else:
        from app.cli.tables import table

        print(table(("profile", "what it is"), [(name, what) for name, what, _ in profiles]))
    return 0
