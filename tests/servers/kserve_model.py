"""KServe with a model that doubles numbers: HTTP and gRPC on the ports given."""

from __future__ import annotations

import sys
from uuid import uuid4

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Doubling(Model):
    def __init__(self) -> None:
        super().__init__("doubling")
        self.ready = True

    async def get_input_types(self) -> list[dict[str, object]]:
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]

    async def get_output_types(self) -> list[dict[str, object]]:
        return [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}]

    def predict(self, payload: InferRequest, headers: object = None, response_headers: object = None) -> InferResponse:
        x = payload.inputs[0].as_numpy()
        y = InferOutput(name="y", shape=list(x.shape), datatype="FP32")
        y.set_data_from_numpy(x * 2, binary_data=payload.use_binary_outputs)
        return InferResponse(response_id=str(uuid4()), model_name=self.name, infer_outputs=[y])


if __name__ == "__main__":
    http_port, grpc_port = map(int, sys.argv[1:])
    ModelServer(http_port=http_port, grpc_port=grpc_port, enable_latency_logging=False).start([Doubling()])
