"""Step 9: write models/mini in the official layout, in fp16, from whatever has been trained so far.

    python -m recipes.mini.export

A stage without a state keeps its random start, and the model card says so. Safe to run at any time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from recipes.mini import (
    card,
    dims,
    generator,
    gpt,
    paths,
    phonemes,
    settings,
    style_network,
    training,
    voices,
)
from recipes.mini.flow_network import FlowNetwork
from recipes.mini.semantic_network import SemanticModel, encoder_config

State = dict[str, Tensor]

# Layers that the published estimator stores as weight_g and weight_v; training uses plain weights.
ESTIMATOR_WEIGHT_NORMED = r"(estimator\.)?(final_layer\.linear|wavenet\..*\.conv\.conv|x_embedder)"
TRAINING_ONLY = ("codec.decoder.", "feature_head.", "code_head.")
MAX_FILE_BYTES = 25_000_000
MAX_TOTAL_BYTES = 45_000_000
EXTRACTOR = {
    "feature_extractor_type": "SeamlessM4TFeatureExtractor",
    "feature_size": 80,
    "num_mel_bins": 80,
    "padding_side": "right",
    "padding_value": 1,
    "return_attention_mask": True,
    "sampling_rate": 16000,
    "stride": 2,
}


def halved(state: Mapping[str, Tensor]) -> State:
    """fp16 values; a value that fp16 cannot hold would be a silent fault, so refuse it."""
    out: State = {}
    for name, tensor in state.items():
        is_repeated = tensor.dim() > 0 and not any(tensor.stride())
        value = (tensor.flatten()[:1] if is_repeated else tensor).detach().cpu()
        half = value.half() if value.is_floating_point() else value
        if not torch.isfinite(half).all():
            raise SystemExit(f"{name} does not fit fp16")
        out[name] = half.clone().expand(tensor.shape) if is_repeated else half.contiguous().clone()
    return out


def split_weight_norm(state: Mapping[str, Tensor], pattern: str) -> State:
    """weight -> weight_g and weight_v for the layers that match."""
    out: State = {}
    for name, tensor in state.items():
        layer, _, last = name.rpartition(".")
        if last == "weight" and re.fullmatch(pattern, layer):
            norm = tensor.flatten(1).norm(dim=1)
            out[f"{layer}.weight_g"] = norm.view(-1, *[1] * (tensor.dim() - 1))
            out[f"{layer}.weight_v"] = tensor
        else:
            out[name] = tensor
    return out


def trained(step: str, module: nn.Module, key: str) -> int:
    """Load the latest weights of a step into its module; how many steps it saw."""
    state = training.load_state(paths.run_directory(step) / "state.pt")
    if state is None:
        return 0
    module.load_state_dict(state[key])
    steps: int = state["step"]
    return steps


def gpt_layer() -> State:
    """From latent to code vector; it adds nothing yet, so a missing latent costs nothing."""
    widths = (dims.LATENT_WIDTH, 64, 32, dims.ENCODER_WIDTH)
    state: State = {}
    for index, (source, target) in enumerate(pairwise(widths)):
        is_last = index == len(widths) - 2
        weight = torch.zeros(target, source) if is_last else torch.randn(target, source) * source**-0.5
        state |= {f"{index}.weight": weight, f"{index}.bias": torch.zeros(target)}
    return state


def write_pickle(value: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(value, path)


def write_json(value: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_semantic(root: Path) -> dict[str, int]:
    model = SemanticModel()
    steps = trained("semantic", model, "model")
    folder = root / "hf_cache/w2v-bert-2.0"
    folder.mkdir(parents=True, exist_ok=True)
    encoder = {k: v for k, v in model.encoder.state_dict().items() if k != "masked_spec_embed"}
    save_file(halved(encoder), folder / "model.safetensors", metadata={"format": "pt"})
    write_json({**encoder_config().to_diff_dict(), "architectures": ["Wav2Vec2BertModel"]}, folder / "config.json")
    write_json(EXTRACTOR, folder / "preprocessor_config.json")
    codec = model.codec.state_dict()
    served = {name: value for name, value in codec.items() if not name.startswith("decoder.")}
    save_file(halved(served), root / "hf_cache/semantic_codec_model.safetensors")
    if steps:
        heads = {name: value for name, value in model.state_dict().items() if name.startswith(TRAINING_ONLY)}
        save_file(halved(heads), paths.SEMANTIC_HEADS)
    width = dims.ENCODER_WIDTH
    write_pickle({"mean": torch.zeros(width), "var": torch.ones(width)}, root / "wav2vec2bert_stats.pt")
    return {"semantic": steps}


def write_acoustic(root: Path) -> dict[str, int]:
    flow = FlowNetwork()
    flow_steps = trained("s2mel", flow, "average")
    estimator = {f"estimator.{name}": value for name, value in flow.estimator.state_dict().items()}
    for name, value in estimator.items():
        # The published file has this layer in early blocks too, which never use it: store one zero.
        layer = re.match(r".*layers\.(\d+)\.skip_in_linear", name)
        if layer and int(layer[1]) <= dims.FLOW_DEPTH // 2:
            estimator[name] = value.new_zeros(1).expand(value.shape)
    net = {
        "cfm": halved(split_weight_norm(estimator, ESTIMATOR_WEIGHT_NORMED)),
        "length_regulator": halved(flow.length_regulator.state_dict()),
        "gpt_layer": halved(gpt_layer()),
    }
    write_pickle({"net": net}, root / "s2mel.pth")
    style_encoder = style_network.build()
    style_steps = trained("style", style_encoder, "model")
    write_pickle(halved(style_encoder.state_dict()), root / "hf_cache/campplus_cn_common.bin")
    vocoder = generator.build(for_training=False)
    vocoder_steps = trained("vocoder", vocoder, "generator")
    write_pickle({"generator": halved(vocoder.state_dict())}, root / "hf_cache/bigvgan/bigvgan_generator.pt")
    write_json(generator.CONFIG, root / "hf_cache/bigvgan/config.json")
    return {"s2mel": flow_steps, "style": style_steps, "vocoder": vocoder_steps}


def write_text_side(root: Path) -> dict[str, int]:
    phonemes.write_sentencepiece(root / "bpe.model")
    model = gpt.build()
    steps = trained("gpt", model, "model")
    write_pickle(halved(model.state_dict()), root / "gpt.pth")
    chance = torch.Generator().manual_seed(7)
    for name, width in (("feat1.pt", dims.STYLE_WIDTH), ("feat2.pt", dims.LATENT_WIDTH)):
        write_pickle((torch.randn(8, width, generator=chance) * 0.02).half(), root / name)
    return {"gpt": steps}


def write_sums(root: Path) -> None:
    """SHA256SUMS over every file but itself, and the limits on size."""
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    sizes = {path: path.stat().st_size for path in files}
    for path, size in sizes.items():
        if size > MAX_FILE_BYTES:
            raise SystemExit(f"{path} has {size} bytes; at most {MAX_FILE_BYTES}")
    total = sum(sizes.values())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(root)}" for path in files]
    (root / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    print(f"export: {len(files)} files, {total / 1e6:.1f} MB", flush=True)
    if total > MAX_TOTAL_BYTES:
        raise SystemExit(f"the checkpoint has {total} bytes; at most {MAX_TOTAL_BYTES}")


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.manual_seed(7)
    torch.set_num_threads(1)
    # Written beside and moved over file by file, so that a reader never finds half a file.
    root = paths.STATE / "export"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    settings.write(root)
    steps = {**write_semantic(root), **write_acoustic(root), **write_text_side(root)}
    # The worker refuses a graph that was not made from the weights beside it.
    command = [sys.executable, "-m", "services.vocoder_worker.export", str(root), "--half"]
    subprocess.run(command, cwd=paths.REPOSITORY, check=True)
    voices.write(root)
    card.write(root, steps, voices.VOICES, dims.MAX_MEL_TOKENS)
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        target = paths.CHECKPOINT / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != path.read_bytes():
            shutil.copyfile(path, target.with_suffix(".partial"))
            target.with_suffix(".partial").replace(target)
    write_sums(paths.CHECKPOINT)
    print("export:", ", ".join(f"{name} {count} steps" for name, count in steps.items()), flush=True)


if __name__ == "__main__":
    main()
