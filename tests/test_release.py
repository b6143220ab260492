"""The contents of the sdist and the wheel, and the checks of `make release` on them and their dependencies."""

from __future__ import annotations

import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from app import __version__
from docs.packaging import release
from docs.packaging.release import (
    MODULE,
    PACKAGES,
    ROOT,
    ReleaseError,
    compute_checksums,
    find_license,
    find_sdist_faults,
    find_wheel_faults,
    list_wheel,
    render_licenses,
    require_equal,
    require_no_faults,
)

TRACKED = ["app/cli/run.py", "docs/index.md", "sizewise.py", "tests/app/test_errors.py"]
WHEEL = [
    "app/cli/run.py",
    "sizewise.py",
    "sizewise-1.0.data/data/share/applications/org.sizewise.sizewise.desktop",
    "sizewise-1.0.data/data/share/icons/hicolor/scalable/apps/org.sizewise.sizewise.svg",
    "sizewise-1.0.data/data/share/metainfo/org.sizewise.sizewise.metainfo.xml",
    "sizewise-1.0.data/data/share/mime/packages/org.sizewise.sizewise.xml",
    "sizewise-1.0.dist-info/METADATA",
    "sizewise-1.0.dist-info/RECORD",
    "sizewise-1.0.dist-info/WHEEL",
    "sizewise-1.0.dist-info/entry_points.txt",
    "sizewise-1.0.dist-info/licenses/LICENSE",
]


def test_wheel_of_checkout_has_only_packages(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    packaged = [path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file()]
    sources = [str(path.relative_to(ROOT)) for path in packaged if path.parent.name != "__pycache__"]
    assert len(sources) > 500
    assert find_wheel_faults(list_wheel(Path(wheel)), [*sources, MODULE], __version__) == []


def test_file_created_by_build_is_unexpected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def export(_commit: str, source: Path) -> None:
        (source / "app").mkdir(parents=True)

    def build(source: Path, built: Path, _environment: dict[str, str]) -> None:
        (source / "app" / "scratch.py").touch()
        built.mkdir()
        (built / "sizewise-1.0.tar.gz").touch()
        with zipfile.ZipFile(built / "sizewise-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr(zipfile.ZipInfo("app/scratch.py"), "")

    monkeypatch.setattr(release, "_run_git", lambda *arguments: b"" if arguments[0] == "status" else b"c0ffee 0")
    monkeypatch.setattr(release, "_export_commit", export)
    monkeypatch.setattr(release, "_build", build)
    monkeypatch.setattr(release, "OUT", tmp_path)
    assert release.main() == 1
    assert "app/scratch.py is unexpected" in capsys.readouterr().err


def test_expected_wheel_has_no_faults() -> None:
    assert find_wheel_faults(WHEEL, TRACKED, "1.0") == []


@pytest.mark.parametrize(
    ("name", "tracked"),
    [
        ("app/tests/test_run.py", True),
        ("profiles/docs/index.md", True),
        ("app/cli/__pycache__/run.cpython-311.pyc", True),
        ("app/old.pyc", True),
        ("app/scratch.py", False),
        ("conftest.py", True),
        ("other-1.0.dist-info/METADATA", False),
    ],
)
def test_file_that_does_not_belong_in_wheel_is_fault(name: str, tracked: bool) -> None:
    (fault, *_) = find_wheel_faults([*WHEEL, name], [*TRACKED, name] if tracked else TRACKED, "1.0")
    assert fault.startswith(f"{name} ")


@pytest.mark.parametrize("missing", WHEEL)
def test_missing_wheel_file_is_fault(missing: str) -> None:
    assert find_wheel_faults(set(WHEEL) - {missing}, TRACKED, "1.0") == [f"{missing} is missing"]


def test_sdist_must_have_exactly_tracked_files_and_metadata() -> None:
    assert find_sdist_faults([*TRACKED, "PKG-INFO"], TRACKED) == []
    assert find_sdist_faults([*TRACKED[1:], "PKG-INFO", "notes.txt"], TRACKED) == [
        "app/cli/run.py is missing",
        "notes.txt is unexpected",
    ]


def test_faults_stop_release() -> None:
    require_no_faults("a.whl", [])
    with pytest.raises(ReleaseError, match=r"^a\.whl: b is missing; c is unexpected$"):
        require_no_faults("a.whl", ["b is missing", "c is unexpected"])


def test_differing_builds_stop_release(tmp_path: Path) -> None:
    (tmp_path / "b.whl").write_bytes(b"same")
    (tmp_path / "a.tar.gz").write_bytes(b"")
    first = compute_checksums([tmp_path / "b.whl", tmp_path / "a.tar.gz"])
    assert list(first) == ["a.tar.gz", "b.whl"]
    assert first["a.tar.gz"] == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    require_equal(first, dict(first))
    (tmp_path / "b.whl").write_bytes(b"other")
    with pytest.raises(ReleaseError, match=r"differ in b\.whl$"):
        require_equal(first, compute_checksums(tmp_path.iterdir()))
    with pytest.raises(ReleaseError, match=r"differ in a\.tar\.gz$"):
        require_equal(first, {"b.whl": first["b.whl"]})


@pytest.mark.parametrize(
    ("metadata", "declared"),
    [
        ({"license_expression": "MIT OR Apache-2.0", "license": "see LICENSE"}, "MIT OR Apache-2.0"),
        ({"license": "3-Clause BSD License"}, "3-Clause BSD License"),
        ({"license": "Copyright\nAll of it", "classifier": ["License :: OSI Approved :: BSD License"]}, "BSD License"),
        ({"license": "x" * 61, "classifier": ["License :: OSI Approved", "Typing :: Typed"]}, "OSI Approved"),
        ({"license": "A|B"}, "A\\|B"),
        ({}, "not declared"),
    ],
)
def test_license_is_read_from_package_metadata(metadata: dict[str, str | list[str]], declared: str) -> None:
    assert find_license(metadata) == declared


def test_license_list_has_each_dependency_except_sizewise(tmp_path: Path) -> None:
    for name, version, license_name in [("Zope", "2", "ZPL-2.1"), ("click", "8.5", "BSD"), ("sizewise", "1", "Apache")]:
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        text = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: {license_name}\n"
        (folder / "METADATA").write_text(text, "utf-8")
    lines = render_licenses(distributions(path=[str(tmp_path)])).splitlines()
    assert lines[-2:] == ["| click | 8.5 | BSD |", "| Zope | 2 | ZPL-2.1 |"]
    assert not any(line.startswith("| sizewise") for line in lines)
