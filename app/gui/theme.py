"""Color themes (light, dark and high contrast). The palette, the style sheet and the charts all use
the colors of the current theme."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import msgspec
from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QGuiApplication, QPalette
from PySide6.QtWidgets import QApplication, QStyleFactory

ThemeChoice = Literal["system", "light", "dark", "contrast"]


class Theme(msgspec.Struct, frozen=True):
    """Colors of a theme, as #rrggbb strings.

    `paper` and `card` are the background colors of pages and cards; `ink` is the text color.
    `good`, `warn` and `bad` never carry meaning by color alone: a word or a symbol is always shown
    with them. Series of a chart also differ in dash pattern and marker. All text colors have a
    contrast ratio of at least 4.5:1 against `paper` and `card`.
    """

    name: str
    paper: str
    card: str
    ink: str
    muted: str
    grid: str
    accent: str
    on_accent: str
    good: str
    warn: str
    bad: str
    series: tuple[str, ...]


LIGHT = Theme(
    "light", "#ffffff", "#f5f7fa", "#1b2430", "#556171", "#dfe4ea", "#0b5cad", "#ffffff", "#17703f", "#855300",
    "#b3261e", ("#0b5cad", "#b34a09", "#0a7357", "#7b3fa0", "#5b6675", "#a8285f"),
)  # fmt: skip
DARK = Theme(
    "dark", "#12161c", "#1a2029", "#e6eaf0", "#a0acba", "#2d3641", "#6fb3ff", "#0b1016", "#62d49d", "#ecb650",
    "#ff8f86", ("#6fb3ff", "#f2a154", "#55cfa5", "#c79bff", "#a5b0bf", "#ff8db4"),
)  # fmt: skip
CONTRAST = Theme(
    "contrast", "#000000", "#0d0d0d", "#ffffff", "#e0e0e0", "#8a8a8a", "#ffd400", "#000000", "#3dff9e", "#ffd400",
    "#ff9d96", ("#7fc4ff", "#ffb35c", "#5cf0c0", "#d9b3ff", "#ffffff", "#ff9cc2"),
)  # fmt: skip
_MIN_SIZE_PT = 9.0
_FRAMED_CLASSES = ("QAbstractSpinBox", "QComboBox", "QLineEdit", "QAbstractButton", "QAbstractSlider")
_THEMES_BY_NAME = {theme.name: theme for theme in (LIGHT, DARK, CONTRAST)}


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
        QGuiApplication.styleHints().colorSchemeChanged.connect(self._follow_system_theme)
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
        font = self._application.font()
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


def _system_theme() -> Theme:
    """Return the theme of the system, or the light theme if the system reports none."""
    return DARK if QGuiApplication.styleHints().colorScheme() == Qt.ColorScheme.Dark else LIGHT


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
    [role="card"] {{ background: {theme.card}; border: 1px solid {theme.grid}; border-radius: 6px; }}
    [role="action"] {{ background: {theme.card}; border: 1px solid {theme.grid}; border-radius: 6px;
        text-align: left; }}
    [role="row"] {{ background: transparent; border: 1px solid transparent; border-radius: 4px; text-align: left; }}
    [role="action"]:hover, [role="action"]:focus, [role="row"]:hover, [role="row"]:focus {{
        border-color: {theme.accent}; }}
    [role="action"]:pressed, [role="row"]:pressed {{ background: {theme.grid}; }}
    [role="title"] {{ font-size: {1.6 * size_pt:.1f}pt; font-weight: 600; }}
    [role="heading"] {{ font-size: {1.25 * size_pt:.1f}pt; font-weight: 600; }}
    [role="big"] {{ font-size: {1.8 * size_pt:.1f}pt; font-weight: 600; }}
    [role="undersampled"] {{ font-size: {1.8 * size_pt:.1f}pt; font-weight: 600; color: {theme.muted}; }}
    [role="strong"] {{ font-weight: 600; }}
    [role="step"] {{ color: {theme.muted}; }}
    [role="step"][step="done"] {{ color: {theme.good}; }}
    [role="step"][step="running"] {{ color: {theme.ink}; font-weight: 600; }}
    [role="muted"], [role="detail"] {{ color: {theme.muted}; }}
    [role="detail"][state="good"] {{ color: {theme.good}; }}
    [role="detail"][state="bad"] {{ color: {theme.bad}; }}
    [role="badge"] {{ border: 1px solid {theme.muted}; border-radius: 3px; padding: 0 6px; font-weight: 600;
        color: {theme.muted}; }}
    [role="badge"][state="good"], [role="word"][state="good"] {{ color: {theme.good}; border-color: {theme.good}; }}
    [role="badge"][state="warn"], [role="word"][state="warn"] {{ color: {theme.warn}; border-color: {theme.warn}; }}
    [role="badge"][state="bad"], [role="word"][state="bad"] {{ color: {theme.bad}; border-color: {theme.bad}; }}
    [role="strip"] {{ background: {theme.card}; border: 1px solid {theme.grid};
        border-left: 5px solid {theme.accent}; border-radius: 4px; }}
    [role="strip"][state="good"], [role="verdict"][state="good"] {{ border-left-color: {theme.good}; }}
    [role="strip"][state="warn"], [role="verdict"][state="warn"] {{ border-left-color: {theme.warn}; }}
    [role="strip"][state="bad"], [role="verdict"][state="bad"] {{ border-left-color: {theme.bad}; }}
    [role="verdict"] {{ background: {theme.card}; border: 1px solid {theme.grid};
        border-left: 6px solid {theme.muted}; border-radius: 4px; }}
    [role="palette"] {{ background: {theme.card}; border: 1px solid {theme.muted}; }}
    [role="rail"] {{ background: {theme.card}; border-right: 1px solid {theme.grid}; }}
    [role="rail"] QToolButton {{ border: 0; border-left: 3px solid transparent; padding: 8px 10px; }}
    [role="rail"] QToolButton:checked {{ border-left-color: {theme.accent}; background: {theme.paper};
        font-weight: 600; }}
    [role="rail"] QToolButton:focus, QPushButton:focus, QToolButton:focus {{ outline: 2px solid {theme.accent}; }}
    [role="primary"] {{ background: {theme.accent}; color: {theme.on_accent}; border: 2px solid {theme.accent};
        border-radius: 4px; padding: 5px 13px; font-weight: 600; }}
    [role="primary"]:disabled {{ background: {theme.grid}; color: {theme.muted}; border-color: {theme.grid}; }}
    [role="primary"]:focus {{ border-color: {theme.ink}; outline: 0; }}
    [role="segment"] {{ padding: 5px 12px; border: 1px solid {theme.grid}; background: {theme.card}; }}
    [role="segment"]:checked {{ background: {theme.accent}; color: {theme.on_accent}; }}
    [role="segment"]:focus {{ border: 1px solid {theme.ink}; text-decoration: underline; }}
    QToolButton[fold="true"] {{ border: 0; background: transparent; padding: 2px; }}
    QToolButton[fold="true"]:focus {{ text-decoration: underline; }}
    QToolTip {{ background: {theme.card}; color: {theme.ink}; border: 1px solid {theme.grid}; }}
    QHeaderView::section {{ background: {theme.card}; color: {theme.muted}; border: 0;
        border-bottom: 1px solid {theme.grid}; padding: 4px 8px; }}
    QTableView::item {{ padding: 0 5px; }}
    QLineEdit, QPlainTextEdit {{ background: {theme.paper}; border: 1px solid {theme.muted}; border-radius: 3px;
        padding: 2px 4px; }}
    QLineEdit:focus, QPlainTextEdit:focus {{ border-color: {theme.accent}; }}
    QLineEdit:disabled, QPlainTextEdit:disabled {{ border-color: {theme.grid}; }}
    QAbstractItemView::indicator:unchecked, QCheckBox::indicator:unchecked {{ border: 1px solid {theme.muted};
        border-radius: 2px; background: {theme.paper}; width: {1.2 * size_pt:.0f}px; height: {1.2 * size_pt:.0f}px; }}
    QCheckBox::indicator:checked {{ width: {1.2 * size_pt + 2:.0f}px; height: {1.2 * size_pt + 2:.0f}px; }}
    QTableView, QTreeView, QListView {{ border: 1px solid {theme.grid}; gridline-color: {theme.grid}; }}
    """
