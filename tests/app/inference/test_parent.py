"""The children here are Python's own `timeit`, which runs any statement it is given."""

from __future__ import annotations

import sys

import msgspec
import pytest

from app.errors import MeasurementError, SizewiseError, UnavailableError, UsageError
from app.inference.parent import ChildKilledError, ChildTerminatedError, build_child_error, run_child
from app.records.trial import Failure

pytestmark = pytest.mark.process


def child(statement: str, timeout_s: float = 60.0) -> bytes:
    return run_child("the child", "timeit", "-n1", "-r1", statement, timeout_s=timeout_s)


def test_answer_is_all_that_the_child_writes() -> None:
    assert child("print('x' * 200000)").startswith(b"x" * 200000)


def test_child_that_takes_too_long_is_stopped() -> None:
    with pytest.raises(MeasurementError, match=r"the child did not finish within 0\.5 s"):
        child("import sys; sys.stdin.read()", timeout_s=0.5)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to die of")
@pytest.mark.parametrize(
    ("number", "sentence"),
    [(9, "was killed, possibly out of memory"), (11, "SIGSEGV"), (27, "more CPU time")],
)
def test_child_that_dies_is_reported_by_its_signal(number: int, sentence: str) -> None:
    with pytest.raises(ChildKilledError, match=sentence):
        child(f"import os; os.kill(os.getpid(), {number})")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to die of")
@pytest.mark.parametrize(("number", "is_terminated"), [(9, True), (11, False)])
def test_only_a_child_that_was_killed_from_outside_was_terminated(number: int, is_terminated: bool) -> None:
    with pytest.raises(ChildKilledError) as caught:
        child(f"import os; os.kill(os.getpid(), {number})")
    assert isinstance(caught.value, ChildTerminatedError) == is_terminated


def test_child_with_a_bug_shows_its_last_line() -> None:
    with pytest.raises(MeasurementError, match="exited with code 1") as caught:
        child("1/0")
    assert caught.value.hint == "ZeroDivisionError: division by zero"


ABORTED = """\
terminate called after throwing an instance of '{what}'
Fatal Python error: Aborted

Current thread 0x00007f0000000000 (most recent call first):
  File "worker.py", line 7 in main
  <no Python frame>

Extension modules: numpy (total: 1)
"""


def test_hint_is_the_last_line_that_says_something() -> None:
    error = build_child_error("the child", -6, ABORTED.format(what="std::logic_error"))
    assert (str(error), error.hint) == (
        "the child crashed (SIGABRT)",
        "terminate called after throwing an instance of 'std::logic_error'",
    )
    silent = ABORTED.split("\n", 1)[1]
    assert build_child_error("the child", -6, silent).hint is None


@pytest.mark.parametrize(
    ("code", "text", "sentence"),
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
def test_want_of_memory_has_a_hint_of_its_own(code: int, text: str, sentence: str) -> None:
    error = build_child_error("the child", code, text)
    assert (str(error), error.hint) == (sentence, "Increase limits.memory, free memory, or use a smaller batch.")


def test_a_child_that_no_profile_limits_is_not_to_be_given_more() -> None:
    with pytest.raises(MeasurementError, match="out of memory") as caught:
        child("raise MemoryError")
    assert caught.value.hint == "Free memory, or use a smaller model."


@pytest.mark.parametrize(
    ("code", "kind"), [(2, UsageError), (3, UnavailableError), (4, MeasurementError), (1, MeasurementError)]
)
def test_reported_error_keeps_its_kind_sentence_and_hint(code: int, kind: type[SizewiseError]) -> None:
    line = msgspec.json.encode(Failure(code, "no such thing", "make one")).decode()
    error = build_child_error("the child", code, f"noise\n{line}\nmore noise\n")
    assert type(error) is kind
    assert (str(error), error.hint) == ("no such thing", "make one")
