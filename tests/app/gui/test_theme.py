from __future__ import annotations

import gc

import pytest
from PySide6.QtCore import QEvent
from PySide6.QtGui import QPalette
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from app.gui.theme import CONTRAST, DARK, LIGHT, Theme, ThemeController

TEXT = ("ink", "muted", "accent", "good", "warn", "bad")


def luminance(colour: str) -> float:
    """WCAG 2.2's relative luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK, CONTRAST], ids=lambda theme: theme.name)
@pytest.mark.parametrize("ground", ["paper", "card"])
@pytest.mark.parametrize("text", TEXT)
def test_every_text_can_be_read(theme: Theme, ground: str, text: str) -> None:
    assert contrast(getattr(theme, text), getattr(theme, ground)) >= 4.5


@pytest.mark.parametrize("theme", [LIGHT, DARK, CONTRAST], ids=lambda theme: theme.name)
def test_every_series_stands_out_of_the_paper(theme: Theme) -> None:
    assert all(contrast(colour, theme.paper) >= 3 for colour in theme.series)
    assert contrast(theme.on_accent, theme.accent) >= 4.5


def test_the_palette_follows_and_whoever_paints_is_reported(qapp: QApplication, look: ThemeController) -> None:
    seen: list[Theme] = []
    look.changed.connect(seen.append)
    look.set_choice("dark")
    assert qapp.palette().color(QPalette.ColorRole.Window).name() == DARK.paper
    look.set_choice("light")
    assert qapp.palette().color(QPalette.ColorRole.Window).name() == LIGHT.paper
    assert [theme.name for theme in seen] == ["dark", "light"]
    look.set_choice("light")
    look.scale_text(look.text_scale)
    assert len(seen) == 2, "what is applied already is not applied again"
    look.changed.disconnect(seen.append)


def test_text_grows_to_twice_its_size_and_no_further(qapp: QApplication, look: ThemeController) -> None:
    usual = qapp.font().pointSizeF()
    look.scale_text(5)
    assert qapp.font().pointSizeF() == pytest.approx(2 * usual)
    look.scale_text(1)
    assert qapp.font().pointSizeF() == pytest.approx(usual)


class Listening(QWidget):
    """An override in Python, in which Python may collect."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[bool] = []

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - the name is Qt's
        if event.type() == QEvent.Type.StyleChange:
            self.received.append(gc.isenabled())
        super().changeEvent(event)


def test_no_widget_is_collected_while_a_style_sheet_goes_round(qtbot: QtBot, look: ThemeController) -> None:
    widget = Listening()
    qtbot.addWidget(widget)
    widget.show()
    widget.received.clear()
    gc.enable()
    look.set_choice("dark")
    look.set_choice("light")
    assert widget.received
    assert not any(widget.received)
    assert gc.isenabled()
