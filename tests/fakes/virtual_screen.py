"""A virtual screen for a window on a real platform: Xvfb, real keys by xdotool, and screenshots."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
from PIL import Image, ImageGrab

from tests.fakes.program import wait_until


class VirtualScreen(msgspec.Struct, frozen=True):
    display: str

    @property
    def environment(self) -> dict[str, str]:
        return {"DISPLAY": self.display, "QT_QPA_PLATFORM": "xcb"}

    def press(self, *keys: str) -> None:
        """Press keys by their names in xdotool: ctrl+3, Return."""
        self._xdotool("key", "--clearmodifiers", *keys)

    def has_window(self, title: str) -> bool:
        return bool(self._xdotool("search", "--onlyvisible", "--name", title))

    def focus(self, title: str) -> None:
        """Focus the window: no window manager does so."""
        self._xdotool("search", "--onlyvisible", "--name", title, "windowfocus")

    def picture(self) -> Image.Image:
        return ImageGrab.grab(xdisplay=self.display)

    def _xdotool(self, *arguments: str) -> str:
        process = subprocess.run(
            ["xdotool", *arguments], env=os.environ | self.environment, capture_output=True, text=True, timeout=20,
            check=False,
        )  # fmt: skip
        return process.stdout.strip()


@contextmanager
def virtual_screen(size: str = "1400x900x24") -> Iterator[VirtualScreen]:
    server = shutil.which("Xvfb")
    # with -noreset, since it refuses connections for a moment while it starts over after its last client has left
    assert server is not None, "no Xvfb: run tests/install-system-libraries"
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [server, "-displayfd", str(writing), "-screen", "0", size, "-nolisten", "tcp", "-noreset"],
        pass_fds=(writing,),
        stderr=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        with os.fdopen(reading) as reported:
            number = reported.readline().strip()
        assert number, "Xvfb did not start"
        screen = VirtualScreen(f":{number}")
        wait_until(lambda: process.poll() is None and screen.picture().size[0] > 0)
        yield screen
    finally:
        process.terminate()
        process.wait(10)
