"""Tests of a window on an X server with real key events and screenshots."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.fakes.program import Sizewise, wait_until
from tests.fakes.virtual_screen import virtual_screen

pytestmark = [pytest.mark.process, pytest.mark.skipif(sys.platform != "linux", reason="Xvfb is Linux's")]


def differing_share(first: Image.Image, second: Image.Image) -> float:
    """Return the share of pixels that differ."""
    before, after = first.convert("L").tobytes(), second.convert("L").tobytes()
    return sum(a != b for a, b in zip(before, after, strict=True)) / len(before)


def count_shades(picture: Image.Image) -> int:
    """Return the number of gray levels, which is 1 for an empty image."""
    return len(set(picture.convert("L").resize((140, 90)).tobytes()))


def test_window_opens_reacts_to_keys_and_closes(tmp_path: Path) -> None:
    with virtual_screen() as screen:
        process = Sizewise(tmp_path, tmp_path).start("gui", **screen.environment)
        try:
            wait_until(lambda: screen.has_window("Home"))
            screen.focus("Home")
            wait_until(lambda: count_shades(screen.picture()) > 20)
            home = screen.picture()
            home.save(tmp_path / "home.png")
            screen.press("ctrl+7")
            wait_until(lambda: screen.has_window("Library"))
            wait_until(lambda: differing_share(home, screen.picture()) > 0.01)
            screen.press("ctrl+q")
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 0, stderr
    assert "Traceback" not in stderr
    assert (tmp_path / "window.ini").exists()


def test_ctrl_c_in_the_terminal_closes_the_window(tmp_path: Path) -> None:
    import signal

    with virtual_screen() as screen:
        process = Sizewise(tmp_path, tmp_path).start("gui", **screen.environment)
        try:
            wait_until(lambda: screen.has_window("Home"))
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 0, stderr
    assert (tmp_path / "window.ini").exists()


def test_gui_without_a_display_exits_with_3_and_a_hint(tmp_path: Path) -> None:
    no_display = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "QT_QPA_PLATFORM": ""}
    process = Sizewise(tmp_path, tmp_path)("gui", **no_display)
    assert process.returncode == 3
    assert process.stderr.startswith("error: no display is available for the window\nhint: ")


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("flow", ["first_run", "endpoint", "local_model", "plan", "compare"])
def test_click_counting_flows_pass_on_an_x_server(flow: str) -> None:
    """An offscreen window, as in `make test`, has the keyboard focus immediately and is not mapped by a server."""
    path = Path(__file__).with_name(f"test_flow_{flow}.py")
    with virtual_screen() as screen:
        process = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not soak", str(path)],
            env=os.environ | screen.environment, capture_output=True, text=True, timeout=1000, check=False,
        )  # fmt: skip
    assert process.returncode == 0, process.stdout[-3000:]
