"""Make digits.onnx, digits.npz and digits.json again: `python profiles/models/train_digits.py` with the `train` extra.

The settings were chosen on 250 rows of the training part. The held-out rows are read for the record at the end only.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import sklearn
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional

from app.inference.session import open_session

HERE = Path(__file__).parent
SEED = 20
HELD_OUT_ROWS = 450
EPOCHS = 10
BATCH = 32
PEAK_LEARNING_RATE = 3e-3
SIDE = 28
"""The 8x8 image is enlarged to this many pixels, so that an inference weighs milliseconds and not microseconds."""
BLOCKS = ((64, 1), (64, 1), (64, 1), (96, 2))
"""Channels and stride of each residual block."""


class Block(nn.Module):
    """Two 3x3 convolutions beside a skip, which is a 1x1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, 3, stride)
        self.second = convolution(outputs, outputs, 3, 1)
        self.skip = None if (inputs, stride) == (outputs, 1) else convolution(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.skip is None else self.skip(x)
        return functional.relu(self.second(functional.relu(self.first(x))) + skip)


class Digits(nn.Module):
    """Raw 0..16 pixels [N,1,8,8] to scores [N,10]."""

    def __init__(self) -> None:
        super().__init__()
        channels = BLOCKS[0][0]
        self.stem = convolution(1, channels, 3, 1)
        blocks = []
        for outputs, stride in BLOCKS:
            blocks.append(Block(channels, outputs, stride))
            channels = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(channels, 10)

    def forward(self, image: Tensor) -> Tensor:
        return self.scores(enlarged(image))

    def scores(self, image: Tensor) -> Tensor:
        x = self.blocks(functional.relu(self.stem(image)))
        return self.head(x.mean(dim=(2, 3)))


def enlarged(image: Tensor) -> Tensor:
    return functional.interpolate(image / 16.0, size=(SIDE, SIDE), mode="bilinear", align_corners=False)


def convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """The enlarged images turned by up to 9 degrees, scaled by up to 8 % and shifted by up to half a small pixel."""
    count = len(images)

    def spread(limit: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * limit

    angle, scale = spread(0.16), 1 + spread(0.08)
    cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
    rows = [torch.stack([cosine, -sine, spread(0.125)], 1), torch.stack([sine, cosine, spread(0.125)], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def batches(images: Tensor, labels: Tensor, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    for chosen in torch.randperm(len(images), generator=generator).split(BATCH):
        yield augmented(enlarged(images[chosen]), generator), labels[chosen]


def trained(images: Tensor, labels: Tensor) -> Digits:
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    generator = torch.Generator().manual_seed(SEED)
    net = Digits().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    steps = EPOCHS * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_LEARNING_RATE, total_steps=steps)
    for epoch in range(EPOCHS):
        total = 0.0
        for image, label in batches(images, labels, generator):
            loss = functional.cross_entropy(net.scores(image), label, label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(label)
        sys.stderr.write(f"epoch {epoch + 1}/{EPOCHS}: loss {total / len(images):.4f}\n")
    return net.eval()


class Graph:
    """An ONNX graph under construction; each method adds nodes and returns the name of what they give."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def node(self, operator: str, inputs: list[str], name: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def folded(self, source: str, layers: nn.Sequential, name: str) -> str:
        """The convolution with its batch normalisation folded into weight and bias."""
        conv, norm = layers[0], layers[1]
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        weight = (conv.weight * factor[:, None, None, None]).detach().contiguous().numpy()
        bias = (norm.bias - norm.running_mean * factor).detach().numpy()
        inputs = [source, self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]
        pad = conv.padding[0]
        return self.node(
            "Conv",
            inputs,
            name,
            kernel_shape=list(conv.kernel_size),
            strides=list(conv.stride),
            pads=[pad, pad, pad, pad],
        )

    def block(self, source: str, block: Block, name: str) -> str:
        inner = self.node("Relu", [self.folded(source, block.first, f"{name}.first")], f"{name}.first.relu")
        outer = self.folded(inner, block.second, f"{name}.second")
        skip = source if block.skip is None else self.folded(source, block.skip, f"{name}.skip")
        return self.node("Relu", [self.node("Add", [outer, skip], f"{name}.sum")], f"{name}.relu")


def exported(net: Digits) -> onnx.ModelProto:
    graph = Graph()
    scale = graph.constant("pixel_scale", np.array([1 / 16], np.float32))
    factors = graph.constant("enlargement", np.array([1, 1, SIDE / 8, SIDE / 8], np.float32))
    x = graph.node("Mul", ["image", scale], "scaled")
    x = graph.node("Resize", [x, "", factors], "enlarged", mode="linear", coordinate_transformation_mode="half_pixel")
    x = graph.node("Relu", [graph.folded(x, net.stem, "stem")], "stem.relu")
    for index, block in enumerate(net.blocks):
        x = graph.block(x, block, f"block{index}")
    x = graph.node("Flatten", [graph.node("GlobalAveragePool", [x], "pooled")], "features")
    weight = graph.constant("head.weight", net.head.weight.detach().numpy())
    bias = graph.constant("head.bias", net.head.bias.detach().numpy())
    graph.node("Gemm", [x, weight, bias], "scores", transB=1)
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 10])]
    body = helper.make_graph(graph.nodes, "digits", inputs, outputs, graph.constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def record(model: onnx.ModelProto, training_rows: int, right: int) -> dict[str, object]:
    path = HERE / "digits.onnx"
    return {
        "model": path.name,
        "model_sha256": sha256(path),
        "size_bytes": path.stat().st_size,
        "parameters": sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer),
        "script": Path(__file__).name,
        "script_sha256": sha256(Path(__file__)),
        "rows": "digits.npz",
        "rows_sha256": sha256(HERE / "digits.npz"),
        "data": "Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak; UCI Machine Learning Repository, "
        "doi 10.24432/C50P49), its 1,797 test images as scikit-learn's load_digits gives them",
        "data_licence": "CC BY 4.0",
        "seed": SEED,
        "split": "stratified by label, at random with the seed; held-out rows were neither trained on nor selected by",
        "training_rows": training_rows,
        "held_out_rows": HELD_OUT_ROWS,
        "held_out_right": right,
        "held_out_accuracy": right / HELD_OUT_ROWS,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "onnx": onnx.__version__,
            "scikit-learn": sklearn.__version__,
            "torch": torch.__version__,
        },
    }


def main() -> None:
    digits = load_digits()
    images = digits.images.astype(np.float32)[:, None]
    labels = digits.target.astype(np.int64)
    training, held_out = train_test_split(
        np.arange(len(labels)), test_size=HELD_OUT_ROWS, random_state=SEED, stratify=labels
    )
    net = trained(torch.from_numpy(images[training]), torch.from_numpy(labels[training]))
    model = exported(net)
    (HERE / "digits.onnx").write_bytes(model.SerializeToString(deterministic=True))
    np.savez_compressed(HERE / "digits.npz", image=images[held_out], label=labels[held_out])
    (scores,) = open_session(HERE / "digits.onnx", "cpu", threads=1).run({"image": images[held_out]})
    right = int((scores.argmax(axis=1) == labels[held_out]).sum())
    text = json.dumps(record(model, len(training), right), indent=2)
    (HERE / "digits.json").write_text(text + "\n", encoding="utf-8")
    sys.stderr.write(f"held out: {right} of {HELD_OUT_ROWS} right\n")


if __name__ == "__main__":
    main()
