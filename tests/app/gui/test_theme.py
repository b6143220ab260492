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
def test_every_text_color_has_sufficient_contrast(theme: Theme, ground: str) -> None:
    min_contrast = 7 if theme.is_high_contrast else 4.5
    ratios = {text: contrast(getattr(theme, text), getattr(theme, ground)) for text in TEXT}
    assert {text: ratio for text, ratio in ratios.items() if ratio < min_contrast} == {}
    assert contrast(theme.on_accent, theme.accent) >= min_contrast
    assert contrast(theme.ink, theme.pressed) >= min_contrast


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
@pytest.mark.parametrize("ground", ["paper", "card"])
def test_series_colors_are_distinct_and_contrast_with_the_background(theme: Theme, ground: str) -> None:
    graphics = [*theme.series, *theme.extra_series, theme.outline, *([theme.grid] if theme.is_high_contrast else [])]
    assert all(contrast(color, getattr(theme, ground)) >= 3 for color in graphics)
    assert len({*theme.series, *theme.extra_series}) == len(theme.series) + len(theme.extra_series)


def test_theme_follows_color_scheme_and_contrast_preference_of_the_system() -> None:
    schemes = (Qt.ColorScheme.Unknown, Qt.ColorScheme.Light, Qt.ColorScheme.Dark)
    assert [select_theme(scheme, prefers_contrast=False) for scheme in schemes] == [LIGHT, LIGHT, DARK]
    assert [select_theme(scheme, prefers_contrast=True) for scheme in schemes] == [
        CONTRAST_LIGHT,
        CONTRAST_LIGHT,
        CONTRAST,
    ]


def test_palette_follows_the_theme_and_each_change_is_emitted_once(qapp: QApplication, theme: ThemeController) -> None:
    emitted_themes: list[Theme] = []
    theme.changed.connect(emitted_themes.append)
    theme.set_choice("dark")
    assert qapp.palette().color(QPalette.ColorRole.Window).name() == DARK.paper
    theme.set_choice("light")
    assert qapp.palette().color(QPalette.ColorRole.Window).name() == LIGHT.paper
    assert [theme.name for theme in emitted_themes] == ["dark", "light"]
    theme.set_choice("light")
    theme.scale_text(theme.text_scale)
    assert len(emitted_themes) == 2, "an unchanged theme is not applied again"
    theme.changed.disconnect(emitted_themes.append)


@pytest.mark.skipif(not hasattr(QGuiApplication.styleHints(), "accessibility"), reason="reported from Qt 6.10 on")
def test_system_contrast_change_switches_the_theme(theme: ThemeController, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = QGuiApplication.styleHints().accessibility().contrastPreferenceChanged
    theme.set_choice("system")
    monkeypatch.setattr(theming, "_prefers_contrast", lambda: True)
    changed.emit(Qt.ContrastPreference.HighContrast)
    assert theme.theme.is_high_contrast
    monkeypatch.undo()
    changed.emit(Qt.ContrastPreference.NoPreference)
    assert not theme.theme.is_high_contrast
    theme.set_choice("light")


def test_numbers_have_tabular_figures_in_every_text_role(qtbot: QtBot, theme: ThemeController) -> None:
    """A style sheet does not change the features of the font."""
    title = QLabel("1")
    title.setProperty("role", "title")
    qtbot.addWidget(title)
    title.ensurePolished()
    tabular = QFont.Tag("tnum")
    assert [font.isFeatureSet(tabular) for font in (QApplication.font(), title.font())] == [True, True]
    assert title.font().pointSizeF() == pytest.approx(1.6 * QApplication.font().pointSizeF(), abs=0.1)
    assert small_font(title.font()).pointSizeF() == pytest.approx(0.92 * title.font().pointSizeF())


def test_number_font_is_monospace_if_the_font_has_no_tabular_figures(
    qapp: QApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert number_font(qapp.font()) is None, "all digits of the font of this machine have the same width"
    monkeypatch.setattr(theming, "QFontMetricsF", ProportionalMetrics)
    font = number_font(qapp.font())
    assert font is not None
    assert (font.family(), font.pointSizeF()) == (theming.fixed_font(qapp.font()).family(), qapp.font().pointSizeF())


class ProportionalMetrics:
    """Metrics of a font with a narrow 1, as in many fonts without tabular figures."""

    def __init__(self, font: QFont) -> None:
        self._size = font.pointSizeF()

    def horizontalAdvance(self, text: str) -> float:  # noqa: N802 - the name is Qt's
        return self._size * sum(0.4 if digit == "1" else 0.6 for digit in text)


def test_text_size_is_at_most_doubled(qapp: QApplication, theme: ThemeController) -> None:
    default_pt = qapp.font().pointSizeF()
    theme.scale_text(5)
    assert qapp.font().pointSizeF() == pytest.approx(2 * default_pt)
    theme.scale_text(1)
    assert qapp.font().pointSizeF() == pytest.approx(default_pt)


class StyleChangeRecorder(QWidget):
    """A widget whose Python override gives the garbage collector a chance to run."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[bool] = []

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802 - the name is Qt's
        if event.type() == QEvent.Type.StyleChange:
            self.received.append(gc.isenabled())
        super().changeEvent(event)


def test_garbage_collection_is_disabled_while_a_style_sheet_is_applied(qtbot: QtBot, theme: ThemeController) -> None:
    widget = StyleChangeRecorder()
    qtbot.addWidget(widget)
    widget.show()
    widget.received.clear()
    gc.enable()
    theme.set_choice("dark")
    theme.set_choice("light")
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


def make_color_table() -> list[str]:
    """Return the table rows of the design language page: each color with its lowest contrast."""
    cells = {
        role: [" ".join(_cell(theme, color) for color in _colors(theme, role)) for theme in THEMES] for role in PURPOSES
    }
    return [f"| `{role}` | {' | '.join(cells[role])} | {purpose} |" for role, purpose in PURPOSES.items()]


def _colors(theme: Theme, role: str) -> tuple[str, ...]:
    value = getattr(theme, role)
    return value if isinstance(value, tuple) else (value,)


def _cell(theme: Theme, color: str) -> str:
    if color in (theme.paper, theme.card):
        return f"`{color}`"
    return f"`{color}` {min(contrast(color, theme.paper), contrast(color, theme.card)):.1f}"


def test_design_language_page_lists_every_color_with_its_contrast() -> None:
    page = (Path(__file__).parents[3] / "docs" / "design-language.md").read_text("utf-8")
    assert [line for line in page.splitlines() if line.startswith(tuple(f"| `{role}` | `#" for role in PURPOSES))] == (
        make_color_table()
    )
