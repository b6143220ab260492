"""The scripted server of a profile, as a child on a free port of the loopback."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import assert_never

import msgspec

from app.errors import InstrumentError
from app.profiles.profile import (
    EmbeddingsProfile,
    GeneratingProfile,
    HttpProfile,
    LocustProfile,
    OipGrpcProfile,
    OipProfile,
    Profile,
    RerankProfile,
    TfServingProfile,
    TorchServeProfile,
)
from app.profiles.scripted import ScriptedSettings, ScriptedTensors, ScriptedTexts, ScriptedTokens, parse_tensor
from loadgen.payloads.tensors import TensorSpec
from loadgen.process import start_module
from loadgen.reference.script import (
    Face,
    HttpFace,
    Law,
    OipFace,
    OpenAiFace,
    Reply,
    Script,
    TfServingFace,
    TorchServeFace,
)

NOTE = "The target was a scripted server of known timings: its numbers are the script's, not a model's."
_LEAVE_S = 2.0


def face_of(profile: Profile) -> Face | None:
    """What answers for the target; None where it is not scripted."""
    match profile:
        case HttpProfile():
            http = profile.target.scripted
            return None if http is None else HttpFace(_law(http), answer=http.answer)
        case GeneratingProfile():
            tokens = profile.target.scripted
            if tokens is None:
                return None
            return OpenAiFace(_law(tokens), model=profile.target.model, output_tokens=tokens.output_tokens)
        case EmbeddingsProfile() | RerankProfile():
            texts = profile.target.scripted
            return None if texts is None else OpenAiFace(_law(texts), model=profile.target.model)
        case OipProfile():
            oip = profile.target.scripted
            return None if oip is None else OipFace(_law(oip), profile.target.model, *_tensors(oip))
        case TfServingProfile():
            tf = profile.target.scripted
            if tf is None:
                return None
            return TfServingFace(_law(tf), profile.target.model, profile.target.signature, *_tensors(tf))
        case TorchServeProfile():
            torch = profile.target.scripted
            return None if torch is None else TorchServeFace(_law(torch), profile.target.model, torch.answer)
        case OipGrpcProfile() | LocustProfile():
            return None
        case _:
            assert_never(profile)


class ScriptedProcess:
    """Started by the constructor, which raises InstrumentError when it does not come up."""

    def __init__(self, face: Face) -> None:
        reply = Reply() if isinstance(face, HttpFace) else Reply(status=404)
        with tempfile.TemporaryDirectory(prefix="sizewise-") as folder:
            script = Path(folder) / "script.json"
            script.write_bytes(msgspec.json.encode(Script(reply=reply, faces=(face,))))
            self._child = start_module("loadgen.reference.scripted", "--script", str(script), stdout=subprocess.PIPE)
            assert self._child.stdout is not None
            line = self._child.stdout.readline()
        if not line.strip().isdigit():
            self.close()
            raise InstrumentError("the scripted server did not start", hint="Its own words are above.")
        self.pid = self._child.pid
        base = "/v1" if isinstance(face, OpenAiFace) else "/" if isinstance(face, HttpFace) else ""
        self.url = f"http://127.0.0.1:{int(line)}{base}"

    def close(self) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        try:
            self._child.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child.stdout.close()


def _law(settings: ScriptedSettings) -> Law:
    return Law(
        delay_s=settings.delay_s,
        sigma=settings.spread,
        servers=settings.parallel,
        tokens_per_s=settings.tokens_per_s if isinstance(settings, ScriptedTokens) else None,
        row_s=settings.row_s if isinstance(settings, ScriptedTensors | ScriptedTexts) else 0.0,
        seed=settings.seed,
    )


def _tensors(settings: ScriptedTensors) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    return _specs(settings.inputs), _specs(settings.outputs)


def _specs(tensors: dict[str, str]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, *parse_tensor(text)) for name, text in tensors.items())
