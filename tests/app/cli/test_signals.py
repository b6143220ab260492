from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from app.cli.signals import handle_signals, handle_stop_signals
from app.errors import ExitCode

pytestmark = pytest.mark.process

INTERRUPTED_IMPORT = """
import signal, sys
class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == module:
            signal.raise_signal(signal.SIGINT)
from app.__main__ import main
module = sys.argv[1]
sys.meta_path.insert(0, Interrupt())
sys.argv[1:] = ["run", "quickstart"]
sys.exit(main())
"""


@pytest.fixture
def restored_handlers() -> Iterator[None]:
    """Restore the signal handlers of the test session after the test."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("module", ["app.cli.streams", "app.cli.main", "app.cli.measuring", "numpy"])
def test_ctrl_c_while_modules_are_imported_exits_silently(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT, module], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_few_modules_are_imported_before_ctrl_c_is_handled() -> None:
    """A console script imports `re` and `app.__main__`; until `main` runs, Python's own handler is active."""
    code = "import re, sys; before = {*sys.modules}; import app.__main__; print(*sorted({*sys.modules} - before))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert {*done.stdout.split()} <= {"__future__", "app", "app.__main__", "signal"}


def test_each_ctrl_c_prints_the_effect_of_the_next_ctrl_c(capfd: pytest.CaptureFixture[str]) -> None:
    with handle_stop_signals():
        signal.raise_signal(signal.SIGINT)
        assert capfd.readouterr().err == "Stopping… Press Ctrl-C again to cancel in-flight requests.\n"
        signal.raise_signal(signal.SIGINT)
        assert capfd.readouterr().err == (
            "Canceling in-flight requests… Press Ctrl-C again to exit at once, without a report.\n"
        )


def test_ctrl_c_in_a_run_without_requests_ends_its_measurement(capfd: pytest.CaptureFixture[str]) -> None:
    with handle_stop_signals(has_requests=False):
        signal.raise_signal(signal.SIGINT)
        first = capfd.readouterr().err
        signal.raise_signal(signal.SIGINT)
        second = capfd.readouterr().err
    assert first == "Stopping… The running measurement ends now, and the results so far are stored.\n"
    assert second == "Storing the results so far… Press Ctrl-C again to exit at once, without a report.\n"


@pytest.mark.usefixtures("restored_handlers")
def test_sighup_stops_a_run_like_sigterm() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may have been started with nohup
    handle_signals()
    with handle_stop_signals() as interruption:
        signal.raise_signal(signal.SIGHUP)
    assert interruption.code == ExitCode.TERMINATED


@pytest.mark.usefixtures("restored_handlers")
def test_sighup_stays_ignored_under_nohup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    handle_signals()
    with handle_stop_signals() as interruption:
        signal.raise_signal(signal.SIGHUP)
    assert not interruption.is_requested
