import sys
from collections.abc import Callable, Iterator

import pytest

from loadgen.child import Child, SilenceError
from loadgen.records import Ready

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processor time is read from /proc")

PATIENCE_S = 0.5


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[float], Child]]:
    """Starts a child that is busy for so many seconds before it reports; 0 is one that never does and only waits."""
    children: list[Child] = []

    def start(busy_s: float) -> Child:
        monkeypatch.setenv("BUSY_S", str(busy_s))
        children.append(Child("tests.fakes.silent_worker"))
        return children[-1]

    yield start
    for child in children:
        child.close()


def test_a_child_that_is_silent_because_it_is_busy_is_waited_for(silent: Callable[[float], Child]) -> None:
    patience_s = 2.0  # its start may wait for a disk
    assert isinstance(silent(1.25 * patience_s).next(patience_s, busy_patience_s=60), Ready)


def test_one_that_is_busy_for_longer_than_is_bearable_is_not(silent: Callable[[float], Child]) -> None:
    with pytest.raises(SilenceError, match="has not responded for"):
        silent(60).next(PATIENCE_S, busy_patience_s=0.75)


def test_one_that_only_waits_is_not(silent: Callable[[float], Child]) -> None:
    with pytest.raises(SilenceError, match="has not responded for"):
        silent(0).next(PATIENCE_S, busy_patience_s=60)
