"""The desktop entry, its icon and the AppStream metadata are what desktops accept, and agree with the window."""

from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from app.gui import main as gui
from docs.packaging.release import APPLICATION_ID, DESKTOP_FILES, ROOT

PACKAGING = ROOT / "docs" / "packaging"
ENTRY = PACKAGING / f"{APPLICATION_ID}.desktop"
METADATA = PACKAGING / f"{APPLICATION_ID}.metainfo.xml"


def test_the_entry_opens_the_window_and_has_the_identity_of_the_window() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ENTRY)
    entry = parser["Desktop Entry"]
    assert entry["Exec"].split()[:2] == ["sizewise", "gui"]
    assert entry["Icon"] == gui._APPLICATION_ID == APPLICATION_ID
    assert f"icons/hicolor/scalable/apps/{entry['Icon']}.svg" in DESKTOP_FILES


def test_the_metadata_name_the_entry_and_the_license() -> None:
    root = ElementTree.parse(METADATA).getroot()
    assert root.findtext("id") == APPLICATION_ID
    assert root.findtext("launchable") == ENTRY.name
    assert root.findtext("project_license") == "Apache-2.0"


def test_the_icon_is_a_square_drawing() -> None:
    root = ElementTree.parse(Path(gui.__file__).with_name("icon.svg")).getroot()
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert width == height


@pytest.mark.process
@pytest.mark.skipif(not shutil.which("desktop-file-validate"), reason="the validator is a Debian package")
def test_the_entry_is_valid() -> None:
    done = subprocess.run(["desktop-file-validate", ENTRY], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.process
@pytest.mark.skipif(not shutil.which("appstreamcli"), reason="the validator is a Debian package")
def test_the_metadata_are_valid() -> None:
    """Except that there is no home page yet."""
    command = ["appstreamcli", "validate", "--no-net", "--override=url-homepage-missing=info", str(METADATA)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
