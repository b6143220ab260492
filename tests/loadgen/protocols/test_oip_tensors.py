from pathlib import Path

import numpy as np
import pytest

from loadgen.payloads.tensors import TensorError, TensorInput
from loadgen.protocols.oip_tensors import ResponseError, check_outputs, decode_tensor, load_inputs
from loadgen.protocols.prepared import ResponseCheck
from loadgen.workloads import OipWorkload

X = TensorInput("x", "FP32", (-1, 2))


@pytest.fixture
def npz(tmp_path: Path) -> str:
    x = np.arange(10, dtype=np.float64).reshape(5, 2)
    np.savez(tmp_path / "t.npz", x=x, y=np.array([0, 1, 1, 0, 1]), t=np.array([0.5, 1, 1.5, 2, 2.5]))
    return str(tmp_path / "t.npz")


def load_request_shapes(workload: OipWorkload, *specs: TensorInput) -> list[list[tuple[int, ...]]]:
    return [[tensor.shape for _, tensor in tensors] for tensors in load_inputs(workload, specs).iterate_requests()]


@pytest.mark.parametrize(
    ("shape", "rows", "expected"),
    [
        ((-1, 2), 1, (1, 2)),
        ((-1, 2), 4, (4, 2)),
        ((-1, -1, 3), 4, (4, 1, 3)),
        ((-1,), 4, (4,)),
        ((4, 2), 4, (4, 2)),
        ((), 1, ()),
        ((), 4, ()),
        ((3,), 1, (3,)),
        ((16, -1, 2), 1, (16, 1, 2)),
        ((1, -1), 1, (1, 1)),
    ],
)
def test_inputs_are_generated_for_each_shape(shape: tuple[int, ...], rows: int, expected: tuple[int, ...]) -> None:
    parts = load_request_shapes(OipWorkload("m", rows_per_request=rows), TensorInput("x", "INT64", shape))
    assert set(map(tuple, parts)) == {(expected,)}
    assert len(parts) == 32


def test_scalar_input_is_sent_once_per_request() -> None:
    parts = load_request_shapes(OipWorkload("m", rows_per_request=3), X, TensorInput("t", "FP32", ()))
    assert parts == [[(3, 2), ()]] * 32


@pytest.mark.parametrize("datatype", ["BOOL", "UINT8", "INT64", "FP16", "FP64", "BYTES"])
def test_generated_tensors_of_each_datatype_are_seeded(datatype: str) -> None:
    spec = TensorInput("x", datatype, (-1, 64))
    first, same_seed, other_seed = (
        next(load_inputs(OipWorkload("m", seed=seed), [spec]).iterate_requests())[0][1].tolist() for seed in (1, 1, 2)
    )
    assert first == same_seed != other_seed


def test_bf16_input_is_rejected_with_alternatives() -> None:
    with pytest.raises(TensorError, match=r"x has datatype BF16.*FP16 or FP32"):
        load_inputs(OipWorkload("m"), [TensorInput("x", "BF16", (-1, 2))])


def test_rows_of_file_are_grouped_into_requests_with_labels(npz: str) -> None:
    inputs = load_inputs(OipWorkload("m", tensors=npz, labels="y", rows_per_request=2), [X])
    assert [tensors[0][1].tolist() for tensors in inputs.iterate_requests()] == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    labels = inputs.get_labels(2)
    assert labels is not None
    assert labels.tolist() == [[0, 1], [1, 0]]


def test_scalar_input_of_file_has_one_value_per_request(npz: str) -> None:
    scalar = TensorInput("t", "FP32", ())
    parts = list(load_inputs(OipWorkload("m", tensors=npz), [X, scalar]).iterate_requests())
    assert [tensors[1][1].tolist() for tensors in parts] == [0.5, 1, 1.5, 2, 2.5]
    assert parts[0][1][1].shape == ()
    with pytest.raises(TensorError, match="Set `rows_per_request` to 1"):
        load_inputs(OipWorkload("m", tensors=npz, rows_per_request=2), [X, scalar])


