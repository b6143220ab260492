"""The desktop entry, its icon and the AppStream metadata are valid, and agree with the window."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from app.gui import main as gui
from app.gui.dropped_files import classify_path
from app.gui.theme import DARK, LIGHT
from app.records.bundle import BUNDLE_EXTENSION
from docs.packaging.release import APPLICATION_ID, DESKTOP_FILES, ROOT
from tests.fakes.colors import contrast

PACKAGING = ROOT / "docs" / "packaging"
ENTRY = PACKAGING / f"{APPLICATION_ID}.desktop"
METADATA = PACKAGING / f"{APPLICATION_ID}.metainfo.xml"
MEDIA_TYPE = PACKAGING / f"{APPLICATION_ID}.mime.xml"
ICON = [shape.attrib for shape in ElementTree.parse(Path(gui.__file__).with_name("icon.svg")).getroot()]
"""Attributes of the shapes of the icon, from the lowest layer to the highest."""


def test_desktop_entry_starts_window_with_its_application_id() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ENTRY)
    entry = parser["Desktop Entry"]
    assert entry["Exec"].split()[:2] == ["sizewise", "gui"]
    assert entry["Icon"] == gui._APPLICATION_ID == APPLICATION_ID
    assert f"icons/hicolor/scalable/apps/{entry['Icon']}.svg" in DESKTOP_FILES


def test_bundle_has_media_type_of_desktop_entry(tmp_path: Path) -> None:
    namespace = {"mime": "http://www.freedesktop.org/standards/shared-mime-info"}
    (media_type,) = ElementTree.parse(MEDIA_TYPE).getroot().findall("mime:mime-type", namespace)
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ENTRY)
    assert parser["Desktop Entry"]["MimeType"] == f"{media_type.attrib['type']};"
    assert parser["Desktop Entry"]["Exec"].endswith(" %F")
    assert ElementTree.parse(METADATA).getroot().findtext("provides/mediatype") == media_type.attrib["type"]
    assert f"mime/packages/{APPLICATION_ID}.xml" in DESKTOP_FILES
    patterns = [glob.attrib["pattern"] for glob in media_type.findall("mime:glob", namespace)]
    assert f"*{BUNDLE_EXTENSION}" in patterns
    for pattern in patterns:
        path = tmp_path / pattern.replace("*", "run")
        path.touch()
        assert classify_path(path).kind == "bundle"


def test_appstream_metadata_name_entry_and_license() -> None:
    root = ElementTree.parse(METADATA).getroot()
    assert root.findtext("id") == APPLICATION_ID
    assert root.findtext("launchable") == ENTRY.name
    assert root.findtext("project_license") == "Apache-2.0"


def test_icon_is_square_and_sharp_at_16_px() -> None:
    """Every inner edge is on a pixel of an icon of 16 px, and every shape at least a pixel wide."""
    ground, *shapes = ICON
    assert float(ground["width"]) == float(ground["height"])
    edges = [float(shape[edge]) for shape in shapes for edge in ("x", "y", "width", "height")]
    assert all(edge % 8 == 0 and edge > 0 for edge in edges)


def test_icon_has_contrast_with_both_themes() -> None:
    ground, *shapes = (shape["fill"] for shape in ICON)
    assert [background for background in (LIGHT.paper, DARK.paper) if contrast(ground, background) < 3] == []
    assert [shape for shape in shapes if contrast(shape, ground) < 3] == []


@pytest.mark.process
@pytest.mark.skipif(not shutil.which("desktop-file-validate"), reason="the validator is a Debian package")
def test_desktop_entry_is_valid() -> None:
    done = subprocess.run(["desktop-file-validate", ENTRY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.process
@pytest.mark.skipif(not shutil.which("appstreamcli"), reason="the validator is a Debian package")
def test_appstream_metadata_are_valid() -> None:
    """Except that there is no home page yet."""
    command = ["appstreamcli", "validate", "--no-net", "--override=url-homepage-missing=info", str(METADATA)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.process
@pytest.mark.skipif(not shutil.which("update-mime-database"), reason="the validator is a Debian package")
def test_desktop_recognizes_bundle_by_file_name(tmp_path: Path) -> None:
    database = tmp_path / "mime"
    (database / "packages").mkdir(parents=True)
    shutil.copy(MEDIA_TYPE, database / "packages")
    environment = {**os.environ, "XDG_DATA_HOME": str(tmp_path)}
    done = subprocess.run(
        ["update-mime-database", database], capture_output=True, text=True, check=False, env=environment
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f":application/vnd.sizewise.run+zip:*{BUNDLE_EXTENSION}" in (database / "globs2").read_text()
