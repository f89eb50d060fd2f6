"""Step 5: a small CAM++ taught by ERes2Net, then its vectors for every clip.

python -m recipes.mini.style --minutes 5
"""

from __future__ import annotations

import argparse
import random
from collections import Counter, defaultdict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.mini import features, paths, style_network, teacher_style, training
from recipes.mini.prepare import save

BATCH = 32
CROP_FRAMES = (150, 200, 300)
PEAK_RATE = 2e-3
PAIR_WEIGHT = 2.0
MIN_FRAMES = 200
VECTORS_PER_SPEAKER = 6
OUTPUT = paths.STATE / "style.pt"


@dataclass(frozen=True)
class StyleClip:
    speaker: str
    bank: Tensor  # (T, 80) fp16, as CAM++ reads it but for the mean of the crop
    vector: Tensor  # (192,) the teacher's, centred over the speakers


def load_clips() -> tuple[list[StyleClip], list[StyleClip]]:
    """Training clips (also those without a vector of their own take their speaker's mean), held-out clips."""
    taught = torch.load(teacher_style.OUTPUT, weights_only=True)
    mean = torch.stack([entry["vector"] for entry in taught if not entry["held_out"]]).mean(0)
    own = {entry["id"]: entry["vector"] - mean for entry in taught}
    of_speaker: dict[str, list[Tensor]] = defaultdict(list)
    for entry in taught:
        if not entry["held_out"]:
            of_speaker[entry["speaker"]].append(entry["vector"] - mean)
    train: list[StyleClip] = []
    held_out: list[StyleClip] = []
    for path in sorted(paths.FEATURES.glob("*.pt")):
        for entry in torch.load(path, weights_only=True):
            if entry["warp"] != 1.0 or len(entry["bank"]) < MIN_FRAMES:
                continue
            speaker = entry["speaker"]
            shared = torch.stack(of_speaker[speaker]).mean(0) if of_speaker[speaker] else None
            vector = own.get(entry["id"], shared)
            if vector is None:
                continue
            bank = features.style_input(entry["bank"].float() + entry["bank_mean"]).half()
            clip = StyleClip(speaker, bank, F.normalize(vector, dim=0))
            (held_out if entry["held_out"] else train).append(clip)
    return train, held_out


def crop_batch(clips: list[StyleClip]) -> tuple[Tensor, Tensor]:
    length = random.choice(CROP_FRAMES)
    crops = []
    for clip in clips:
        bank = clip.bank if len(clip.bank) >= length else clip.bank.repeat(2, 1)
        start = random.randrange(len(bank) - length + 1)
        crop = bank[start : start + length].float()
        crops.append(crop - crop.mean(0))
    return torch.stack(crops), torch.stack([clip.vector for clip in clips])


@torch.no_grad()
def evaluate(model: nn.Module, clips: list[StyleClip], device: torch.device) -> dict[str, float]:
    model.eval()
    made = []
    for clip in clips:
        bank = clip.bank[:300].float()
        made.append(F.normalize(model((bank - bank.mean(0))[None].to(device))[0].cpu(), dim=0))
    model.train()
    vectors = torch.stack(made)
    to_teacher = (vectors * torch.stack([clip.vector for clip in clips])).sum(1).mean().item()
    speakers = [clip.speaker for clip in clips]
    same = torch.tensor([[a == b for a in speakers] for b in speakers])
    upper = torch.triu(torch.ones_like(same), 1).bool()
    cosine = vectors @ vectors.T
    return {
        "held_to_teacher": to_teacher,
        "held_same_speaker": cosine[same & upper].mean().item(),
        "held_other_speaker": cosine[~same & upper].mean().item(),
    }


def train(minutes: float) -> None:
    device = training.pick_device()
    torch.manual_seed(5)
    random.seed(5)
    model = style_network.build().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), PEAK_RATE)
    directory = paths.run_directory("style")
    step = 0
    if (state := training.load_state(directory / "state.pt")) is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    first_step = step
    clips, held_out = load_clips()
    curves = training.Curves(directory, "style")
    print(f"style: {training.num_parameters(model)} parameters, {len(clips)} clips", flush=True)
    budget = training.Budget(minutes)
    while not budget.is_spent:
        training.set_rate(optimizer, budget.rate(PEAK_RATE, step - first_step, 50, floor=0.01))
        banks, wanted = (tensor.to(device) for tensor in crop_batch(random.sample(clips, BATCH)))
        made = F.normalize(model(banks), dim=-1)
        to_teacher = (made * wanted).sum(-1).mean()
        loss = 1 - to_teacher + PAIR_WEIGHT * F.mse_loss(made @ made.T, wanted @ wanted.T)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        curves.add(step, {"to_teacher": to_teacher.item(), "loss": loss.item()})
        if step % 200 == 0:
            curves.record(step, evaluate(model, held_out, device))
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    training.save_state(directory / "state.pt", state)
    final = evaluate(model, held_out, device)
    curves.record(step, final)
    curves.plot()
    training.check_gate("cosine to the teacher, held-out", final["held_to_teacher"], 0.5, at_most=False)


@torch.no_grad()
def embed_all(model: nn.Module) -> None:
    """Vectors of some long enough clips of every speaker, exactly as the shipped network makes them."""
    device = next(model.parameters()).device
    model.eval()
    vectors: dict[str, Tensor] = {}
    count: Counter[str] = Counter()
    for path in sorted(paths.FEATURES.glob("*.pt")):
        for entry in torch.load(path, weights_only=True):
            is_wanted = entry["held_out"] or count[entry["speaker"]] < VECTORS_PER_SPEAKER
            if entry["warp"] == 1.0 and len(entry["bank"]) >= MIN_FRAMES and is_wanted:
                count[entry["speaker"]] += 1
                bank = features.style_input(entry["bank"].float() + entry["bank_mean"])
                vectors[entry["id"]] = model(bank[None].to(device))[0].cpu()
    save(vectors, OUTPUT)
    norm = torch.stack(list(vectors.values())).norm(dim=1).mean().item()
    print(f"style: {len(vectors)} vectors of mean length {norm:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5, help="0: only make the vectors")
    minutes = parser.parse_args().minutes
    if minutes > 0:
        train(minutes)
    model = style_network.build()
    state = training.load_state(paths.run_directory("style") / "state.pt")
    if state is None:
        raise SystemExit("no style encoder yet")
    model.load_state_dict(state["model"])
    embed_all(model.to(training.pick_device()))


if __name__ == "__main__":
    main()
