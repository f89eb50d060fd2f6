"""Step 8: the vocoder, first on spectra alone, then against judges.

python -m recipes.mini.vocoder --minutes 12                 # spectra
python -m recipes.mini.vocoder --minutes 60 --adversarial
"""

from __future__ import annotations

import argparse
import random
import time
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.mini import features, generator, paths, training
from recipes.mini.discriminators import Judges

CROP_FRAMES = 32
BATCH = 8
PEAK_RATE = 1e-3
JUDGE_RATE = 4e-4
SPECTRAL_WEIGHT = 15.0
FEATURE_WEIGHT = 0.4
RESOLUTIONS = ((256, 20), (512, 40), (1024, 80), (2048, 160))
SAVE_SECONDS = 120.0
SILENT_PEAK = 0.01


def load_clips() -> list[tuple[Tensor, Tensor]]:
    """(mel (80, T) fp16, wave int16) of every training clip that is long enough."""
    held_out = set()
    for path in sorted(paths.FEATURES.glob("*.pt")):
        held_out |= {entry["id"] for entry in torch.load(path, weights_only=True) if entry["held_out"]}
    clips = []
    for path in sorted(paths.AUDIO.glob("*.pt")):
        for entry in torch.load(path, weights_only=True):
            if entry["id"] not in held_out and entry["mel"].shape[1] > CROP_FRAMES + 2:
                clips.append((entry["mel"], entry["wave"]))
    return clips


@cache
def window(size: int, device: torch.device) -> Tensor:
    return torch.hann_window(size, device=device)


def log_spectra(wave: Tensor) -> list[Tensor]:
    """Log10 mels at several resolutions; wave (B, 1, N)."""
    out = []
    for size, num_mels in RESOLUTIONS:
        spectrum = torch.stft(wave[:, 0], size, size // 4, size, window(size, wave.device), return_complex=True)
        magnitude = torch.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-7)
        mel = features.slaney_filters(size, num_mels).to(wave.device) @ magnitude
        out.append(torch.log10(torch.clamp(mel, min=1e-5)))
    return out


class VocoderTrainer:
    def __init__(self, minutes: float, is_adversarial: bool) -> None:
        self.device = training.pick_device()
        torch.manual_seed(3)
        self.is_adversarial = is_adversarial
        self.generator = generator.build().to(self.device)
        self.judges = Judges().to(self.device)
        rate = {"betas": (0.8, 0.99), "weight_decay": 0.01}
        self.optimizer = torch.optim.AdamW(self.generator.parameters(), PEAK_RATE, **rate)  # type: ignore[arg-type]
        self.judge_optimizer = torch.optim.AdamW(self.judges.parameters(), JUDGE_RATE, **rate)  # type: ignore[arg-type]
        self.directory = paths.run_directory("vocoder")
        self.step = 0
        if (state := training.load_state(self.directory / "state.pt")) is not None:
            self.generator.load_state_dict(state["generator"])
            self.judges.load_state_dict(state["judges"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.judge_optimizer.load_state_dict(state["judge_optimizer"])
            self.step = state["step"]
        self.first_step = self.step
        random.seed(self.step)
        self.clips = load_clips()
        self.curves = training.Curves(self.directory, "vocoder", period=100)
        self.batch = BATCH if self.device.type == "cpu" else 4 * BATCH
        size = training.num_parameters(self.generator)
        print(f"vocoder: {size} parameters, {len(self.clips)} clips", flush=True)
        self.budget = training.Budget(minutes)

    def crops(self) -> tuple[Tensor, Tensor]:
        mels: list[Tensor] = []
        waves: list[Tensor] = []
        while len(mels) < self.batch:
            mel, wave = random.choice(self.clips)
            start = random.randrange(mel.shape[1] - CROP_FRAMES)
            hop = features.MEL_HOP
            crop = wave[start * hop : (start + CROP_FRAMES) * hop].float() / 32767
            if crop.abs().max() > SILENT_PEAK or random.random() < 0.05:
                mels.append(mel[:, start : start + CROP_FRAMES].float())
                waves.append(crop[None])
        return torch.stack(mels).to(self.device), torch.stack(waves).to(self.device)

    def judge_step(self, real: Tensor, made: Tensor) -> float:
        verdicts_real, _ = self.judges(real)
        verdicts_made, _ = self.judges(made.detach())
        losses = [((1 - r) ** 2).mean() + (m**2).mean() for r, m in zip(verdicts_real, verdicts_made, strict=True)]
        loss = torch.stack(losses).sum()
        self.judge_optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.judges.parameters(), 500.0)
        self.judge_optimizer.step()
        return loss.item()

    def persuasion_loss(self, real: Tensor, made: Tensor) -> tuple[Tensor, dict[str, float]]:
        self.judges.requires_grad_(False)
        with torch.no_grad():
            _, seen_real = self.judges(real)
        verdicts, seen_made = self.judges(made)
        adversarial = torch.stack([((1 - verdict) ** 2).mean() for verdict in verdicts]).sum()
        matching = torch.stack([F.l1_loss(a, b) for a, b in zip(seen_real, seen_made, strict=True)]).sum()
        self.judges.requires_grad_(True)
        values = {"adversarial": adversarial.item(), "matching": matching.item()}
        return adversarial + FEATURE_WEIGHT * matching, values

    def train_step(self) -> None:
        peak = PEAK_RATE * (0.4 if self.is_adversarial else 1.0)
        training.set_rate(self.optimizer, self.budget.rate(peak, self.step - self.first_step, 100, floor=0.2))
        mel, real = self.crops()
        made = self.generator(mel)
        values: dict[str, float] = {}
        if self.is_adversarial:
            values["judges"] = self.judge_step(real, made)
        pairs = zip(log_spectra(made), log_spectra(real), strict=True)
        spectral = torch.stack([F.l1_loss(a, b) for a, b in pairs]).mean()
        loss = SPECTRAL_WEIGHT * spectral
        values["spectral"] = spectral.item()
        if self.is_adversarial:
            persuasion, more = self.persuasion_loss(real, made)
            loss = loss + persuasion
            values |= more
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.generator.parameters(), 50.0 if self.is_adversarial else 20.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        with torch.no_grad():
            values["mel_l1"] = F.l1_loss(features.log_mel(made[:, 0]), mel).item()
        self.step += 1
        self.curves.add(self.step, values)

    def save(self) -> None:
        state = {
            "generator": self.generator.state_dict(),
            "judges": self.judges.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "judge_optimizer": self.judge_optimizer.state_dict(),
            "step": self.step,
        }
        training.save_state(self.directory / "state.pt", state)

    def run(self) -> None:
        last = time.time()
        while not self.budget.is_spent:
            self.train_step()
            if time.time() - last > SAVE_SECONDS:
                self.save()
                last = time.time()
        self.save()
        self.curves.plot()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--adversarial", action="store_true")
    arguments = parser.parse_args()
    VocoderTrainer(arguments.minutes, arguments.adversarial).run()


if __name__ == "__main__":
    main()
