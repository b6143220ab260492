"""Models for MLServer: one doubles numbers, one returns texts."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

ANSWERS = 3
"""To a streamed request."""


class Doubling(MLModel):
    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        doubled = NumpyCodec.decode_input(payload.inputs[0]) * 2
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", doubled)])

    async def predict_stream(self, payloads: AsyncIterator[InferenceRequest]) -> AsyncIterator[InferenceResponse]:
        async for payload in payloads:
            for _ in range(ANSWERS):
                yield await self.predict(payload)


class Echo(MLModel):
    """A model with texts and integers as inputs, which returns the texts."""

    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        texts = StringCodec.decode_input(payload.inputs[0])
        numbers = NumpyCodec.decode_input(payload.inputs[1])
        assert numbers.dtype == np.int64
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("texts", texts)])
