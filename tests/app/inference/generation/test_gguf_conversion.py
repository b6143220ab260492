import json
from pathlib import Path
from typing import Any

import pytest

from app.errors import MeasurementError, UsageError
from app.inference.generation import gguf_conversion
from app.inference.generation.decoder_shape import PagedCache
from app.inference.generation.gguf_conversion import convert_gguf
from app.inference.generation.model_folder import read_model_folder
from tests.fakes.gguf_decoders import write_plain

pytestmark = pytest.mark.process
LIMIT_S = 60.0


def fail(*arguments: Any, **options: Any) -> bytes:
    raise AssertionError("a cached conversion starts no process")


def test_converted_gguf_is_cached_by_content_and_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, cache = write_plain(tmp_path / "model.gguf"), tmp_path / "cache"
    folder = convert_gguf(source, 8, cache=cache, timeout_s=LIMIT_S)
    assert read_model_folder(folder).paged_cache is None
    entries = {path.name for path in cache.iterdir()}
    assert len(entries) == 2, "the folder and its entry"
    with monkeypatch.context() as patch:
        patch.setattr(gguf_conversion, "run_child", fail)
        renamed = source.rename(tmp_path / "renamed.gguf")
        assert convert_gguf(renamed, 8, cache=cache, timeout_s=LIMIT_S) == folder
        with pytest.raises(AssertionError):
            convert_gguf(renamed, 4, cache=cache, timeout_s=LIMIT_S)
        with pytest.raises(AssertionError):
            convert_gguf(renamed, 8, PagedCache(), cache=cache, timeout_s=LIMIT_S)
    assert {path.name for path in cache.iterdir()} == entries

    (folder / "tokenizer.json").write_text("{}")
    assert convert_gguf(renamed, 8, cache=cache, timeout_s=LIMIT_S) == folder
    assert json.loads((folder / "tokenizer.json").read_text())["model"]["type"] == "BPE"
    assert {path.name for path in cache.iterdir()} == entries


def test_rejected_gguf_leaves_an_empty_cache(tmp_path: Path) -> None:
    source = write_plain(tmp_path / "model.gguf", {"general.architecture": "mamba"})
    with pytest.raises(UsageError, match=r"^model\.gguf cannot be converted: the architecture mamba is not") as error:
        convert_gguf(source, 8, cache=tmp_path / "cache", timeout_s=LIMIT_S)
    assert error.value.exit_code == 2
    assert error.value.hint is not None
    assert error.value.hint.startswith("Supported architectures are llama and qwen2.")
    assert list((tmp_path / "cache").iterdir()) == []


def test_gguf_conversion_that_times_out_leaves_an_empty_cache(tmp_path: Path) -> None:
    source = write_plain(tmp_path / "model.gguf")
    with pytest.raises(MeasurementError, match=r"the conversion of model\.gguf did not finish within 0\.05 s"):
        convert_gguf(source, 8, cache=tmp_path / "cache", timeout_s=0.05)
    assert list((tmp_path / "cache").iterdir()) == []


def test_gguf_source_or_cache_with_the_wrong_file_type_is_rejected(tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.gguf", tmp_path):
        with pytest.raises(UsageError, match="does not exist or is not a file"):
            convert_gguf(path, 8, cache=tmp_path / "cache", timeout_s=LIMIT_S)
    (tmp_path / "occupied").write_text("")
    with pytest.raises(UsageError, match=r"^model\.gguf cannot be converted: .*occupied"):
        convert_gguf(write_plain(tmp_path / "model.gguf"), 8, cache=tmp_path / "occupied", timeout_s=LIMIT_S)
