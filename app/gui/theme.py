"""Colors, text sizes and spacing of the window. No other module of the window contains a color or a
font size.

The palette, the style sheet and the charts all use the colors of the current theme.
`docs/design-language.md` describes what each color, size and space is for.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import msgspec
from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QFont, QFontDatabase, QFontMetricsF, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory

ThemeChoice = Literal["system", "light", "dark", "contrast", "contrast_light"]
TextRole = Literal["big", "title", "heading", "body", "small"]
Margins = tuple[int, int, int, int]

TEXT_SIZES: dict[TextRole, float] = {"big": 1.8, "title": 1.6, "heading": 1.25, "body": 1.0, "small": 0.92}
"""Size of each text role, as a multiple of the system's text size."""

GAP_LINE = 2
"""Space between the lines of one text, in pixels. All spaces are multiples of 4, except this one."""
GAP_TIGHT = 4
"""Space between the parts of one control, and between a value and its explanation."""
GAP = 8
"""Space between controls, and between the rows of a form."""
GAP_GROUP = 12
"""Space between groups of controls."""
GAP_SECTION = 16
"""Space between the sections of a page, and between cards."""
NO_MARGINS: Margins = (0, 0, 0, 0)
PAGE_MARGINS: Margins = (16, 12, 16, 8)
CARD_MARGINS: Margins = (16, 12, 16, 12)
TILE_MARGINS: Margins = (12, 8, 12, 8)
"""Margins of cards with one value, and of message strips."""
PANEL_MARGINS: Margins = (8, 8, 8, 8)
"""Margins of docks and popups."""
TAB_MARGINS: Margins = (0, 8, 0, 0)
SCROLL_MARGINS: Margins = (0, 0, 8, 0)
"""Margins of content beside a scroll bar."""


class Theme(msgspec.Struct, frozen=True):
    """Colors of a theme, as #rrggbb strings.

    `paper` and `card` are the background colors of pages and cards; `ink` is the text color.
    `outline` is the edge of controls, `grid` that of cards and of the grid of charts, and `pressed` the
    background of pressed, checked and focused controls under `ink`.
    `good`, `warn` and `bad` never carry meaning by color alone: a word or a symbol is always shown
    with them. Series of a chart also differ in dash pattern and marker. All text colors have a
    contrast ratio of at least 4.5:1 against `paper` and `card`, and all series and outlines of at least
    3:1. In a high-contrast theme, text has at least 7:1, and `grid` at least 3:1.
    """

    name: str
    paper: str
    card: str
    ink: str
    muted: str
    outline: str
    grid: str
    pressed: str
    accent: str
    on_accent: str
    good: str
    warn: str
    bad: str
    series: tuple[str, ...]
    extra_series: tuple[str, ...]
    """Colors of further categories, after those of `series`."""
    is_high_contrast: bool = False


LIGHT = Theme(
    "light", paper="#ffffff", card="#f5f7fa", ink="#1b2430", muted="#556171", outline="#7f8a98", grid="#dfe4ea",
    pressed="#dfe4ea", accent="#0b5cad", on_accent="#ffffff", good="#17703f", warn="#855300", bad="#b3261e",
    series=("#0b5cad", "#b34a09", "#0a7357", "#7b3fa0", "#5b6675", "#a8285f"),
    extra_series=("#8a6a00", "#007f8f", "#4d7c0f", "#6d4023", "#c026d3"),
)  # fmt: skip
DARK = Theme(
    "dark", paper="#12161c", card="#1a2029", ink="#e6eaf0", muted="#a0acba", outline="#6f7b8a", grid="#2d3641",
    pressed="#2d3641", accent="#6fb3ff", on_accent="#0b1016", good="#62d49d", warn="#ecb650", bad="#ff8f86",
    series=("#6fb3ff", "#f2a154", "#55cfa5", "#c79bff", "#a5b0bf", "#ff8db4"),
    extra_series=("#e6d35a", "#4dd8e6", "#b5e550", "#c9a98a", "#f27dff"),
)  # fmt: skip
CONTRAST = Theme(
    "contrast", paper="#000000", card="#0d0d0d", ink="#ffffff", muted="#e0e0e0", outline="#e0e0e0", grid="#8a8a8a",
    pressed="#3a3a3a", accent="#ffd400", on_accent="#000000", good="#3dff9e", warn="#ffd400", bad="#ff9d96",
    series=("#7fc4ff", "#ffb35c", "#5cf0c0", "#d9b3ff", "#ffffff", "#ff9cc2"),
    extra_series=("#f5e56b", "#5ff0ff", "#c6ff5e", "#e0c3a5", "#ff9bff"),
    is_high_contrast=True,
)  # fmt: skip
CONTRAST_LIGHT = Theme(
    "contrast_light", paper="#ffffff", card="#f7f7f7", ink="#000000", muted="#303030", outline="#303030",
    grid="#767676", pressed="#d0d0d0",
    accent="#00349e", on_accent="#ffffff", good="#00501f", warn="#5c3700", bad="#8c0f0a",
    series=("#00349e", "#7a2e00", "#004d39", "#54137a", "#303030", "#7a0b3c"),
    extra_series=("#5c4700", "#005a66", "#2f5200", "#5a3010", "#8a0f9c"),
    is_high_contrast=True,
)  # fmt: skip
_MIN_SIZE_PT = 9.0
_FRAMED_CLASSES = ("QAbstractSpinBox", "QComboBox", "QLineEdit", "QAbstractButton", "QAbstractSlider")
_THEMES_BY_NAME = {theme.name: theme for theme in (LIGHT, DARK, CONTRAST, CONTRAST_LIGHT)}


