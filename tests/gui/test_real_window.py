"""A real window on a screen, real keys, and what is to be seen."""

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


def differing_share(one: Image.Image, other: Image.Image) -> float:
    """Of the pixels."""
    before, after = one.convert("L").tobytes(), other.convert("L").tobytes()
    return sum(a != b for a, b in zip(before, after, strict=True)) / len(before)


def shades(picture: Image.Image) -> int:
    """Of grey: one where nothing is drawn."""
    return len(set(picture.convert("L").resize((140, 90)).tobytes()))


def test_the_window_opens_takes_keys_and_closes(tmp_path: Path) -> None:
    with virtual_screen() as screen:
        process = Sizewise(tmp_path, tmp_path).start("gui", **screen.environment)
        try:
            wait_until(lambda: screen.has_window("Home"))
            screen.focus("Home")
            wait_until(lambda: shades(screen.picture()) > 20)
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


def test_ctrl_c_in_the_terminal_closes_it(tmp_path: Path) -> None:
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


def test_without_a_screen_it_says_what_to_do(tmp_path: Path) -> None:
    nothing = {"DISPLAY": "", "WAYLAND_DISPLAY": "", "QT_QPA_PLATFORM": ""}
    done = Sizewise(tmp_path, tmp_path)("gui", **nothing)
    assert done.returncode == 3
    assert done.stderr.startswith("error: no display is available for the window\nhint: ")


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("flow", ["first_run", "endpoint", "local_model", "plan", "compare"])
def test_a_flow_whose_clicks_are_counted_passes_on_an_x_server(flow: str) -> None:
    """Offscreen, where make test runs it, a window gets the keyboard at once and needs no server to map it."""
    path = Path(__file__).with_name(f"test_flow_{flow}.py")
    with virtual_screen() as screen:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not soak", str(path)],
            env=os.environ | screen.environment, capture_output=True, text=True, timeout=1000, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
