"""BigVGAN as an ONNX graph, written node by node (§8.2).

A tracing exporter would give thousands of nodes for padding and would change with its version; here the same
weights always give the same bytes. Time is the last of four axes, since ONNX Runtime has blocked kernels
for two-dimensional convolutions only. Letters: B batch, C channels, T samples at the stage's rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from services.vocoder_worker.export.bigvgan import BigVganConfig

OPSET = 18
IR_VERSION = 9
"""The oldest that knows this opset, so that older runtimes read the file too."""

_SINE_SCALE, _SINE_ROOT, _SINE_CENTRE, _SINE_WIDTH = -0.5520517, 0.97910381, 1.81154445, 1.59074948**2
"""sin(πr) = scale·r·(r² - root)·((r² - centre)² + width) for r in [-1/2, 1/2]; its square is right to 9e-7."""

Weights = Mapping[str, NDArray[np.float32]]


class _Graph:
    """Collects nodes and constants; every method returns the name of its output."""

    def __init__(self, *, is_half: bool) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.is_half = is_half

    def node(self, kind: str, inputs: Sequence[str], **attributes: object) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def weight(self, name: str, value: NDArray[np.float32]) -> str:
        """A large constant: kept in half precision where asked, always computed with in float32."""
        if not self.is_half:
            return self.constant(name, value)
        stored = self.constant(name, value.astype(np.float16))
        return self.node("Cast", [stored], to=TensorProto.FLOAT)


class _Writer:
    def __init__(self, config: BigVganConfig, weights: Weights, *, is_half: bool) -> None:
        self.config = config
        self.weights = weights
        self.graph = _Graph(is_half=is_half)

    def write(self, mel: str) -> str:
        config, graph = self.config, self.graph
        axis = graph.constant("height", np.array([2]))
        x = self.convolution("conv_pre", graph.node("Unsqueeze", [mel, axis]), padding=3)
        for n, (rate, kernel) in enumerate(zip(config.rates, config.up_kernels, strict=True)):
            x = self.transposed(f"ups.{n}.0", x, rate, (kernel - rate) // 2)
            x = self.stage(n, x)
        x = self.activation("activation_post", x)
        x = self.convolution("conv_post", x, padding=3)
        if config.has_final_tanh:
            x = graph.node("Tanh", [x])
        else:
            low, high = (graph.constant(f"limit{v}", np.array(v, np.float32)) for v in (-1, 1))
            x = graph.node("Clip", [x, low, high])
        return graph.node("Squeeze", [x, axis])

    def stage(self, number: int, x: str) -> str:
        """Mean of the blocks that run side by side."""
        width = len(self.config.kernels)
        total = ""
        for n, (kernel, dilations) in enumerate(zip(self.config.kernels, self.config.dilations, strict=True)):
            y = self.block(f"resblocks.{number * width + n}", x, kernel, dilations)
            total = self.graph.node("Add", [total, y]) if total else y
        share = self.graph.constant("share", np.array(1 / width, np.float32))
        return self.graph.node("Mul", [total, share])

    def block(self, name: str, x: str, kernel: int, dilations: Sequence[int]) -> str:
        for n, dilation in enumerate(dilations):
            y = self.activation(f"{name}.activations.{2 * n}", x)
            y = self.convolution(f"{name}.convs1.{n}", y, (kernel - 1) * dilation // 2, dilation)
            y = self.activation(f"{name}.activations.{2 * n + 1}", y)
            y = self.convolution(f"{name}.convs2.{n}", y, kernel // 2)
            x = self.graph.node("Add", [x, y])
        return x

    def activation(self, name: str, x: str) -> str:
        """SnakeBeta at twice the rate: u + depth·sin²(π·speed·u), where u is x doubled and low-passed.

        The even and odd samples of u are two rows of the height. A row of zeros above and below x lets one
        convolution with a kernel of two rows make both of them, and one makes x of both again. The filters
        multiply by speed and divide by it for nothing, so that what lies between them is speed·u, in half turns.
        """
        graph = self.graph
        speed = np.exp(self.weights[f"{name}.act.alpha"].astype(np.float64)) / np.pi
        depth = 1 / (np.exp(self.weights[f"{name}.act.beta"].astype(np.float64)) + 1e-9)
        turns = self.filtered(self.edges(x), f"{name}.up", self.up_rows(), speed, pads=[1, 0, 1, 0])
        square, scale = self.sine_squared(turns)
        # Not a factor of `turns`: the runtime would make a convolution of it and bring the result to two layouts.
        factor = graph.constant(f"{name}.factor", (scale * speed * depth).astype(np.float32).reshape(1, -1, 1, 1))
        bent = graph.node("Add", [turns, graph.node("Mul", [square, factor])])
        return self.filtered(self.rows_with_edges(bent), f"{name}.down", self.down_rows(), 1 / speed)

    def sine_squared(self, turns: str) -> tuple[str, float]:
        """sin²(π·turns), up to a factor that is given beside it."""
        graph = self.graph
        rest = graph.node("Sub", [turns, graph.node("Round", [turns])])
        square = graph.node("Mul", [rest, rest])
        linear = self.plus(square, -_SINE_ROOT)
        centred = self.plus(square, -_SINE_CENTRE)
        quadratic = self.plus(graph.node("Mul", [centred, centred]), _SINE_WIDTH)
        sine = graph.node("Mul", [graph.node("Mul", [linear, quadratic]), rest])
        return graph.node("Mul", [sine, sine]), _SINE_SCALE**2

    def plus(self, x: str, value: float) -> str:
        return self.graph.node("Add", [x, self.graph.constant(f"plus{value}", np.array(value, np.float32))])

    def up_rows(self) -> NDArray[np.float64]:
        """Taps (2, 7) that make the odd samples of the row above them and the even ones of the row below."""
        taps = 2 * self.weights["activation_post.upsample.filter"].reshape(-1).astype(np.float64)
        # One zero tap each makes both phases read the same seven samples.
        return np.stack((np.insert(taps[0::2][::-1], 0, 0), np.append(taps[1::2][::-1], 0)))

    def down_rows(self) -> NDArray[np.float64]:
        """Taps (2, 7) on even and odd samples: sample n reads u[2n - 5 .. 2n + 6]."""
        taps = self.weights["activation_post.downsample.lowpass.filter"].reshape(-1).astype(np.float64)
        return np.stack((np.insert(taps[1::2], 0, 0), np.append(taps[0::2], 0)))

    def rows_with_edges(self, rows: str) -> str:
        """Beyond the ends both rows go on with the first even and the last odd sample."""
        graph = self.graph
        repeats = graph.constant("repeats", np.array([1, 1, 2, 3]))
        first = graph.node("Tile", [graph.node("Slice", [rows, *self.corner(0, 1)]), repeats])
        last = graph.node("Tile", [graph.node("Slice", [rows, *self.corner(-1, 2**62)]), repeats])
        return graph.node("Concat", [first, rows, last], axis=3)

    def filtered(
        self, x: str, name: str, rows: NDArray[np.float64], scale: NDArray[np.float64], **attributes: object
    ) -> str:
        """The same filter on every channel, times the channel's own scale."""
        kernel = (scale[:, None, None, None] * rows).astype(np.float32)
        return self.graph.node("Conv", [x, self.graph.constant(name, kernel)], group=len(scale), **attributes)

    def edges(self, x: str) -> str:
        pads = self.graph.constant("pads", np.array([0, 0, 0, 3, 0, 0, 0, 3]))
        return self.graph.node("Pad", [x, pads], mode="edge")

    def corner(self, start: int, stop: int) -> list[str]:
        """Start, stop and axes of a slice in height and time."""
        parts = {f"at{start}": [start] * 2, f"at{stop}": [stop] * 2, "corner": [2, 3]}
        return [self.graph.constant(name, np.array(value)) for name, value in parts.items()]

    def convolution(self, name: str, x: str, padding: int, dilation: int = 1) -> str:
        return self.graph.node(
            "Conv", [x, *self.parameters(name)], pads=[0, padding, 0, padding], dilations=[1, dilation]
        )

    def transposed(self, name: str, x: str, rate: int, padding: int) -> str:
        return self.graph.node(
            "ConvTranspose", [x, *self.parameters(name)], pads=[0, padding, 0, padding], strides=[1, rate]
        )

    def parameters(self, name: str) -> list[str]:
        """Kernel with an axis for the height, and bias where there is one."""
        names = [self.graph.weight(f"{name}.weight", self.weights[f"{name}.weight"][:, :, None])]
        if f"{name}.bias" in self.weights:
            names.append(self.graph.constant(f"{name}.bias", self.weights[f"{name}.bias"]))
        return names


def build(config: BigVganConfig, weights: Weights, *, is_half: bool = False) -> onnx.ModelProto:
    """Write the graph `mel` (B, bins, frames) to `wave` (B, 1, hop * frames).

    Args:
        config: sizes of the network.
        weights: its state in float32, weight norm fused, filters included.
        is_half: keep the convolutions' weights in half precision in the file.
    """
    writer = _Writer(config, weights, is_half=is_half)
    wave = writer.write("mel")
    writer.graph.nodes.append(helper.make_node("Identity", [wave], ["wave"], name="wave"))
    shape_in, shape_out = ["batch", config.num_bins, "frames"], ["batch", 1, "samples"]
    graph = helper.make_graph(
        writer.graph.nodes,
        "bigvgan",
        [helper.make_tensor_value_info("mel", TensorProto.FLOAT, shape_in)],
        [helper.make_tensor_value_info("wave", TensorProto.FLOAT, shape_out)],
        initializer=list(writer.graph.constants.values()),
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="triptych",
    )
    onnx.checker.check_model(model)
    return model
