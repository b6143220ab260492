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


def test_model_as_is_is_the_original_file() -> None:
    prepared = prepare_model(order(), DataSpec())
    content = Path(DIGITS).read_bytes()
    assert (prepared.path, prepared.size_bytes) == (DIGITS, len(content))
    assert prepared.sha256 == hashlib.sha256(content).hexdigest()


def test_cached_model_paths_differ_by_model_and_provider(home: Path, tmp_path: Path) -> None:
    other = str(onnx_models.doubling(tmp_path / "m.onnx"))
    cached_paths = [
        prepare_model(variant_order, DataSpec()).cached_model_path
        for variant_order in (order(), order(other), order(provider="cuda"))
    ]
    assert len(set(cached_paths)) == 3
    assert all(Path(str(path)).is_relative_to(home) for path in cached_paths)
    assert prepare_model(order(), DataSpec()).cached_model_path == cached_paths[0]
    assert prepare_model(order(provider="openvino"), DataSpec()).cached_model_path is None


def test_file_without_an_onnx_model_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"no model")
    with pytest.raises(UsageError):
        prepare_model(order(str(tmp_path / "m.onnx")), DataSpec())


def test_cost_of_another_batch_is_interpolated_linearly() -> None:
    batch_1, batch_8, batch_37 = (compute_cost(DIGITS, batch, {}) for batch in (1, 8, 37))
    assert batch_1 is not None
    assert batch_8 is not None
    assert batch_37 is not None
    flops_per_row = (batch_8.flops - batch_1.flops) / 7
    assert batch_37.flops == pytest.approx(batch_1.flops + 36 * flops_per_row)
    assert batch_37.batch == 37
    assert batch_1.moved_bytes < batch_8.moved_bytes < batch_37.moved_bytes
    assert batch_1.min_bytes < batch_37.min_bytes <= batch_37.moved_bytes


@pytest.mark.parametrize(
    ("tensor_type", "noted"), [("F32", set()), ("F16", {"as-is"}), ("Q4_0", {"as-is", "int8", "int4"})]
)
def test_quantized_weights_that_differ_from_the_file_are_noted(
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
