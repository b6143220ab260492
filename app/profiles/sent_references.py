"""List what a profile sends to each host: secrets, and files from outside the profile's folder.

A profile from another person may name any host, any secret and any file. The user allows each host
once (`app.wiring.secret_consent`).
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from app.profiles.bundled import DATA_DIRECTORY
from app.profiles.endpoint import EndpointSettings
from app.profiles.local import LocalProfile
from app.profiles.profile import Profile
from app.profiles.redaction import list_paths
from app.profiles.secrets import find_reference
from loadgen.machine import never_leaves_machine

_UNREAD_KEYS = ("socket", "directory")
"""Keys of a Unix socket, and of the working directory of a program: nothing in them is read."""


def find_sent_references(profile: Profile) -> dict[str, tuple[str, ...]]:
    """Return, for each host, the references (`env:NAME`, `file:PATH`) to what the profile may send
    to the host: its secrets, and each file or folder that it names outside its own folder and
    outside the data bundled with Sizewise.

    Links in paths are resolved. Loopback addresses and Unix sockets are excluded, because what is
    sent to them does not leave this machine.
    """
    references_by_host: dict[str, set[str]] = {}
    target = None if isinstance(profile, LocalProfile) else profile.target
    if isinstance(target, EndpointSettings):
        texts = [*target.headers.values(), *([] if target.api_key is None else [target.api_key])]
        _add_references(references_by_host, _list_target_urls(profile), _find_references(texts))
    _add_references(
        references_by_host,
        _list_target_urls(profile),
        {f"file:{path}" for path in _list_files(profile) if not _is_own(path, profile.directory)},
    )
    for scrape in profile.telemetry:
        _add_references(references_by_host, (scrape.scrape,), _find_references(list(scrape.headers.values())))
    return _sort(references_by_host)


def find_own_files(profile: Profile) -> dict[str, tuple[str, ...]]:
    """Return, for each host, the references to the files in the profile's own folder that it may
    send to the host without permission."""
    references_by_host: dict[str, set[str]] = {}
    own_files = {f"file:{path}" for path in _list_files(profile) if _is_own(path, profile.directory)}
    _add_references(references_by_host, _list_target_urls(profile), own_files)
    return _sort(references_by_host)


def _list_target_urls(profile: Profile) -> tuple[str, ...]:
    """Return the URLs to which the requests of a profile are sent, without loopback addresses; empty
    for a local model, a Unix socket and a target that the run itself serves."""
    if isinstance(profile, LocalProfile) or getattr(profile.target, "socket", None) is not None:
        return ()
    return tuple(url for url in profile.target.all_urls if not never_leaves_machine(urlsplit(url).hostname or ""))


def _list_files(profile: Profile) -> tuple[Path, ...]:
    """Return the resolved path of every file and folder that a profile reads and that is not bundled
    with Sizewise; empty if it sends nothing to another machine."""
    if not _list_target_urls(profile):
        return ()
    tree = profile.model_dump(mode="json", by_alias=True)
    paths = (Path(text).resolve() for key, text in list_paths(tree) if key not in _UNREAD_KEYS)
    return tuple(path for path in paths if not path.is_relative_to(DATA_DIRECTORY.resolve()))


def _is_own(path: Path, directory: Path) -> bool:
    """Return whether a resolved path belongs to a profile in `directory`.

    Hidden files and folders do not, because programs store keys in them. If the profile is directly
    in the user's home folder or above it, only the files beside the profile do.
    """
    if not path.is_relative_to(directory):
        return False
    parts = path.relative_to(directory).parts
    is_hidden = any(part.startswith(".") for part in parts)
    contains_home = Path.home().resolve().is_relative_to(directory)
    return not is_hidden and not (contains_home and (len(parts) != 1 or path.is_dir()))


def _find_references(texts: list[str]) -> set[str]:
    return {reference for text in texts if (reference := find_reference(text)) is not None}


def _add_references(references_by_host: dict[str, set[str]], urls: tuple[str, ...], references: set[str]) -> None:
    for url in urls if references else ():
        host = (urlsplit(url).hostname or "").casefold()
        if not never_leaves_machine(host):
            references_by_host.setdefault(host, set()).update(references)


def _sort(references_by_host: dict[str, set[str]]) -> dict[str, tuple[str, ...]]:
    return {host: tuple(sorted(references)) for host, references in sorted(references_by_host.items())}
