"""BigVGAN at full size in torch, and whatever runs it best on a GPU machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch

from bench.stages.cpu_clock import SET_UP, Slice, Work
from bench.stages.networks import fill, made_up_mel
from bench.stages.workload import Sizes, Workload
from services.common.arrays import Array
from services.vocoder_worker.export.bigvgan import BigVgan, BigVganConfig

Run = Callable[[Array], Array]
"""Columns (B, bins, T) to waveforms (B, 1, samples), both on the host."""


def make_network(sizes: Sizes, device: str = "cpu") -> BigVgan:
    with torch.device("meta"):
        network = BigVgan(BigVganConfig.from_mapping(dict(sizes.bigvgan)))
    fill(network, device=device)
    return network


def columns_of(sizes: Sizes, num_frames: int, streams: int) -> Array:
    """Made-up mels as the network takes them: (streams, bins, num_frames)."""
    columns = made_up_mel(sizes, num_frames).T.expand(streams, -1, -1)
    return np.ascontiguousarray(columns.numpy())


@torch.inference_mode()
def plain(network: BigVgan, sizes: Sizes, load: Workload, rounds: int) -> Work:
    """The whole mel at once, several times."""
    columns = torch.from_numpy(columns_of(sizes, load.frames, 1))
    yield SET_UP
    for _ in range(rounds):
        network(columns)
        yield Slice("vocoder", 1)


def fastest(network: BigVgan, mode: str) -> tuple[str, Run]:
    """What to call, and what runs: the worker's graph where ONNX Runtime has CUDA, else the network itself."""
    if next(network.parameters()).device.type == "cuda" and find_spec("onnxruntime") and find_spec("onnx"):
        # A machine without these libraries measures the network itself.
        from bench.stages import vocoder_graph  # noqa: PLC0415

        run = vocoder_graph.on_cuda(network, mode)
        if run is not None:
            return "ONNX Runtime on CUDA", run
    return "torch yardstick, float32", partial(_in_torch, network)


@torch.inference_mode()
def _in_torch(network: BigVgan, columns: Array) -> Array:
    device = next(network.parameters()).device
    waves: Array = network(torch.from_numpy(columns).to(device)).cpu().numpy()
    return waves
