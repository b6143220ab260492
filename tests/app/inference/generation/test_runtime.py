from pathlib import Path

import pytest

from app.errors import MeasurementError, UnavailableError, UsageError
from app.inference.generation.model_folder import read_model_folder
from app.inference.generation.runtime import get_genai_version, open_generative_model
from app.inference.providers import count_usable_cores
from tests.fakes import decoders


def test_unsupported_provider_and_excess_threads_are_rejected(tmp_path: Path) -> None:
    model = read_model_folder(decoders.contiguous(tmp_path / "model"))
    with pytest.raises(UsageError, match="do not run on the provider migraphx"):
        open_generative_model(model, "migraphx", 1)
    with pytest.raises(UsageError, match="threads exceed this machine's"):
        open_generative_model(model, "cpu", count_usable_cores() + 1)


def test_provider_missing_on_this_machine_is_unavailable(tmp_path: Path) -> None:
    model = read_model_folder(decoders.contiguous(tmp_path / "model"))
    with pytest.raises(UnavailableError, match="cannot be opened on directml: "):
        open_generative_model(model, "directml", 1)


def test_invalid_onnx_file_is_a_measurement_error(tmp_path: Path) -> None:
    folder = decoders.contiguous(tmp_path / "model")
    (folder / "model.onnx").write_bytes(b"\x00" * 100)
    with pytest.raises(MeasurementError, match="cannot be opened: "):
        open_generative_model(read_model_folder(folder), "cpu", 1)


def test_genai_version_is_the_pinned_release() -> None:
    assert get_genai_version().startswith("0.18.")
