"""Build the files of a release in `dist`: sdist, wheel, pinned versions, SBOM, licenses and checksums.

`make release` runs this module in the environment of docs/packaging/requirements.txt, in which
Sizewise is not installed, so the module imports the standard library only. The files are built from
the current commit, not from the working tree, twice and in two folders: their checksums must be
equal. `SOURCE_DATE_EPOCH` is the time of the commit.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from docs.packaging.constraints import build_constraints

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "dist"
PACKAGES = ("app", "loadgen", "profiles", "reports")
MODULE = "sizewise.py"
METADATA_FILES = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
APPLICATION_ID = "org.sizewise.sizewise"
DESKTOP_FILES = (
    f"applications/{APPLICATION_ID}.desktop",
    f"icons/hicolor/scalable/apps/{APPLICATION_ID}.svg",
    f"metainfo/{APPLICATION_ID}.metainfo.xml",
    f"mime/packages/{APPLICATION_ID}.xml",
)
_UNWANTED_FOLDERS = frozenset({"tests", "docs", "__pycache__"})
_EXTRAS = "all,pdf,pictures,tokenizer"
"""Extras whose dependencies are in the SBOM: all that a user may install, except CUDA's
libraries."""


class ReleaseError(Exception):
    """Error that ends the release; the message states what is wrong with which file."""


def main() -> int:
    """Build and check the release, and return the exit code."""
    try:
        _release()
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"error: `{' '.join(map(str, error.cmd))}` exited with code {error.returncode}", file=sys.stderr)
        return 1
    return 0


def _release() -> None:
    if _run_git("status", "--porcelain").strip():
        raise ReleaseError("the working tree has changes or untracked files. Commit or remove them first.")
    commit, time_s = _run_git("log", "-1", "--format=%H %ct").decode().split()
    environment = os.environ | {"SOURCE_DATE_EPOCH": time_s, "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    with tempfile.TemporaryDirectory(prefix="sizewise-release-") as work:
        builds = []
        tracked: list[str] = []
        for name in ("first", "second-in-another-folder"):
            source, built = Path(work) / name / "source", Path(work) / name / "built"
            _export_commit(commit, source)
            tracked = list_files(source)  # before the build, which may leave files there
            _build(source, built, environment)
            builds.append(built)
        require_equal(*(compute_checksums(built.iterdir()) for built in builds))
        sdist, wheel = *builds[0].glob("*.tar.gz"), *builds[0].glob("*.whl")
        version = wheel.name.split("-")[1]
        require_no_faults(wheel.name, find_wheel_faults(list_wheel(wheel), tracked, version))
        require_no_faults(sdist.name, find_sdist_faults(list_sdist(sdist), tracked))
        if not re.search(rf"^## {re.escape(version)}\b", (source / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE):
            raise ReleaseError(f"CHANGELOG.md has no section for version {version}. Rename Unreleased to it.")
        _run_tool("twine", "check", "--strict", sdist, wheel)
        sbom_path = builds[0] / f"sizewise-{version}.cdx.json"
        python = _install(wheel, source, Path(work) / "environment")
        _write_sbom(python, source, version, sbom_path, environment)
        licenses_path = builds[0] / f"sizewise-{version}-licenses.md"
        licenses_path.write_text(render_licenses(_list_distributions(python)), "utf-8")
        shutil.rmtree(OUT, ignore_errors=True)
        OUT.mkdir()
        for path in (sdist, wheel, sbom_path, licenses_path):
            shutil.copy(path, OUT)
        (OUT / "constraints.txt").write_text(
            build_constraints((source / "requirements.lock").read_text("utf-8")), "utf-8"
        )
    lines = [f"{digest}  {name}\n" for name, digest in compute_checksums(OUT.iterdir()).items()]
    (OUT / "SHA256SUMS").write_text("".join(lines), "utf-8")
    print(f"Sizewise {version} from commit {commit[:12]}, built twice with equal checksums:\n{''.join(lines)}", end="")


def _run_git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout


def _export_commit(commit: str, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(_run_git("archive", "--format=tar", commit))) as archive:
        archive.extractall(folder, filter="data")


def list_files(folder: Path) -> list[str]:
    """Return the paths of all files of a folder, relative to it."""
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def _run_tool(name: str, *arguments: str | Path, environment: dict[str, str] | None = None) -> None:
    """Run a program of this environment. Raises CalledProcessError if the program fails."""
    subprocess.run([Path(sys.executable).with_name(name), *arguments], env=environment, check=True)


def _build(source: Path, out: Path, environment: dict[str, str]) -> None:
    """Build the sdist, and the wheel from the sdist, as an installer would."""
    options = ("--quiet", "--no-build-isolation", "--offline", "--no-create-gitignore", "--python", sys.executable)
    _run_tool("uv", "build", *options, "--out-dir", out, source, environment=environment)


def compute_checksums(paths: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 checksum of each file by its name, in order of the names."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(paths)}


def require_equal(first: dict[str, str], second: dict[str, str]) -> None:
    """Raise ReleaseError if two builds differ in a file."""
    if different := sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name)):
        raise ReleaseError(f"two builds of one commit differ in {', '.join(different)}")


def require_no_faults(name: str, faults: Sequence[str]) -> None:
    """Raise ReleaseError if a file has faults."""
    if faults:
        raise ReleaseError(f"{name}: {'; '.join(faults)}")


def list_wheel(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def list_sdist(path: Path) -> list[str]:
    """Return the files of an sdist without the folder that contains them all."""
    with tarfile.open(path) as archive:
        return [member.name.partition("/")[2] for member in archive if member.isfile()]


def find_wheel_faults(names: Collection[str], tracked: Iterable[str], version: str) -> list[str]:
    """Return what is wrong with the contents of a wheel.

    A wheel contains the tracked files of the packages, `sizewise.py`, its metadata and the desktop
    entry: no tests, caches or documentation.
    """
    packaged = {name for name in tracked if name == MODULE or name.partition("/")[0] in PACKAGES}
    metadata = {f"sizewise-{version}.dist-info/{name}" for name in METADATA_FILES}
    desktop = {f"sizewise-{version}.data/data/share/{name}" for name in DESKTOP_FILES}
    unwanted = [name for name in names if _UNWANTED_FOLDERS & set(name.split("/")[:-1]) or name.endswith(".pyc")]
    return [f"{name} does not belong in a wheel" for name in unwanted] + _compare(names, packaged | metadata | desktop)


def find_sdist_faults(names: Collection[str], tracked: Iterable[str]) -> list[str]:
    """Return what is wrong with the contents of an sdist, which contains every tracked file, tests
    and documentation included, and the metadata."""
    return _compare(names, {*tracked, "PKG-INFO"})


def _compare(names: Collection[str], expected: set[str]) -> list[str]:
    missing = [f"{name} is missing" for name in sorted(expected.difference(names))]
    return missing + [f"{name} is unexpected" for name in sorted(set(names) - expected)]


def _install(wheel: Path, source: Path, folder: Path) -> Path:
    """Install the wheel with the dependencies that requirements.lock pins, and return the
    interpreter."""
    _run_tool("uv", "venv", "--quiet", "--python", sys.executable, folder)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pinned = ("--constraint", source / "requirements.lock")
    _run_tool("uv", "pip", "install", "--quiet", "--python", python, *pinned, f"{wheel}[{_EXTRAS}]")
    for path in folder.rglob("sizewise-*.dist-info/direct_url.json"):
        path.unlink()  # It names the folder of the build.
    return python


def _write_sbom(python: Path, source: Path, version: str, out: Path, environment: dict[str, str]) -> None:
    """Write the CycloneDX SBOM of an environment in which the wheel is installed."""
    options = ("--output-reproducible", "--output-format", "JSON", "--mc-type", "application")
    project = ("--pyproject", source / "pyproject.toml")
    _run_tool("cyclonedx-py", "environment", *options, *project, "-o", out, python, environment=environment)
    sbom = json.loads(out.read_bytes())
    # The tool cannot read the version, which pyproject.toml does not contain.
    sbom["metadata"]["component"] |= {"version": version, "purl": f"pkg:pypi/sizewise@{version}"}
    out.write_text(json.dumps(sbom, indent=2, sort_keys=True) + "\n", "utf-8")


def _list_distributions(python: Path) -> Iterator[Distribution]:
    (folder,) = {path.parent for path in python.parent.parent.rglob("sizewise-*.dist-info")}
    return iter(distributions(path=[str(folder)]))


def render_licenses(distributions: Iterable[Distribution]) -> str:
    """Return a Markdown table with the version and the license of each dependency."""
    rows = sorted(
        {
            (found.name, found.version, find_license(found.metadata.json))
            for found in distributions
            if found.name != "sizewise"
        },
        key=lambda row: row[0].lower(),
    )
    lines = ["# Licenses of the dependencies of Sizewise", "", _LICENSES_NOTE, ""]
    lines += ["| package | version | license |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


_LICENSES_NOTE = (
    "Sizewise contains none of these packages; an installer fetches them. The licenses are those that the packages "
    f"declare, in an installation of `sizewise[{_EXTRAS}]` on the platform of the release ({sys.platform}, Python "
    f"{sys.version_info.major}.{sys.version_info.minor}). PySide6 and shiboken6 (Qt for Python) are used under the "
    "LGPL, unmodified, as dynamic libraries."
)
_CLASSIFIER = "License :: "
_MAX_LICENSE_LENGTH = 60
"""Maximum length of a license's name; some packages declare the whole text instead."""


def find_license(metadata: dict[str, Any]) -> str:
    """Return the license that a package declares: its SPDX expression, else its short name, else
    its classifiers."""
    name = str(metadata.get("license", "")).strip()
    classifiers = [text for text in metadata.get("classifier", []) if text.startswith(_CLASSIFIER)]
    classified = ", ".join(text.rpartition(" :: ")[2] for text in classifiers)
    short_name = name if len(name) <= _MAX_LICENSE_LENGTH and "\n" not in name else ""
    found = metadata.get("license_expression") or short_name or classified or "not declared"
    return str(found).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
