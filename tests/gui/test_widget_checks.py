"""Tests of the checks for clipped, unnamed and unreachable widgets: they find faults and have no false positives."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)
from pytestqt.qtbot import QtBot

from app.gui.tables import FrameModel
from tests.fakes.long_texts import longer_texts
from tests.fakes.widget_walk import clipped_texts, unnamed_widgets, unreachable_widgets, windows_shown

LONG = "Every number on this page is made again of the window that is chosen"


@pytest.fixture
def page(qtbot: QtBot) -> QWidget:
    page = QWidget()
    qtbot.addWidget(page)
    page.resize(300, 200)
    QVBoxLayout(page)
    page.show()
    return page


@pytest.fixture
def lengthened(qapp: QApplication) -> Iterator[None]:
    with longer_texts(qapp):
        yield


def add_widget(page: QWidget, widget: QWidget) -> QWidget:
    layout = page.layout()
    assert layout is not None
    layout.addWidget(widget)
    widget.show()
    layout.activate()
    return widget


def test_label_narrower_than_its_text_is_clipped(page: QWidget) -> None:
    label = add_widget(page, QLabel(LONG))
    assert clipped_texts(page) == []
    label.setFixedWidth(60)
    assert LONG in clipped_texts(page)[0]


def test_wrapped_label_lower_than_its_lines_is_clipped(page: QWidget) -> None:
    label = QLabel(LONG)
    label.setWordWrap(True)
    add_widget(page, label)
    assert clipped_texts(page) == []
    label.setFixedSize(120, label.fontMetrics().height())
    assert len(clipped_texts(page)) == 1


def test_button_narrower_than_its_text_is_clipped(page: QWidget) -> None:
    button = add_widget(page, QPushButton("&Choose what to plan from"))
    assert clipped_texts(page) == []
    button.setFixedWidth(40)
    assert len(clipped_texts(page)) == 1


def test_exactly_fitting_label_and_button_are_clipped_with_longer_texts(page: QWidget, qapp: QApplication) -> None:
    set_early, button = QLabel(LONG), QPushButton("&Choose what to plan from")
    widths = set_early.sizeHint().width(), button.fontMetrics().horizontalAdvance(button.text())
    for widget, width in zip((set_early, button), widths, strict=True):
        add_widget(page, widget).setFixedWidth(width)
    assert clipped_texts(page) == []
    with longer_texts(qapp):
        button.setText("&Choose what to plan from")
        add_widget(page, QLabel(LONG)).setFixedWidth(widths[0])
    assert len(clipped_texts(page)) == 2


@pytest.mark.usefixtures("lengthened")
def test_longer_texts_lengthen_every_displayed_text_but_no_value(page: QWidget) -> None:
    field, combo, tabs, menu = QLineEdit("poisson"), QComboBox(page), QTabWidget(page), QMenu(page)
    box = QCheckBox("poisson")
    add_widget(page, box)
    field.setPlaceholderText("poisson")
    combo.addItem("poisson", "poisson")
    combo.addItems(["constant"])
    combo.setCurrentText("constant")
    tabs.addTab(QWidget(), "poisson")
    page.setToolTip("poisson")
    page.setWindowTitle("poisson")
    model = FrameModel(pd.DataFrame({"name": ["poisson"]}), {"name": "poisson"})
    texts = (
        field.placeholderText(), combo.itemText(0), combo.currentText(), tabs.tabText(0), page.toolTip(),
        page.windowTitle(), menu.addAction("poisson").text(), box.text(),
        model.data(model.index(0, 0)), model.headerData(0, Qt.Orientation.Horizontal),
    )  # fmt: skip
    assert [str(text).strip("\u200b") for text in texts] == [*["poissonpoi"] * 2, "constantcon", *["poissonpoi"] * 7]
    assert (field.text(), combo.itemData(0)) == ("poisson", "poisson")
    assert model.data(model.index(0, 0), Qt.ItemDataRole.UserRole) == "poisson"


def test_widget_without_accessible_name_is_reported(page: QWidget) -> None:
    field = add_widget(page, QLineEdit())
    add_widget(page, QPushButton("&Start"))
    assert len(unnamed_widgets(page)) == 1
    field.setAccessibleName("Filter")
    assert unnamed_widgets(page) == []


def test_widget_outside_the_tab_order_is_reported(page: QWidget) -> None:
    field = add_widget(page, QLineEdit())
    assert unreachable_widgets(page) == []
    field.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
    assert len(unreachable_widgets(page)) == 1


def test_widget_shown_before_it_has_a_parent_is_listed_as_a_window(page: QWidget, qapp: QApplication) -> None:
    with windows_shown(qapp) as kinds:
        early = QLabel("early")
        early.setVisible(True)
        add_widget(page, early)
        add_widget(page, QLabel("in time"))
    assert kinds == ["QLabel"]
