import sys
from collections.abc import Callable, Iterator

import pytest

from loadgen.child import Child, ReportTimeoutError
from loadgen.records import Ready

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform != "linux", reason="processor time is read from /proc"),
]

TIMEOUT_S = 0.5


@pytest.fixture
def start_child(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Child]]:
    """Starts a child that uses `busy_s` of CPU time before it reports; with 0, it only waits and never reports."""
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
def test_child_process_with_little_cpu_time_is_waited_for(start_child: Callable[..., Child]) -> None:
    timeout_s = 3.0  # starting the child uses CPU time, too
    assert isinstance(start_child(0.3 * timeout_s, share=0.25).receive_report(timeout_s, busy_timeout_s=60), Ready)


def test_child_process_that_uses_cpu_time_of_its_timeout_times_out(start_child: Callable[..., Child]) -> None:
    with pytest.raises(ReportTimeoutError, match="has not responded for"):
        start_child(60).receive_report(TIMEOUT_S, busy_timeout_s=600)


def test_child_process_with_little_cpu_time_times_out_after_busy_timeout(start_child: Callable[..., Child]) -> None:
    with pytest.raises(ReportTimeoutError, match="has not responded for"):
        start_child(60, share=0.1).receive_report(TIMEOUT_S, busy_timeout_s=0.75)


def test_idle_child_process_times_out(start_child: Callable[..., Child]) -> None:
    with pytest.raises(ReportTimeoutError, match="has not responded for"):
        start_child(0).receive_report(TIMEOUT_S, busy_timeout_s=60)
