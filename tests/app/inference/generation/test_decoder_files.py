from pathlib import Path

import onnxruntime_genai as genai

from app.inference.generation.decoder_files import MIN_VOCABULARY, build_byte_tokenizer
from app.inference.generation.model_folder import compute_folder_sha256
from tests.fakes import decoders


def test_the_tokenizer_restores_every_text(tmp_path: Path) -> None:
    model = genai.Model(str(decoders.contiguous(tmp_path / "model")))
    tokenizer = genai.Tokenizer(model)
    for text in ("the cat sat", "Grüße, 漢字 and 🙂", " leading and trailing ", "line\nline"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    chat = tokenizer.apply_chat_template('[{"role": "user", "content": "hi"}]', add_generation_prompt=True)
    assert chat == "<s>user\nhi</s>\n<s>assistant\n"


def test_the_vocabulary_has_exactly_the_size_of_the_shape() -> None:
    for vocabulary in (MIN_VOCABULARY, 512, 4096, 40_000):
        tokens = build_byte_tokenizer(decoders.shape(vocabulary=vocabulary)).tokenizer["model"]["vocab"]
        assert sorted(tokens.values()) == list(range(vocabulary))


def test_equal_seeds_give_equal_files(tmp_path: Path) -> None:
    first, second = decoders.contiguous(tmp_path / "first"), decoders.contiguous(tmp_path / "second")
    assert compute_folder_sha256(first) == compute_folder_sha256(second)
    assert compute_folder_sha256(first) != compute_folder_sha256(decoders.contiguous(tmp_path / "int8", 8))