class ThemeController(QObject):
    """Controller that applies the current theme and text size to the application, by updating the
    palette and the style sheet.

    Widgets with their own painting code must repaint when `changed` is emitted.
    """

    changed = Signal(object)

    def __init__(self, application: QApplication, choice: ThemeChoice = "system") -> None:
        super().__init__(application)
        self._application = application
        application.setStyle(QStyleFactory.create("Fusion"))
        self.theme = LIGHT
        self.choice: ThemeChoice = choice
        self.text_scale = 1.0
        self._default_size_pt = max(application.font().pointSizeF(), _MIN_SIZE_PT)
        self._applied: tuple[Theme, float] | None = None
        style_hints = QGuiApplication.styleHints()
        style_hints.colorSchemeChanged.connect(self._follow_system_theme)
        if hasattr(style_hints, "accessibility"):  # Qt 6.10 or newer
            style_hints.accessibility().contrastPreferenceChanged.connect(self._follow_system_theme)
        self.set_choice(choice)

    def set_choice(self, choice: ThemeChoice) -> None:
        self.choice = choice
        self._apply(_system_theme() if choice == "system" else _THEMES_BY_NAME[choice])

    def scale_text(self, scale: float) -> None:
        """Set the text scale, clipped to 1..2. A scale of 1 is the text size of the system."""
        self.text_scale = min(max(scale, 1.0), 2.0)
        self._apply(self.theme)

    def _follow_system_theme(self) -> None:
        if self.choice == "system":
            self._apply(_system_theme())

    def _apply(self, theme: Theme) -> None:
        """Apply a theme and the current text size, unless they are applied already: Qt would style
        every widget again."""
        size_pt = self._default_size_pt * self.text_scale
        if self._applied == (theme, size_pt):
            return
        self.theme, self._applied = theme, (theme, size_pt)
        font = with_tabular_figures(self._application.font())
        font.setPointSizeF(size_pt)
        with _disable_gc():
            # Qt needs six times as long to replace a style sheet as to remove it and set another one.
            self._application.setStyleSheet("")
            self._application.setFont(font)
            self._application.setPalette(_build_palette(theme))
            for class_name in _FRAMED_CLASSES:
                self._application.setPalette(_build_framed_palette(theme), class_name)  # type: ignore[arg-type]  # the stub: bytes
            self._application.setStyleSheet(_build_style_sheet(theme, size_pt))
        self.changed.emit(theme)


