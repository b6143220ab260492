"""The child processes of these tests are Python's `timeit`, which runs any statement."""

from __future__ import annotations

import signal
import sys

import msgspec
import pytest

from app.errors import ExitCode, MeasurementError, SizewiseError, UnavailableError, UsageError
from app.inference.parent import ChildKilledError, ChildTerminatedError, build_child_error, run_child
from app.records.trial import Failure

pytestmark = pytest.mark.process


def run_statement(statement: str, timeout_s: float = 60.0) -> bytes:
    return run_child("the child", "timeit", "-n1", "-r1", statement, timeout_s=timeout_s)


def test_run_child_returns_all_output_of_the_child() -> None:
    assert run_statement("print('x' * 200000)").startswith(b"x" * 200000)


def test_child_that_exceeds_its_timeout_is_stopped() -> None:
    with pytest.raises(MeasurementError, match=r"the child did not finish within 0\.5 s"):
        run_statement("import sys; sys.stdin.read()", timeout_s=0.5)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("number", "message"),
    [(9, "was killed, possibly out of memory"), (11, "SIGSEGV"), (27, "more CPU time")],
)
def test_killed_child_is_reported_with_its_signal(number: int, message: str) -> None:
    with pytest.raises(ChildKilledError, match=message):
        run_statement(f"import os; os.kill(os.getpid(), {number})")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(("number", "is_terminated"), [(9, True), (11, False)])
def test_only_sigkill_is_a_terminated_child(number: int, is_terminated: bool) -> None:
    with pytest.raises(ChildKilledError) as error:
        run_statement(f"import os; os.kill(os.getpid(), {number})")
    assert isinstance(error.value, ChildTerminatedError) == is_terminated


def test_hint_of_a_failed_child_is_the_last_line_of_its_traceback() -> None:
    with pytest.raises(MeasurementError, match="exited with code 1") as error:
        run_statement("1/0")
    assert error.value.hint == "ZeroDivisionError: division by zero"


ABORTED = """\
terminate called after throwing an instance of '{what}'
Fatal Python error: Aborted

Current thread 0x00007f0000000000 (most recent call first):
  File "worker.py", line 7 in main
  <no Python frame>

Extension modules: numpy (total: 1)
"""


def test_hint_of_an_aborted_child_is_its_last_informative_line() -> None:
    error = build_child_error("the child", -6, ABORTED.format(what="std::logic_error"))
    assert (str(error), error.hint) == (
        "the child crashed (SIGABRT)",
        "terminate called after throwing an instance of 'std::logic_error'",
    )
    silent = ABORTED.split("\n", 1)[1]
    assert build_child_error("the child", -6, silent).hint is None


@pytest.mark.parametrize(
    ("code", "text", "message"),
    [
        (-6, ABORTED.format(what="std::bad_alloc"), "the child crashed (SIGABRT), possibly out of memory"),
        (-9, "", "the child was killed, possibly out of memory"),
        (1, "Traceback\nMemoryError\n", "the child exited with code 1, possibly out of memory"),
        (
            1,
            "OpenBLAS error: Memory allocation still failed after 10 retries, giving up.\n",
            "the child exited with code 1, possibly out of memory",
        ),
    ],
)
def test_child_out_of_memory_has_a_memory_hint(code: int, text: str, message: str) -> None:
    error = build_child_error("the child", code, text)
    assert (str(error), error.hint) == (message, "Increase limits.memory, free memory, or use a smaller batch.")


def test_memory_hint_without_profile_does_not_mention_limits() -> None:
    with pytest.raises(MeasurementError, match="out of memory") as error:
        run_statement("raise MemoryError")
    assert error.value.hint == "Free memory, or use a smaller model."


@pytest.mark.parametrize(
    ("code", "error_type"), [(2, UsageError), (3, UnavailableError), (4, MeasurementError), (1, MeasurementError)]
)
def test_error_reported_by_a_child_is_raised_with_type_message_and_hint(
    code: int, error_type: type[SizewiseError]
) -> None:
    line = msgspec.json.encode(Failure(code, "no such thing", "make one")).decode()
    error = build_child_error("the child", code, f"noise\n{line}\nmore noise\n")
    assert type(error) is error_type
    assert (str(error), error.hint) == ("no such thing", "make one")


def test_reported_error_counts_if_a_signal_ends_the_child_while_it_exits() -> None:
    line = msgspec.json.encode(Failure(ExitCode.USAGE, "no such thing", None)).decode()
    assert type(build_child_error("the child", -signal.SIGPROF, f"{line}\n")) is UsageError
