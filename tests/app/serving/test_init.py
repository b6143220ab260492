from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UsageError
from app.serving import run_endpoint
from app.serving.settings import ServingSettings


@pytest.mark.parametrize(
    ("name", "message"),
    [("nothing", "the model .*nothing does not exist"), ("tiny.gguf", "tiny.gguf is a GGUF file, which is measured")],
)
def test_unsupported_model_path_is_rejected_with_all_supported_kinds(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    with pytest.raises(UsageError, match=message) as error:
        run_endpoint(ServingSettings(model=str(tmp_path / name), name="m"), lambda _: None)
    hint = error.value.hint or ""
    assert all(kind in hint for kind in ("an .onnx file", "the folder of a language model", "a bundled model"))
