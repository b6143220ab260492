"""Colors, font sizes and spaces are named once, in the theme."""

from __future__ import annotations

from pathlib import Path

from tests.checks.window_style import literal_spaces, literal_styles

ROOT = Path(__file__).parents[2]
MAX_SPACES = 41
"""The current number of the source. Lower it when you replace some by the names of the theme."""

SOURCE = '''"""A docstring may say #ffffff, and font-size: 9pt."""
from app.gui.theme import GAP

painter.setPen(QColor("red"))
painter.setPen(QColor(theme.ink))
widget.setStyleSheet("color: #a0b1c2")
widget.setStyleSheet("font-size: 9pt")
widget.setStyleSheet(f"font-size: {size}pt")
font.setPointSizeF(9.5)
heading = "Run #12, #a is no color"
layout = vbox(first, margins=(0, 10, 0, 0), spacing=GAP)
layout = vbox(first, margins=(0, 0, 0, 0), spacing=0)
layout.setContentsMargins(0, 0, 8, 0)
layout.setSpacing(6)
set_flow_layout(widget, GAP, 3)
'''


def test_literal_styles_and_spaces_are_detected(tmp_path: Path) -> None:
    (tmp_path / "app" / "gui").mkdir(parents=True)
    (tmp_path / "app" / "gui" / "page.py").write_text(SOURCE)
    (tmp_path / "app" / "gui" / "theme.py").write_text(SOURCE)
    assert literal_styles(tmp_path) == [f"app/gui/page.py:{line}" for line in (4, 6, 7, 8, 9)]
    assert literal_spaces(tmp_path) == [f"app/gui/page.py:{line}" for line in (11, 13, 14, 15)]


def test_colors_and_font_sizes_are_only_in_theme() -> None:
    assert literal_styles(ROOT) == []


def test_number_of_spaces_outside_theme_does_not_grow() -> None:
    assert len(literal_spaces(ROOT)) <= MAX_SPACES
