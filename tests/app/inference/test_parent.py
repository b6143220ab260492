"""The children here are Python's own `timeit`, which runs any statement it is given."""

from __future__ import annotations

import sys

import pytest

from app.errors import InstrumentError, SizewiseError, UnavailableError, UsageError
from app.inference.parent import ChildKilledError, answer_of, error_told


def child(statement: str, timeout_s: float = 60.0) -> bytes:
    return answer_of("the child", "timeit", "-n1", "-r1", statement, timeout_s=timeout_s)


def test_answer_is_all_that_the_child_writes() -> None:
    assert child("print('x' * 200000)").startswith(b"x" * 200000)


def test_child_that_takes_too_long_is_stopped() -> None:
    with pytest.raises(InstrumentError, match=r"the child did not end within 0\.5 s"):
        child("import sys; sys.stdin.read()", timeout_s=0.5)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to die of")
@pytest.mark.parametrize(
    ("number", "sentence"),
    [(9, "was killed, perhaps for want of memory"), (11, "SIGSEGV"), (27, "more processor time")],
)
def test_child_that_dies_is_told_by_its_signal(number: int, sentence: str) -> None:
    with pytest.raises(ChildKilledError, match=sentence):
        child(f"import os; os.kill(os.getpid(), {number})")


def test_child_with_a_bug_shows_its_last_line() -> None:
    with pytest.raises(InstrumentError, match="ended with exit code 1") as caught:
        child("1/0")
    assert caught.value.hint == "ZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("code", "kind"), [(2, UsageError), (3, UnavailableError), (4, InstrumentError), (1, InstrumentError)]
)
def test_told_error_keeps_its_kind_sentence_and_hint(code: int, kind: type[SizewiseError]) -> None:
    error = error_told("the child", code, "noise\nerror: no such thing\nhint: make one\n")
    assert type(error) is kind
    assert (str(error), error.hint) == ("no such thing", "make one")
