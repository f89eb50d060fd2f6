"""BigVGAN at full size as the worker runs it: its graph in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime as ort

from bench.stages.cpu_clock import SET_UP, Slice, Work
from bench.stages.vocoder import Run, columns_of
from bench.stages.workload import Sizes, Workload
from services.vocoder_worker.export.bigvgan import BigVgan
from services.vocoder_worker.export.graph import build
from services.vocoder_worker.model import provider
from services.vocoder_worker.model.calls import BoundCalls
from services.vocoder_worker.model.session import session_options


def make_session(network: BigVgan, providers: Sequence[Any] = (provider.CPU,)) -> Any:
    """The graph that `make weights` would write, with one thread on the CPU."""
    weights = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
    content = build(network.config, weights).SerializeToString(deterministic=True)
    return ort.InferenceSession(content, session_options(threads=1), providers=list(providers))


def served(session: Any, sizes: Sizes, load: Workload, rounds: int) -> Work:
    """The whole mel at once, several times."""
    columns = columns_of(sizes, load.frames, 1)
    yield SET_UP
    for _ in range(rounds):
        session.run(["wave"], {"mel": columns})
        yield Slice("vocoder", 1)


def on_cuda(network: BigVgan, mode: str) -> Run | None:
    """The graph on the network's device; None where ONNX Runtime was built without CUDA.

    Args:
        network: the weights.
        mode: the pipeline's numeric mode; other than float32 it allows TF32.
    """
    if provider.CUDA not in ort.get_available_providers():
        return None
    wanted = provider.Wanted(device=str(next(network.parameters()).device), mode=mode)
    chosen = provider.choose(wanted, num_bins=network.config.num_bins)
    return BoundCalls(make_session(network, chosen.names), chosen.device, hop_length=network.config.hop)
