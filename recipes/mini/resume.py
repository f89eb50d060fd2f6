"""Rebuild training states from a committed models/mini, for a machine that has only the repository.

    python -m recipes.mini.resume

Makes states with fresh optimisers for every stage that has none. `prepare`, `encode`, `teacher_style` and
`style --minutes 0` make the rest again from the speech.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from recipes.mini import dims, generator, gpt, paths, style_network, training
from recipes.mini.discriminators import Judges
from recipes.mini.flow_network import FlowNetwork
from recipes.mini.semantic_network import SemanticModel
from services.common.weights import fuse_weight_norm, read_state

State = dict[str, Tensor]
STEPS_SEEN = 10_000  # past every phase that belongs to a first start


def optimiser_state(module: nn.Module) -> training.State:
    state: training.State = torch.optim.AdamW(module.parameters()).state_dict()
    return state


def write(step: str, state: training.State) -> None:
    path = paths.run_directory(step) / "state.pt"
    if path.exists():
        print(f"resume: {path} exists, kept", flush=True)
        return
    training.save_state(path, {**state, "step": STEPS_SEEN})
    print(f"resume: wrote {path}", flush=True)


def resume_semantic(root: Path) -> None:
    model = SemanticModel()
    model.encoder.load_state_dict(read_state(root / "hf_cache/w2v-bert-2.0/model.safetensors"), strict=False)
    model.codec.load_state_dict(read_state(root / "hf_cache/semantic_codec_model.safetensors"), strict=False)
    if paths.SEMANTIC_HEADS.exists():
        model.load_state_dict(read_state(paths.SEMANTIC_HEADS), strict=False)
    write("semantic", {"model": model.state_dict(), "optimizer": optimiser_state(model)})


def resume_flow(root: Path) -> None:
    network = FlowNetwork()
    cfm = fuse_weight_norm(read_state(root / "s2mel.pth", "net", "cfm"))
    cfm = {name.removeprefix("estimator."): value for name, value in cfm.items()}
    network.estimator.load_state_dict({name: value.contiguous() for name, value in cfm.items()})
    network.length_regulator.load_state_dict(read_state(root / "s2mel.pth", "net", "length_regulator"))
    guess = nn.Linear(dims.FLOW_WIDTH + dims.STYLE_WIDTH, dims.NUM_MELS)
    weights = network.state_dict()
    write("s2mel", {"network": weights, "average": weights, "guess": guess.state_dict(), "optimizer": None})


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    root = paths.CHECKPOINT
    resume_semantic(root)
    resume_flow(root)
    text = gpt.build()
    text.load_state_dict(read_state(root / "gpt.pth"))
    write("gpt", {"model": text.state_dict(), "optimizer": None})
    style = style_network.build()
    style.load_state_dict(read_state(root / "hf_cache/campplus_cn_common.bin"))
    write("style", {"model": style.state_dict(), "optimizer": optimiser_state(style)})
    vocoder, judges = generator.build(for_training=False), Judges()
    vocoder.load_state_dict(read_state(root / "hf_cache/bigvgan/bigvgan_generator.pt", "generator"))
    states = {"generator": vocoder.state_dict(), "judges": judges.state_dict()}
    optimisers = {"optimizer": optimiser_state(vocoder), "judge_optimizer": optimiser_state(judges)}
    write("vocoder", {**states, **optimisers})


if __name__ == "__main__":
    main()