@contextmanager
def _disable_gc() -> Iterator[None]:
    """Disable garbage collection while Qt notifies all widgets of a change.

    The notification runs Python overrides, which can trigger a collection. If a widget were
    collected meanwhile, Qt would still call it, and the process would crash.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def select_theme(color_scheme: Qt.ColorScheme, *, prefers_contrast: bool) -> Theme:
    """Return the theme for a color scheme of the system: a light theme if the scheme is unknown."""
    if color_scheme == Qt.ColorScheme.Dark:
        return CONTRAST if prefers_contrast else DARK
    return CONTRAST_LIGHT if prefers_contrast else LIGHT


def _system_theme() -> Theme:
    style_hints = QGuiApplication.styleHints()
    return select_theme(style_hints.colorScheme(), prefers_contrast=_prefers_contrast())


def _prefers_contrast() -> bool:
    """Return whether the user has requested high contrast in the system's settings. Qt reports this
    from version 6.10."""
    style_hints = QGuiApplication.styleHints()
    if not hasattr(style_hints, "accessibility"):
        return False
    return style_hints.accessibility().contrastPreference() == Qt.ContrastPreference.HighContrast


def with_tabular_figures(font: QFont) -> QFont:
    """Return the font with digits of equal width, if the font has such digits, so that numbers
    below each other align and a changing number does not move."""
    result = QFont(font)
    result.setFeature(QFont.Tag("tnum"), 1)
    return result


def number_font(font: QFont) -> QFont | None:
    """Return the system's fixed-width font in the size of `font` for columns of numbers, or None if
    the digits of `font` have equal widths already."""
    metrics = QFontMetricsF(font)
    if len({round(metrics.horizontalAdvance(digit * 10)) for digit in "0123456789"}) == 1:
        return None
    return fixed_font(font)


def fixed_font(font: QFont) -> QFont:
    """Return the system's fixed-width font in the size of `font`."""
    result = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)
    result.setPointSizeF(font.pointSizeF())
    return result


def small_font(font: QFont) -> QFont:
    """Return `font` in the size of labels inside charts."""
    return _scale_font(font, TEXT_SIZES["small"])


def heading_font(font: QFont) -> QFont:
    """Return `font` in the size and weight of a heading."""
    result = _scale_font(font, TEXT_SIZES["heading"])
    result.setWeight(QFont.Weight.DemiBold)
    return result


def _scale_font(font: QFont, factor: float) -> QFont:
    result = QFont(font)
    if result.pointSizeF() > 0:  # a font with a size in pixels has no size in points
        result.setPointSizeF(result.pointSizeF() * factor)
    return result


def _build_palette(theme: Theme) -> QPalette:
    role, palette = QPalette.ColorRole, QPalette()
    colors = {
        role.Window: theme.paper, role.Base: theme.paper, role.AlternateBase: theme.card, role.Button: theme.card,
        role.WindowText: theme.ink, role.Text: theme.ink, role.ButtonText: theme.ink, role.BrightText: theme.bad,
        role.PlaceholderText: theme.muted, role.Highlight: theme.accent, role.HighlightedText: theme.on_accent,
        role.ToolTipBase: theme.card, role.ToolTipText: theme.ink, role.Link: theme.accent,
        role.LinkVisited: theme.accent, role.Mid: theme.grid, role.Midlight: theme.grid, role.Dark: theme.grid,
        role.Light: theme.card, role.Shadow: theme.grid,
    }  # fmt: skip
    for color_role, color in colors.items():
        palette.setColor(color_role, QColor(color))
    for color_role in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, color_role, QColor(theme.muted))
    return palette


def _build_framed_palette(theme: Theme) -> QPalette:
    """Return the palette for widgets with a frame.

    The Fusion style draws the frame in a darker shade of the window color, which is invisible on a
    dark background. Dark themes therefore use a lighter window color.
    """
    palette = _build_palette(theme)
    if QColor(theme.paper).lightness() < 128:
        palette.setColor(QPalette.ColorRole.Window, QColor(theme.muted))
    return palette


