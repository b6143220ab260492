from __future__ import annotations

import gc
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QFont, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication, QLabel, QWidget
from pytestqt.qtbot import QtBot

from app.gui import theme as theming
from app.gui.theme import (
    CONTRAST,
    CONTRAST_LIGHT,
    DARK,
    LIGHT,
    Theme,
    ThemeController,
    number_font,
    select_theme,
    small_font,
)
from tests.fakes.colors import contrast

TEXT = ("ink", "muted", "accent", "good", "warn", "bad")
THEMES = (LIGHT, DARK, CONTRAST, CONTRAST_LIGHT)


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
@pytest.mark.parametrize("ground", ["paper", "card"])
def test_every_text_can_be_read(theme: Theme, ground: str) -> None:
    least = 7 if theme.is_high_contrast else 4.5
    ratios = {text: contrast(getattr(theme, text), getattr(theme, ground)) for text in TEXT}
    assert {text: ratio for text, ratio in ratios.items() if ratio < least} == {}
    assert contrast(theme.on_accent, theme.accent) >= least
    assert contrast(theme.ink, theme.pressed) >= least


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
@pytest.mark.parametrize("ground", ["paper", "card"])
def test_every_series_stands_out_of_the_ground(theme: Theme, ground: str) -> None:
    graphics = [*theme.series, *theme.extra_series, theme.outline, *([theme.grid] if theme.is_high_contrast else [])]
    assert all(contrast(colour, getattr(theme, ground)) >= 3 for colour in graphics)
    assert len({*theme.series, *theme.extra_series}) == len(theme.series) + len(theme.extra_series)


def test_the_system_decides_on_darkness_and_on_contrast() -> None:
    schemes = (Qt.ColorScheme.Unknown, Qt.ColorScheme.Light, Qt.ColorScheme.Dark)
    assert [select_theme(scheme, prefers_contrast=False) for scheme in schemes] == [LIGHT, LIGHT, DARK]
    assert [select_theme(scheme, prefers_contrast=True) for scheme in schemes] == [
        CONTRAST_LIGHT,
        CONTRAST_LIGHT,
        CONTRAST,
    ]


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


@pytest.mark.skipif(not hasattr(QGuiApplication.styleHints(), "accessibility"), reason="reported from Qt 6.10 on")
def test_the_window_follows_when_the_system_asks_for_contrast(
    look: ThemeController, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = QGuiApplication.styleHints().accessibility().contrastPreferenceChanged
    look.set_choice("system")
    monkeypatch.setattr(theming, "_prefers_contrast", lambda: True)
    changed.emit(Qt.ContrastPreference.HighContrast)
    assert look.theme.is_high_contrast
    monkeypatch.undo()
    changed.emit(Qt.ContrastPreference.NoPreference)
    assert not look.theme.is_high_contrast
    look.set_choice("light")


def test_numbers_align_in_every_role_of_text(qtbot: QtBot, look: ThemeController) -> None:
    """A rule of the style sheet keeps the font's features."""
    title = QLabel("1")
    title.setProperty("role", "title")
    qtbot.addWidget(title)
    title.ensurePolished()
    tabular = QFont.Tag("tnum")
    assert [font.isFeatureSet(tabular) for font in (QApplication.font(), title.font())] == [True, True]
    assert title.font().pointSizeF() == pytest.approx(1.6 * QApplication.font().pointSizeF(), abs=0.1)
    assert small_font(title.font()).pointSizeF() == pytest.approx(0.92 * title.font().pointSizeF())


def test_columns_of_numbers_have_a_fixed_width_if_the_font_has_no_tabular_figures(
    qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert number_font(qapp.font()) is None, "all digits of this machine's font are of one width"
    monkeypatch.setattr(theming, "QFontMetricsF", ProportionalMetrics)
    font = number_font(qapp.font())
    assert font is not None
    assert (font.family(), font.pointSizeF()) == (theming.fixed_font(qapp.font()).family(), qapp.font().pointSizeF())


class ProportionalMetrics:
    """Of a font whose 1 is narrow, as in many without tabular figures."""

    def __init__(self, font: QFont) -> None:
        self._size = font.pointSizeF()

    def horizontalAdvance(self, text: str) -> float:  # noqa: N802 - the name is Qt's
        return self._size * sum(0.4 if digit == "1" else 0.6 for digit in text)


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


PURPOSES = {
    "paper": "pages",
    "card": "cards, buttons",
    "ink": "text",
    "muted": "explanations, axes",
    "outline": "edges of controls",
    "grid": "edges of cards, the grid of charts",
    "pressed": "behind the text of pressed, checked and focused controls",
    "accent": "selection, focus, primary action",
    "good": "✓",
    "warn": "▲",
    "bad": "✕",
    "series": "lines and bars, in this order",
    "extra_series": "further accelerators on Plan",
}


def color_table() -> list[str]:
    """Of the page on the design language: each color with its lowest contrast."""
    cells = {
        role: [" ".join(_cell(theme, one) for one in _colors(theme, role)) for theme in THEMES] for role in PURPOSES
    }
    return [f"| `{role}` | {' | '.join(cells[role])} | {purpose} |" for role, purpose in PURPOSES.items()]


def _colors(theme: Theme, role: str) -> tuple[str, ...]:
    value = getattr(theme, role)
    return value if isinstance(value, tuple) else (value,)


def _cell(theme: Theme, color: str) -> str:
    if color in (theme.paper, theme.card):
        return f"`{color}`"
    return f"`{color}` {min(contrast(color, theme.paper), contrast(color, theme.card)):.1f}"


def test_the_page_on_the_design_language_has_every_color_with_its_contrast() -> None:
    page = (Path(__file__).parents[3] / "docs" / "design-language.md").read_text("utf-8")
    assert [line for line in page.splitlines() if line.startswith(tuple(f"| `{role}` | `#" for role in PURPOSES))] == (
        color_table()
    )
