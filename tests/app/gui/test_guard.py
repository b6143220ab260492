from __future__ import annotations

import sys

import pytest
from PySide6.QtCore import QObject

from app.errors import UnavailableError
from app.gui.guard import refuse_broken_qt


def test_qt_that_corrupts_reference_counts_is_refused_with_what_to_do() -> None:
    with pytest.raises(UnavailableError, match=r"PySide6 6\.12\.0 aborts on Python 3\.11") as caught:
        refuse_broken_qt((6, 12, 0), (3, 11))
    assert caught.value.hint is not None
    assert "<6.12" in caught.value.hint


@pytest.mark.parametrize(("qt", "python"), [((6, 11, 3), (3, 11)), ((6, 12, 0), (3, 12)), ((6, 13, 0), (3, 11))])
def test_others_are_not(qt: tuple[int, ...], python: tuple[int, ...]) -> None:
    refuse_broken_qt(qt, python)


def test_the_qt_that_is_installed_keeps_its_count_of_none() -> None:
    before = sys.getrefcount(None)
    for _ in range(500):
        QObject().setObjectName("x")
    assert sys.getrefcount(None) > before - 50
