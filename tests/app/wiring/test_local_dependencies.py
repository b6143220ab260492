from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from msgspec.structs import replace

from app.errors import UsageError
from app.profiles.bundled import bundled_models
from app.records.local import Precision
from app.session.local.spec import DataSpec, VariantSpec
from app.wiring.local_dependencies import compute_cost, prepare_model
from tests.fakes import onnx_models
from tests.fakes.gguf_decoders import draw_weights, plain_shape, write_gguf
from tests.fakes.local import order_of

pytestmark = pytest.mark.process

DIGITS = str(bundled_models()["digits"])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIZEWISE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def order(model: str = DIGITS, provider: str = "cpu") -> VariantSpec:
    return replace(order_of(1, provider=provider), model=model)


def test_a_model_as_it_is_is_the_users_own_file() -> None:
    prepared = prepare_model(order(), DataSpec())
    content = Path(DIGITS).read_bytes()
    assert (prepared.path, prepared.size_bytes) == (DIGITS, len(content))
    assert prepared.sha256 == hashlib.sha256(content).hexdigest()


def test_what_is_kept_is_reported_apart_by_model_and_provider(home: Path, tmp_path: Path) -> None:
    other = str(onnx_models.doubling(tmp_path / "m.onnx"))
    kept = [prepare_model(one, DataSpec()).cached_model_path for one in (order(), order(other), order(provider="cuda"))]
    assert len(set(kept)) == 3
    assert all(Path(str(one)).is_relative_to(home) for one in kept)
    assert prepare_model(order(), DataSpec()).cached_model_path == kept[0]
    assert prepare_model(order(provider="openvino"), DataSpec()).cached_model_path is None


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(UsageError):
        prepare_model(order(str(tmp_path / "m.onnx")), DataSpec())


def test_cost_of_a_batch_that_was_not_looked_at_lies_on_the_line() -> None:
    one, eight, odd = (compute_cost(DIGITS, batch, {}) for batch in (1, 8, 37))
    assert one is not None
    assert eight is not None
    assert odd is not None
    a_row = (eight.flops - one.flops) / 7
    assert odd.flops == pytest.approx(one.flops + 36 * a_row)
    assert odd.batch == 37
    assert one.moved_bytes < eight.moved_bytes < odd.moved_bytes
    assert one.min_bytes < odd.min_bytes <= odd.moved_bytes


@pytest.mark.parametrize(
    ("tensor_type", "noted"), [("F32", set()), ("F16", {"as-is"}), ("Q4_0", {"as-is", "int8", "int4"})]
)
def test_weights_that_are_not_measured_as_the_file_stores_them_are_noted(
    tmp_path: Path, tensor_type: str, noted: set[str]
) -> None:
    shape = plain_shape()
    source = write_gguf(tmp_path / "model.gguf", shape, draw_weights(shape, tensor_type), tensor_type)
    precisions: tuple[Precision, ...] = ("as-is", "int8", "int4")
    language_model = replace(order(str(source)), is_language_model=True)
    with_notes = {
        precision
        for precision in precisions
        if prepare_model(replace(language_model, precision=precision), DataSpec()).notes
    }
    assert with_notes == noted
