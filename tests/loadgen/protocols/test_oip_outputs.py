import numpy as np
import pytest

from loadgen.protocols.built import ResponseCheck
from loadgen.protocols.oip_outputs import AnswerError, from_bytes, judge_outputs


def test_right_rows_are_counted_by_the_arg_max_of_scores() -> None:
    outputs = [np.array([[1, 9], [8, 2], [3, 4]]), np.zeros(3)]
    assert judge_outputs(outputs, np.array([1, 1, 1])) == ResponseCheck(None, 2)


def test_right_rows_are_counted_by_classes_where_the_model_gives_them() -> None:
    """As of a classifier that skl2onnx exported: its first output is the class, its second has the scores."""
    outputs = [np.array([[3], [1], [2]]), np.eye(4)[[3, 1, 2]]]
    assert judge_outputs(outputs, np.array([3, 1, 0])) == ResponseCheck(None, 2)
    assert judge_outputs(outputs, np.array([3, 1, 0]), 1) == ResponseCheck(None, 2)


def test_scores_of_two_kinds_need_to_be_told_apart() -> None:
    outputs = [np.eye(4)[[3, 1, 2]], np.eye(7)[[3, 1, 2]]]
    with pytest.raises(AnswerError):
        judge_outputs(outputs, np.array([3, 1, 0]))
    assert judge_outputs(outputs, np.array([3, 1, 0]), 1) == ResponseCheck(None, 2)
    with pytest.raises(AnswerError):
        judge_outputs(outputs, np.array([3, 1, 0]), 2)


@pytest.mark.parametrize("first", [np.zeros((2, 2)), np.zeros((3, 0)), np.float32(1)])
def test_an_output_without_a_row_for_each_label_is_refused(first: np.ndarray) -> None:
    with pytest.raises(AnswerError):
        judge_outputs([np.asarray(first)], np.array([0, 1, 0]))


def test_a_nan_anywhere_is_a_bad_output() -> None:
    assert judge_outputs([np.zeros(1), np.array([0, np.nan], np.float16)], None) == ResponseCheck("bad-output")
    assert judge_outputs([np.array([np.inf])], None) == ResponseCheck()


def test_bfloat16_is_the_upper_half_of_a_float() -> None:
    halves = (np.array([1.5, -2, np.nan], np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
    numbers = from_bytes("BF16", (3,), halves, 0, 6)
    assert numbers.tolist()[:2] == [1.5, -2.0]
    assert judge_outputs([numbers], None) == ResponseCheck("bad-output")


def test_a_scalar_has_one_element() -> None:
    assert from_bytes("INT64", (), np.int64(7).tobytes(), 0, 8) == 7
