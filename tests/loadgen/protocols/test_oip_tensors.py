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


def shapes(workload: OipWorkload, *specs: TensorInput) -> list[list[tuple[int, ...]]]:
    return [[tensor.shape for _, tensor in part] for part in load_inputs(workload, specs).iterate_requests()]


@pytest.mark.parametrize(
    ("shape", "rows", "made"),
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
def test_inputs_are_made_up_for_every_shape(shape: tuple[int, ...], rows: int, made: tuple[int, ...]) -> None:
    parts = shapes(OipWorkload("m", rows_per_request=rows), TensorInput("x", "INT64", shape))
    assert set(map(tuple, parts)) == {(made,)}
    assert len(parts) == 32


def test_a_scalar_beside_rows_is_one_for_each_request() -> None:
    parts = shapes(OipWorkload("m", rows_per_request=3), X, TensorInput("t", "FP32", ()))
    assert parts == [[(3, 2), ()]] * 32


@pytest.mark.parametrize("datatype", ["BOOL", "UINT8", "INT64", "FP16", "FP64", "BYTES"])
def test_every_datatype_is_made_up_seeded(datatype: str) -> None:
    spec = TensorInput("x", datatype, (-1, 64))
    first, again, other = (
        next(load_inputs(OipWorkload("m", seed=seed), [spec]).iterate_requests())[0][1].tolist() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_bfloat16_is_refused_with_what_to_do() -> None:
    with pytest.raises(TensorError, match=r"x has datatype BF16.*FP16 or FP32"):
        load_inputs(OipWorkload("m"), [TensorInput("x", "BF16", (-1, 2))])


def test_rows_of_a_file_go_into_requests_with_their_labels(npz: str) -> None:
    inputs = load_inputs(OipWorkload("m", tensors=npz, labels="y", rows_per_request=2), [X])
    assert [part[0][1].tolist() for part in inputs.iterate_requests()] == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    labels = inputs.get_labels(2)
    assert labels is not None
    assert labels.tolist() == [[0, 1], [1, 0]]


def test_a_file_holds_a_scalar_for_each_request(npz: str) -> None:
    scalar = TensorInput("t", "FP32", ())
    parts = list(load_inputs(OipWorkload("m", tensors=npz), [X, scalar]).iterate_requests())
    assert [part[1][1].tolist() for part in parts] == [0.5, 1, 1.5, 2, 2.5]
    assert parts[0][1][1].shape == ()
    with pytest.raises(TensorError, match="Set `rows_per_request` to 1"):
        load_inputs(OipWorkload("m", tensors=npz, rows_per_request=2), [X, scalar])


def test_axes_that_do_not_fit_are_refused(npz: str) -> None:
    with pytest.raises(TensorError, match="x has 2 axes, but the model's input has 3"):
        load_inputs(OipWorkload("m", tensors=npz), [TensorInput("x", "FP32", (-1, 1, 2))])


@pytest.mark.parametrize("labels", ["nothing", "x"])
def test_labels_must_be_one_whole_number_a_row(npz: str, labels: str) -> None:
    with pytest.raises(TensorError, match="5 integers"):
        load_inputs(OipWorkload("m", tensors=npz, labels=labels), [X])


def test_made_up_inputs_have_no_labels() -> None:
    with pytest.raises(TensorError, match="labels require tensors"):
        load_inputs(OipWorkload("m", labels="y"), [X])


@pytest.mark.parametrize(
    ("specs", "rows", "sentence"),
    [([X, X], 1, "inputs of the same name"), ([X], 0, "at least one row"), ([X], -1, "at least one row")],
)
def test_what_makes_no_request_is_refused(specs: list[TensorInput], rows: int, sentence: str) -> None:
    with pytest.raises(TensorError, match=sentence):
        load_inputs(OipWorkload("m", rows_per_request=rows), specs)


@pytest.mark.parametrize("shape", [(-1, 2**40), (-1, 0, 10**30), (-1, *[1] * 70), (-1, 2**31, 2**31), (0, 3), (2**40,)])
def test_inputs_of_any_size_a_server_may_name_are_refused_before_they_are_made(shape: tuple[int, ...]) -> None:
    with pytest.raises(TensorError, match=r"MiB|no values"):
        load_inputs(OipWorkload("m"), [TensorInput("x", "FP32", shape)])


def test_right_rows_are_counted_by_the_arg_max_of_scores() -> None:
    outputs = [np.array([[1, 9], [8, 2], [3, 4]]), np.zeros(3)]
    assert check_outputs(outputs, np.array([1, 1, 1])) == ResponseCheck(None, 2)


def test_right_rows_are_counted_by_classes_where_the_model_gives_them() -> None:
    """As of a classifier that skl2onnx exported: its first output is the class, its second has the scores."""
    outputs = [np.array([[3], [1], [2]]), np.eye(4)[[3, 1, 2]]]
    assert check_outputs(outputs, np.array([3, 1, 0])) == ResponseCheck(None, 2)
    assert check_outputs(outputs, np.array([3, 1, 0]), 1) == ResponseCheck(None, 2)


def test_scores_of_two_kinds_need_to_be_reported_apart() -> None:
    outputs = [np.eye(4)[[3, 1, 2]], np.eye(7)[[3, 1, 2]]]
    with pytest.raises(ResponseError):
        check_outputs(outputs, np.array([3, 1, 0]))
    assert check_outputs(outputs, np.array([3, 1, 0]), 1) == ResponseCheck(None, 2)
    with pytest.raises(ResponseError):
        check_outputs(outputs, np.array([3, 1, 0]), 2)


@pytest.mark.parametrize("first", [np.zeros((2, 2)), np.zeros((3, 0)), np.float32(1)])
def test_an_output_without_a_row_for_each_label_is_refused(first: np.ndarray) -> None:
    with pytest.raises(ResponseError):
        check_outputs([np.asarray(first)], np.array([0, 1, 0]))


def test_a_nan_anywhere_is_a_bad_output() -> None:
    assert check_outputs([np.zeros(1), np.array([0, np.nan], np.float16)], None) == ResponseCheck("bad-output")
    assert check_outputs([np.array([np.inf])], None) == ResponseCheck()


def test_bfloat16_is_the_upper_half_of_a_float() -> None:
    halves = (np.array([1.5, -2, np.nan], np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
    numbers = decode_tensor("BF16", (3,), halves, 0, 6)
    assert numbers.tolist()[:2] == [1.5, -2.0]
    assert check_outputs([numbers], None) == ResponseCheck("bad-output")


def test_a_scalar_has_one_element() -> None:
    assert decode_tensor("INT64", (), np.int64(7).tobytes(), 0, 8) == 7