def test_wrong_number_of_axes_is_rejected(npz: str) -> None:
    with pytest.raises(TensorError, match="x has 2 axes, but the model's input has 3"):
        load_inputs(OipWorkload("m", tensors=npz), [TensorInput("x", "FP32", (-1, 1, 2))])


@pytest.mark.parametrize("labels", ["nothing", "x"])
def test_labels_must_be_one_integer_per_row(npz: str, labels: str) -> None:
    with pytest.raises(TensorError, match="5 integers"):
        load_inputs(OipWorkload("m", tensors=npz, labels=labels), [X])


def test_labels_without_tensors_are_rejected() -> None:
    with pytest.raises(TensorError, match="labels require tensors"):
        load_inputs(OipWorkload("m", labels="y"), [X])


@pytest.mark.parametrize(
    ("specs", "rows", "message"),
    [([X, X], 1, "inputs of the same name"), ([X], 0, "at least one row"), ([X], -1, "at least one row")],
)
def test_duplicate_inputs_and_missing_rows_are_rejected(specs: list[TensorInput], rows: int, message: str) -> None:
    with pytest.raises(TensorError, match=message):
        load_inputs(OipWorkload("m", rows_per_request=rows), specs)


@pytest.mark.parametrize("shape", [(-1, 2**40), (-1, 0, 10**30), (-1, *[1] * 70), (-1, 2**31, 2**31), (0, 3), (2**40,)])
def test_oversized_or_empty_input_shape_is_rejected(shape: tuple[int, ...]) -> None:
    with pytest.raises(TensorError, match=r"MiB|no values"):
        load_inputs(OipWorkload("m"), [TensorInput("x", "FP32", shape)])


def test_correct_rows_are_counted_by_highest_score() -> None:
    outputs = [np.array([[1, 9], [8, 2], [3, 4]]), np.zeros(3)]
    assert check_outputs(outputs, np.array([1, 1, 1])) == ResponseCheck(None, 2)


def test_correct_rows_are_counted_by_class_output() -> None:
    """skl2onnx exports classifiers like this: the first output is the class, the second has the scores."""
    outputs = [np.array([[3], [1], [2]]), np.eye(4)[[3, 1, 2]]]
    assert check_outputs(outputs, np.array([3, 1, 0])) == ResponseCheck(None, 2)
    assert check_outputs(outputs, np.array([3, 1, 0]), 1) == ResponseCheck(None, 2)


def test_two_score_outputs_require_explicit_output() -> None:
    outputs = [np.eye(4)[[3, 1, 2]], np.eye(7)[[3, 1, 2]]]
    with pytest.raises(ResponseError):
        check_outputs(outputs, np.array([3, 1, 0]))
    assert check_outputs(outputs, np.array([3, 1, 0]), 1) == ResponseCheck(None, 2)
    with pytest.raises(ResponseError):
        check_outputs(outputs, np.array([3, 1, 0]), 2)


@pytest.mark.parametrize("first", [np.zeros((2, 2)), np.zeros((3, 0)), np.float32(1)])
def test_output_without_row_for_each_label_is_rejected(first: np.ndarray) -> None:
    with pytest.raises(ResponseError):
        check_outputs([np.asarray(first)], np.array([0, 1, 0]))


def test_nan_in_any_output_is_bad_output() -> None:
    assert check_outputs([np.zeros(1), np.array([0, np.nan], np.float16)], None) == ResponseCheck("bad-output")
    assert check_outputs([np.array([np.inf])], None) == ResponseCheck()


def test_bf16_is_decoded_as_upper_half_of_float() -> None:
    halves = (np.array([1.5, -2, np.nan], np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
    numbers = decode_tensor("BF16", (3,), halves, 0, 6)
    assert numbers.tolist()[:2] == [1.5, -2.0]
    assert check_outputs([numbers], None) == ResponseCheck("bad-output")


def test_scalar_tensor_is_decoded() -> None:
    assert decode_tensor("INT64", (), np.int64(7).tobytes(), 0, 8) == 7
