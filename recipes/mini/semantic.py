"""Step 2: the semantic encoder and its codec, trained together on exact frame labels.

python -m recipes.mini.semantic --minutes 26
"""

from __future__ import annotations

import argparse
import math
import random
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.mini import dims, features, paths, readback, training
from recipes.mini.semantic_data import Batches, Clip, load_clips
from recipes.mini.semantic_network import NUM_LABELS, SemanticModel, start_codebook

BATCH = 16
PEAK_RATE = 2e-3
QUANTISE_FROM = 150
SMOOTHNESS_RAMP = 300
SMOOTHNESS_WEIGHT = 1.0
RECONSTRUCTION_WEIGHT = 0.05
EVALUATE_SECONDS = 200.0
REVIVE_PERIOD = 40


def label_loss(scores: Tensor, targets: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Total, cross entropy of the phonemes, pitch error."""
    label, stress, log_f0, voiced, has_f0 = targets
    scores = scores.float()
    entropy = F.cross_entropy(scores[..., :NUM_LABELS].transpose(1, 2), label.long(), label_smoothing=0.05)
    stress_loss = F.binary_cross_entropy_with_logits(scores[..., NUM_LABELS], stress.float())
    pitched, known = (voiced & has_f0).float(), has_f0.float()
    distance = F.smooth_l1_loss(scores[..., NUM_LABELS + 1], log_f0.float().clamp(-3, 3), reduction="none")
    pitch = (distance * pitched).sum() / (pitched.sum() + 1)
    voicing = F.binary_cross_entropy_with_logits(scores[..., NUM_LABELS + 2], voiced.float(), reduction="none")
    total = entropy + 0.3 * stress_loss + pitch + 0.2 * (voicing * known).sum() / (known.sum() + 1)
    return total, entropy, pitch


class SemanticTrainer:
    def __init__(self, minutes: float) -> None:
        self.device = training.pick_device()
        torch.manual_seed(1)
        random.seed(1)
        self.model = SemanticModel().to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.02, foreach=True
        )
        self.directory = paths.run_directory("semantic")
        self.step = 0
        if (state := training.load_state(self.directory / "state.pt")) is not None:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
        self.first_step = self.step
        self.clips, self.held_out = load_clips()
        self.batches = Batches(self.clips, BATCH if self.device.type == "cpu" else 8 * BATCH)
        self.used = torch.zeros(dims.CODEBOOK_SIZE, device=self.device)
        self.precision = training.Precision(self.device)
        self.curves = training.Curves(self.directory, "semantic")
        hours = sum(len(clip.x) for clip in self.clips) / features.CODES_PER_SECOND / 3600
        print(f"semantic: {hours:.1f} h, {len(self.held_out)} held-out clips, step {self.step}", flush=True)
        self.budget = training.Budget(minutes)
        self.precision.choose(lambda: self.losses(*self.next_batch())[0].backward())  # noqa: PLW0108
        self.optimizer.zero_grad()
        self.budget = training.Budget(minutes)

    def next_batch(self) -> tuple[Tensor, list[Tensor]]:
        x, targets = self.batches.next()
        return x.to(self.device), [target.to(self.device) for target in targets]

    def losses(self, x: Tensor, targets: list[Tensor]) -> tuple[Tensor, dict[str, float]]:
        with self.precision():
            hidden = self.model.features(x)
            scores = self.model.feature_head(hidden)
        total, entropy, pitch = label_loss(scores, targets)
        values = {"ce": entropy.item(), "f0": pitch.item()}
        if self.step == QUANTISE_FROM:
            start_codebook(self.model, hidden.float())
        if self.step >= QUANTISE_FROM:
            extra, more = self.code_losses(hidden.float(), targets)
            total = total + extra
            values |= more
        return total, values

    def code_losses(self, hidden: Tensor, targets: list[Tensor]) -> tuple[Tensor, dict[str, float]]:
        """The encoder feels the codec only a little, or it would give up detail to be easy to quantise."""
        with self.precision():
            encoded = self.model.codec.encode(0.3 * hidden + 0.7 * hidden.detach())
        quantised, codes, commitment, z = self.model.codec.table(encoded.float())
        with self.precision():
            decoded = self.model.codec.decoder(quantised)
            scores = self.model.code_head(decoded)
        total, entropy, pitch = label_loss(scores, targets)
        direction = F.normalize(z, dim=1)
        label = targets[0]
        inside = (label[:, 1:] == label[:, :-1]).float()
        jump = torch.sqrt(((direction[..., 1:] - direction[..., :-1]) ** 2).sum(1) + 1e-4)
        smooth = (jump * inside).sum() / (inside.sum() + 1)
        ramp = SMOOTHNESS_WEIGHT * min(1.0, (self.step - QUANTISE_FROM) / SMOOTHNESS_RAMP)
        rebuilt = F.l1_loss(decoded.float(), hidden.detach())
        self.revive(codes, z)
        same = (codes[:, 1:] == codes[:, :-1]).float().mean().item()
        values = {"code_ce": entropy.item(), "code_f0": pitch.item(), "smooth": smooth.item(), "same": same}
        return total + commitment + RECONSTRUCTION_WEIGHT * rebuilt + ramp * smooth, values

    @torch.no_grad()
    def revive(self, codes: Tensor, z: Tensor) -> None:
        """Move rows that nothing used lately onto fresh features; late in training leave all in peace."""
        self.used.index_add_(0, codes.flatten(), torch.ones(codes.numel(), device=self.device))
        if self.step % REVIVE_PERIOD:
            return
        dead = (self.used < 1).nonzero().flatten()
        if len(dead) and self.budget.fraction < 0.75:
            pool = z.transpose(1, 2).reshape(-1, dims.CODEBOOK_WIDTH)
            picked = pool[torch.randint(len(pool), (len(dead),), device=self.device)]
            self.model.codec.table.codebook.weight.data[dead] = picked
        self.used.zero_()

    def train_step(self) -> None:
        warm_up = 40 if self.first_step else 100
        training.set_rate(self.optimizer, self.budget.rate(PEAK_RATE, self.step - self.first_step, warm_up, floor=0.01))
        total, values = self.losses(*self.next_batch())
        self.optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 3.0)
        self.optimizer.step()
        self.step += 1
        self.curves.add(self.step, values)

    def save(self) -> None:
        weights, optimizer = self.model.state_dict(), self.optimizer.state_dict()
        state = {"model": weights, "optimizer": optimizer, "step": self.step}
        training.save_state(self.directory / "state.pt", state)

    def run(self) -> None:
        last = time.time()
        while not self.budget.is_spent:
            self.train_step()
            if time.time() - last > EVALUATE_SECONDS:
                self.curves.record(self.step, evaluate(self.model, self.held_out[:40], self.device))
                self.save()
                last = time.time()
        self.save()
        final = evaluate(self.model, self.held_out, self.device)
        self.curves.record(self.step, final)
        self.curves.plot()
        training.check_gate("merged phoneme error of codes", final["held_per_codes_merged"], 0.15)
        training.check_gate("share of repeated codes", final["held_same"], 0.4, at_most=False)


@torch.no_grad()
def evaluate(model: SemanticModel, clips: list[Clip], device: torch.device) -> dict[str, float]:
    """Held-out figures: accuracy of features and codes, and phonemes read back from both."""
    model.eval()
    merge = readback.merge_table()
    errors = {"features": 0, "codes": 0, "codes_merged": 0}
    right = {"features": 0, "codes": 0}
    num_phonemes = num_frames = same = 0
    used = torch.zeros(dims.CODEBOOK_SIZE)
    for clip in clips:
        hidden = model.features(clip.x[None].float().to(device))
        codes = model.codec.quantize(hidden)
        by_features = model.feature_head(hidden)[0, :, :NUM_LABELS]
        scores = {"features": by_features, "codes": model.read_codes(codes)[0]}
        label = clip.targets[0].long()
        reference = readback.collapse(label.tolist())
        num_phonemes += len(reference)
        num_frames += len(label)
        same += int((codes[0, 1:] == codes[0, :-1]).sum())
        used += torch.bincount(codes[0].cpu(), minlength=dims.CODEBOOK_SIZE)
        for name, values in scores.items():
            right[name] += int((values.argmax(-1).cpu() == label).sum())
            heard = readback.smooth_path(values.log_softmax(-1).cpu().numpy())
            errors[name] += readback.edit_distance(reference, readback.collapse(heard))
            if name == "codes":
                merged = readback.collapse(merge[heard].tolist())
                wanted = readback.collapse(merge[label.numpy()].tolist())
                errors["codes_merged"] += readback.edit_distance(wanted, merged)
    model.train()
    share = used / used.sum()
    return {
        "held_accuracy_features": right["features"] / num_frames,
        "held_accuracy_codes": right["codes"] / num_frames,
        "held_per_features": errors["features"] / num_phonemes,
        "held_per_codes": errors["codes"] / num_phonemes,
        "held_per_codes_merged": errors["codes_merged"] / num_phonemes,
        "held_same": same / num_frames,
        "held_perplexity": math.exp(-float((share * (share + 1e-9).log()).sum())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=26)
    SemanticTrainer(parser.parse_args().minutes).run()


if __name__ == "__main__":
    main()
