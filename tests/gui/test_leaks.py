"""The leak check of every window test."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from tests.fakes.window import assert_nothing_is_left


class Node:
    def __init__(self) -> None:
        self.itself = self


def test_leaked_thread_is_reported_by_name() -> None:
    may_end = threading.Event()
    thread = threading.Thread(target=may_end.wait, name="left over")
    with pytest.raises(AssertionError, match="left over"), assert_nothing_is_left():
        thread.start()
    may_end.set()
    thread.join()


def test_reference_cycles_are_collected_before_and_after_the_checked_block() -> None:
    """Cycles from before the block are collected, too: the last references of a test end after the test itself."""
    node = Node()
    earlier = weakref.ref(node)
    del node
    with assert_nothing_is_left():
        assert earlier() is None
        inside = weakref.ref(Node())
        assert not gc.isenabled()
        assert inside() is not None
    assert inside() is None
