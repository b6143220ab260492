"""The leak check that stands around every test of the window."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from tests.fakes.window import leaving_nothing


class Node:
    def __init__(self) -> None:
        self.itself = self


def test_a_thread_that_is_left_is_reported_by_its_name() -> None:
    go = threading.Event()
    left = threading.Thread(target=go.wait, name="left over")
    with pytest.raises(AssertionError, match="left over"), leaving_nothing():
        left.start()
    go.set()
    left.join()


def test_cycles_wait_for_the_end_and_are_collected_there() -> None:
    """Also those that were made before, as those of a test are whose last names go after its own end."""
    before = Node()
    earlier = weakref.ref(before)
    del before
    with leaving_nothing():
        assert earlier() is None
        inside = weakref.ref(Node())
        assert not gc.isenabled()
        assert inside() is not None
    assert inside() is None
