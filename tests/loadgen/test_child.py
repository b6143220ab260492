import sys
from collections.abc import Callable, Iterator

import pytest

from loadgen.child import Child, ReportTimeoutError
from loadgen.records import Ready

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="processor time is read from /proc"),
]

PATIENCE_S = 0.5


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Child]]:
    """Starts a child that uses so many seconds of processor time before it reports; 0 is one that never does and only
    waits."""
    children: list[Child] = []

    def start(busy_s: float, share: float = 1.0) -> Child:
        monkeypatch.setenv("BUSY_S", str(busy_s))
        monkeypatch.setenv("BUSY_SHARE", str(share))
        children.append(Child("tests.fakes.silent_worker"))
        return children[-1]

    yield start
    for child in children:
        child.close()


@pytest.mark.timing
def test_a_child_that_gets_little_of_the_processor_is_waited_for(silent: Callable[..., Child]) -> None:
    patience_s = 3.0  # its start uses some, too
    assert isinstance(silent(0.3 * patience_s, share=0.25).receive_report(patience_s, busy_timeout_s=60), Ready)


def test_one_that_has_had_the_processor_for_that_long_is_not(silent: Callable[..., Child]) -> None:
    with pytest.raises(ReportTimeoutError, match="has not responded for"):
        silent(60).receive_report(PATIENCE_S, busy_timeout_s=600)


def test_one_that_gets_little_of_it_for_longer_than_is_bearable_is_not(silent: Callable[..., Child]) -> None:
    with pytest.raises(ReportTimeoutError, match="has not responded for"):
        silent(60, share=0.1).receive_report(PATIENCE_S, busy_timeout_s=0.75)


def test_one_that_only_waits_is_not(silent: Callable[..., Child]) -> None:
    with pytest.raises(ReportTimeoutError, match="has not responded for"):
        silent(0).receive_report(PATIENCE_S, busy_timeout_s=60)
