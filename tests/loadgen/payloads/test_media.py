from __future__ import annotations

import base64
import io
import wave

import numpy as np
import pytest
from PIL import Image

from loadgen.payloads.media import MediaGenerator
from loadgen.workloads import AudioClips, Images


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 30), (512, 512), (900, 300)])
def test_generated_images_are_valid_pngs_of_requested_size(width: int, height: int) -> None:
    generator = MediaGenerator(Images(2, width, height), None, 3)
    (first, second), (third, _) = generator.generate(), generator.generate()
    assert len({first.data, second.data, third.data}) == 3
    content = base64.b64decode(first.data)
    with Image.open(io.BytesIO(content)) as image:
        image.load()  # checks the checksums
        assert (image.format, image.size, image.mode) == ("PNG", (width, height), "RGB")
        pixels = np.asarray(image)
    if height > 10:
        assert pixels[-1].std() > 20
        assert pixels[0, 0, 0] == 0
        assert pixels[0, -1, 0] == 255
    if width >= 512:
        assert 0.3 <= len(content) / (width * height) < 0.36


def test_audio_clips_have_requested_duration() -> None:
    ((first,), (second,)) = (MediaGenerator(None, AudioClips(1, 0.25), seed).generate() for seed in (1, 2))
    assert first.data != second.data
    with wave.open(io.BytesIO(base64.b64decode(first.data))) as clip:
        assert (clip.getnchannels(), clip.getsampwidth(), clip.getframerate()) == (1, 2, 16_000)
        assert clip.getnframes() == 4000


def test_prompts_share_unique_images_and_audio_clips() -> None:
    generator = MediaGenerator(Images(2, 4, 4, unique=3), AudioClips(1, 0.01, unique=1), 1)
    media_by_prompt = [generator.generate() for _ in range(3)]
    images = [item for media in media_by_prompt for item in media if item.kind == "image"]
    assert len(set(images)) == 3
    assert images[:3] == images[3:]
    assert len({item for media in media_by_prompt for item in media if item.kind == "audio"}) == 1
    assert [[item.kind for item in media] for media in media_by_prompt] == [["image", "image", "audio"]] * 3
