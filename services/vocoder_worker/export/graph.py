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
        channels = config.initial_channels
        for n, (rate, kernel) in enumerate(zip(config.rates, config.up_kernels, strict=True)):
            x = self.transposed(f"ups.{n}.0", x, rate, (kernel - rate) // 2)
            channels //= 2
            x = self.stage(n, x, channels)
        x = self.activation("activation_post", self.doubled(x, channels), channels)
        x = self.convolution("conv_post", x, padding=3)
        if config.has_final_tanh:
            x = graph.node("Tanh", [x])
        else:
            low, high = (graph.constant(f"limit{v}", np.array(v, np.float32)) for v in (-1, 1))
            x = graph.node("Clip", [x, low, high])
        return graph.node("Squeeze", [x, axis])

    def stage(self, number: int, x: str, channels: int) -> str:
        """Mean of the blocks that run side by side; they share the doubling of their input."""
        doubled = self.doubled(x, channels)
        width = len(self.config.kernels)
        total = ""
        for n, (kernel, dilations) in enumerate(zip(self.config.kernels, self.config.dilations, strict=True)):
            y = self.block(f"resblocks.{number * width + n}", x, doubled, channels, kernel, dilations)
            total = self.graph.node("Add", [total, y]) if total else y
        share = self.graph.constant("share", np.array(1 / width, np.float32))
        return self.graph.node("Mul", [total, share])

    def block(
        self,
        name: str,
        x: str,
        doubled: tuple[str, str],
        channels: int,
        kernel: int,
        dilations: Sequence[int],
    ) -> str:
        for n, dilation in enumerate(dilations):
            phases = self.doubled(x, channels) if n else doubled
            y = self.activation(f"{name}.activations.{2 * n}", phases, channels)
            y = self.convolution(f"{name}.convs1.{n}", y, (kernel - 1) * dilation // 2, dilation)
            y = self.activation(f"{name}.activations.{2 * n + 1}", self.doubled(y, channels), channels)
            y = self.convolution(f"{name}.convs2.{n}", y, kernel // 2)
            x = self.graph.node("Add", [x, y])
        return x

    def doubled(self, x: str, channels: int) -> tuple[str, str]:
        """Even and odd samples at twice the rate, low-passed; ends repeated."""
        x = self.edges(x, 3, 3)
        taps = 2 * self.weights["activation_post.upsample.filter"].reshape(-1)
        # One zero tap each makes both phases read the same seven samples.
        even = np.append(taps[1::2][::-1], 0)
        odd = np.insert(taps[0::2][::-1], 0, 0)
        return self.filtered(x, f"up_even{channels}", even, channels), self.filtered(
            x, f"up_odd{channels}", odd, channels
        )

    def activation(self, name: str, phases: tuple[str, str], channels: int) -> str:
        """SnakeBeta on both phases, then every second sample, low-passed."""
        graph = self.graph
        alpha = np.exp(self.weights[f"{name}.act.alpha"].astype(np.float64))
        beta = np.exp(self.weights[f"{name}.act.beta"].astype(np.float64))
        speed = graph.constant(f"{name}.speed", alpha.astype(np.float32).reshape(1, -1, 1, 1))
        depth = graph.constant(f"{name}.depth", (1 / (beta + 1e-9)).astype(np.float32).reshape(1, -1, 1, 1))
        bent = []
        for phase in phases:
            sine = graph.node("Sin", [graph.node("Mul", [phase, speed])])
            square = graph.node("Mul", [sine, sine])
            bent.append(graph.node("Add", [phase, graph.node("Mul", [square, depth])]))
        even, odd = bent
        taps = self.weights["activation_post.downsample.lowpass.filter"].reshape(-1)
        # Sample n reads u[2n - 5 .. 2n + 6], and beyond the ends the first even and the last odd sample.
        first = graph.node("Slice", [even, *self.indices(0, 1)])
        last = graph.node("Slice", [odd, *self.indices(-1, 2**62)])
        even = graph.node("Concat", [first, first, even, last, last, last], axis=3)
        odd = graph.node("Concat", [first, first, first, odd, last, last], axis=3)
        low = self.filtered(even, f"down_even{channels}", taps[1::2], channels)
        return graph.node("Add", [low, self.filtered(odd, f"down_odd{channels}", taps[0::2], channels)])

    def filtered(self, x: str, name: str, taps: NDArray[np.float32], channels: int) -> str:
        """The same filter on every channel."""
        kernel = np.tile(taps.astype(np.float32).reshape(1, 1, 1, -1), (channels, 1, 1, 1))
        return self.graph.node("Conv", [x, self.graph.constant(name, kernel)], group=channels)

    def edges(self, x: str, left: int, right: int) -> str:
        pads = self.graph.constant(f"pads{left}{right}", np.array([0, 0, 0, left, 0, 0, 0, right]))
        return self.graph.node("Pad", [x, pads], mode="edge")

    def indices(self, start: int, stop: int) -> list[str]:
        """Start, stop and axis of a slice in time."""
        parts = {f"at{start}": start, f"at{stop}": stop, "time": 3}
        return [self.graph.constant(name, np.array([value])) for name, value in parts.items()]

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
