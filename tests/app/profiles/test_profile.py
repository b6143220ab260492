from __future__ import annotations

import pytest

from app.errors import ProfileError
from app.profiles.bundled import bundled_profiles
from app.profiles.document import read_document
from app.profiles.endpoint import PLACES
from app.profiles.loading import load_values
from app.profiles.profile import protocol_of


def test_a_bundled_profile_says_what_it_speaks() -> None:
    spoken = {
        name: protocol_of(read_document(path.read_bytes(), name).value) for name, path in bundled_profiles().items()
    }
    assert (spoken["chat"], spoken["local-model"], spoken["quickstart"]) == ("openai-chat", "local", "oip")
    assert protocol_of({"target": {"protocol": "htp"}}) is None


@pytest.mark.parametrize("place", PLACES)
def test_a_model_that_is_somewhere_else_lacks_its_protocol(place: str) -> None:
    """A form tells no such target for a local model, as little as a run does."""
    target = {"model": "digits", place: "http://127.0.0.1:9/"}
    assert protocol_of({"target": target}) is None
    with pytest.raises(ProfileError, match="target lacks protocol"):
        load_values({"sizewise": 1, "name": "x", "target": target}, "x.yaml")