def _build_style_sheet(theme: Theme, size_pt: float) -> str:
    """Build the style sheet. Widgets are styled by their dynamic property `role`, and some also by
    `state`."""
    return f"""
    QToolBar {{ border: 0; border-bottom: 1px solid {theme.grid}; padding: 2px 8px; spacing: {GAP_TIGHT}px; }}
    QPushButton, QToolButton {{ background: {theme.card}; border: 1px solid {theme.outline}; border-radius: 4px;
        padding: 3px 9px; }}
    QPushButton:hover, QToolButton:hover {{ border-color: {theme.accent}; }}
    QPushButton:pressed, QPushButton:checked, QToolButton:pressed, QToolButton:checked {{
        background: {theme.pressed}; }}
    QPushButton:disabled, QToolButton:disabled {{ color: {theme.muted}; border-color: {theme.grid}; }}
    QPushButton:focus, QToolButton:focus {{ border: 2px solid {theme.accent}; padding: 2px 8px; outline: 0; }}
    QToolButton[popupMode="2"] {{ padding-right: 18px; }}
    QToolButton::menu-indicator {{ subcontrol-origin: padding; subcontrol-position: right center; right: 5px; }}
    QToolButton[autoRaise="true"], QPushButton[flat="true"] {{ background: transparent;
        border: 1px solid transparent; padding: 3px 5px; }}
    QToolButton[autoRaise="true"][popupMode="2"] {{ padding-right: 18px; }}
    QToolButton[autoRaise="true"]:hover, QPushButton[flat="true"]:hover {{ background: {theme.pressed}; }}
    QToolButton[autoRaise="true"]:focus, QPushButton[flat="true"]:focus {{ border-color: {theme.accent}; }}
    QTabBar QToolButton {{ padding: 0; border-radius: 0; }}
    QTabBar::scroller {{ width: {4 * size_pt:.0f}px; }}
    QTabWidget::pane {{ border: 0; }}
    QTabBar {{ qproperty-drawBase: 0; outline: 0; }}
    QTabBar::tab {{ background: transparent; color: {theme.muted}; border: 0; border-bottom: 3px solid {theme.grid};
        padding: 4px 12px; }}
    QTabBar::tab:hover {{ color: {theme.ink}; }}
    QTabBar::tab:selected {{ color: {theme.ink}; border-bottom-color: {theme.accent}; }}
    QTabBar::tab:selected:focus {{ background: {theme.pressed}; }}
    QScrollBar {{ background: transparent; border: 0; }}
    QScrollBar:vertical {{ width: 12px; }}
    QScrollBar:horizontal {{ height: 12px; }}
    QScrollBar::handle {{ background: {theme.outline}; border: 3px solid {theme.paper}; border-radius: 6px; }}
    QScrollBar::handle:vertical {{ min-height: 32px; }}
    QScrollBar::handle:horizontal {{ min-width: 32px; }}
    QScrollBar::handle:hover {{ background: {theme.muted}; }}
    QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
    QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}
    [role="card"] {{ background: {theme.card}; border: 1px solid {theme.grid}; border-radius: 6px; }}
    [role="action"] {{ background: {theme.card}; border: 1px solid {theme.grid}; border-radius: 6px;
        text-align: left; }}
    [role="row"] {{ background: transparent; border: 1px solid transparent; border-radius: 4px; text-align: left; }}
    [role="action"]:hover, [role="action"]:focus, [role="row"]:hover, [role="row"]:focus {{
        border-color: {theme.accent}; }}
    [role="action"]:pressed, [role="row"]:pressed {{ background: {theme.pressed}; }}
    [role="title"] {{ font-size: {TEXT_SIZES["title"] * size_pt:.1f}pt; font-weight: 600; }}
    [role="heading"] {{ font-size: {TEXT_SIZES["heading"] * size_pt:.1f}pt; font-weight: 600; }}
    [role="big"] {{ font-size: {TEXT_SIZES["big"] * size_pt:.1f}pt; font-weight: 600; }}
    [role="undersampled"] {{ font-size: {TEXT_SIZES["big"] * size_pt:.1f}pt; font-weight: 600; color: {theme.muted}; }}
    [role="small"] {{ font-size: {TEXT_SIZES["small"] * size_pt:.1f}pt; }}
    [role="strong"] {{ font-weight: 600; }}
    [role="step"] {{ color: {theme.muted}; }}
    [role="step"][step="done"] {{ color: {theme.good}; }}
    [role="step"][step="running"] {{ color: {theme.ink}; font-weight: 600; }}
    [role="muted"], [role="detail"] {{ color: {theme.muted}; }}
    [role="detail"][state="good"] {{ color: {theme.good}; }}
    [role="detail"][state="bad"] {{ color: {theme.bad}; }}
    [role="badge"] {{ border: 1px solid {theme.muted}; border-radius: 3px; padding: 0 6px; font-weight: 600;
        color: {theme.muted}; }}
    [role="badge"][state="good"], [role="word"][state="good"] {{ color: {theme.good}; }}
    [role="badge"][state="good"] {{ border-color: {theme.good}; }}
    [role="badge"][state="warn"], [role="word"][state="warn"] {{ color: {theme.warn}; }}
    [role="badge"][state="warn"] {{ border-color: {theme.warn}; }}
    [role="badge"][state="bad"], [role="word"][state="bad"] {{ color: {theme.bad}; }}
    [role="badge"][state="bad"] {{ border-color: {theme.bad}; }}
    [role="strip"] {{ background: {theme.card}; border: 1px solid {theme.grid};
        border-left: 5px solid {theme.accent}; border-top-right-radius: 4px; border-bottom-right-radius: 4px; }}
    [role="strip"][state="good"], [role="verdict"][state="good"] {{ border-left-color: {theme.good}; }}
    [role="strip"][state="warn"], [role="verdict"][state="warn"] {{ border-left-color: {theme.warn}; }}
    [role="strip"][state="bad"], [role="verdict"][state="bad"] {{ border-left-color: {theme.bad}; }}
    [role="verdict"] {{ background: {theme.card}; border: 1px solid {theme.grid};
        border-left: 5px solid {theme.muted}; border-top-right-radius: 4px; border-bottom-right-radius: 4px; }}
    [role="palette"] {{ background: {theme.card}; border: 1px solid {theme.muted}; }}
    [role="rail"] {{ background: {theme.card}; border-right: 1px solid {theme.grid}; }}
    [role="rail"] QToolButton {{ border: 0; border-left: 3px solid transparent; border-radius: 0; padding: 8px 10px;
        background: transparent; }}
    [role="rail"] QToolButton:checked {{ border-left-color: {theme.accent}; background: {theme.paper};
        font-weight: 600; }}
    [role="rail"] QToolButton:focus {{ border-left-color: {theme.ink}; text-decoration: underline; }}
    [role="primary"] {{ background: {theme.accent}; color: {theme.on_accent}; border: 2px solid {theme.accent};
        border-radius: 4px; padding: 4px 14px; font-weight: 600; }}
    [role="primary"]:disabled {{ background: {theme.pressed}; color: {theme.muted}; border-color: {theme.grid}; }}
    [role="primary"]:focus {{ border: 2px solid {theme.ink}; padding: 4px 14px; outline: 0; }}
    [role="segment"] {{ padding: 5px 12px; border: 1px solid {theme.grid}; background: {theme.card}; }}
    [role="segment"]:checked {{ background: {theme.accent}; color: {theme.on_accent}; }}
    [role="segment"]:focus {{ border: 1px solid {theme.ink}; text-decoration: underline; }}
    QToolButton[fold="true"] {{ border: 0; background: transparent; padding: 2px; }}
    QToolButton[fold="true"]:focus {{ text-decoration: underline; }}
    QToolTip {{ background: {theme.card}; color: {theme.ink}; border: 1px solid {theme.grid}; }}
    QHeaderView::section {{ background: {theme.card}; color: {theme.muted}; border: 0;
        border-bottom: 1px solid {theme.grid}; padding: 4px 8px; }}
    QTableView::item {{ padding: 0 5px; }}
    QLineEdit, QPlainTextEdit {{ background: {theme.paper}; border: 1px solid {theme.outline}; border-radius: 3px;
        padding: 2px 4px; }}
    QLineEdit:focus, QPlainTextEdit:focus {{ border-color: {theme.accent}; }}
    QLineEdit:disabled, QPlainTextEdit:disabled {{ border-color: {theme.grid}; }}
    QAbstractItemView::indicator:unchecked, QCheckBox::indicator:unchecked {{ border: 1px solid {theme.outline};
        border-radius: 2px; background: {theme.paper}; width: {1.2 * size_pt:.0f}px; height: {1.2 * size_pt:.0f}px; }}
    QCheckBox::indicator:checked {{ width: {1.2 * size_pt + 2:.0f}px; height: {1.2 * size_pt + 2:.0f}px; }}
    QTableView, QTreeView, QListView {{ border: 1px solid {theme.grid}; gridline-color: {theme.grid}; }}
    """
