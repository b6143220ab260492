from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime_genai as genai
import pytest

from app.inference.generation import decoder_files
from app.inference.generation.decoder_files import MIN_VOCABULARY, build_byte_tokenizer
from app.inference.generation.decoder_shape import WeightBits
from app.inference.generation.model_folder import compute_folder_sha256, read_model_folder
from app.inference.generation.runtime import open_generative_model
from tests.fakes import decoders


def test_byte_tokenizer_decodes_its_encoded_text(tmp_path: Path) -> None:
    model = genai.Model(str(decoders.contiguous(tmp_path / "model")))
    tokenizer = genai.Tokenizer(model)
    for text in ("the cat sat", "Grüße, 漢字 and 🙂", " leading and trailing ", "line\nline"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    chat = tokenizer.apply_chat_template('[{"role": "user", "content": "hi"}]', add_generation_prompt=True)
    assert chat == "<s>user\nhi</s>\n<s>assistant\n"


def test_tokenizer_vocabulary_has_the_size_of_the_decoder_shape() -> None:
    for vocabulary in (MIN_VOCABULARY, 512, 4096, 40_000):
        tokens = build_byte_tokenizer(decoders.shape(vocabulary=vocabulary)).tokenizer["model"]["vocab"]
        assert sorted(tokens.values()) == list(range(vocabulary))


def test_equal_seeds_write_equal_decoder_files(tmp_path: Path) -> None:
    first, second = decoders.contiguous(tmp_path / "first"), decoders.contiguous(tmp_path / "second")
    assert compute_folder_sha256(first) == compute_folder_sha256(second)
    assert compute_folder_sha256(first) != compute_folder_sha256(decoders.contiguous(tmp_path / "int8", 8))


def compute_logits(folder: Path) -> npt.NDArray[np.float32]:
    model = open_generative_model(read_model_folder(folder), "cpu", 1)
    parameters = genai.GeneratorParams(model)
    parameters.set_search_options(max_length=20)
    generator = genai.Generator(model, parameters)
    generator.append_tokens(np.arange(3, 13, dtype=np.int32))
    return np.asarray(generator.get_logits())


@pytest.mark.parametrize("bits", [32, 8])
def test_large_weights_are_stored_in_an_aligned_external_file(
    tmp_path: Path, bits: WeightBits, monkeypatch: pytest.MonkeyPatch
) -> None:
    embedded = decoders.contiguous(tmp_path / "embedded", bits)
    monkeypatch.setattr(decoder_files, "_MAX_EMBEDDED_BYTES", 2**16)
    external = decoders.contiguous(tmp_path / "apart", bits)
    assert not (embedded / "model.onnx.data").exists()
    assert (external / "model.onnx").stat().st_size < 40_000
    np.testing.assert_array_equal(compute_logits(external), compute_logits(embedded))
    tensors = onnx.load(external / "model.onnx", load_external_data=False).graph.initializer
    offsets = [int(entry.value) for tensor in tensors for entry in tensor.external_data if entry.key == "offset"]
    assert len(offsets) > 10
    assert {offset % 4096 for offset in offsets} == {0}
    rotary_bytes = 4 * decoders.shape().context * decoders.shape().head_dim
    weight_bytes = (external / "model.onnx.data").stat().st_size - rotary_bytes
    assert weight_bytes == pytest.approx(decoders.shape(bits).weight_bytes, rel=0.1)
