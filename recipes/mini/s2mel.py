"""Step 6: flow matching from codes to mels, for whole renders and for windows with a rendered prefix.

python -m recipes.mini.s2mel --minutes 38
"""

from __future__ import annotations

import argparse
import copy
import random
import time
from collections import defaultdict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.mini import dims, paths, style, training
from recipes.mini.encode import EncodedClip, code_vectors, load_clips
from recipes.mini.features import TRUE_FRAMES_PER_CODE, frames_of
from recipes.mini.flow_network import FlowNetwork
from recipes.mini.path_start import FlowBatch, fit_last_layer, set_linear_path

FRAMES_PER_STEP = 1100
# (prompt codes, codes): few shapes, so that compiled kernels are reused.
SHAPES = ((75, 75), (75, 100), (75, 150), (50, 200), (50, 150), (50, 100), (75, 40), (50, 40), (0, 100))
PREFIX_CODES = 25
PREFIX_SHARE = 0.5
CONDITION_DROPOUT = 0.1
GUIDANCE = 0.4
"""Share w of what the conditions change that moves the target (model guidance, arXiv 2502.12154). It is classifier-free
guidance of strength w / (1 - w) at half the cost of serving: the network gives the guided velocity by itself."""
GUIDANCE_RAMP = 1000
EARLY_SHARE, EARLY_POWER = 0.8, 2.5
GUESS_SECONDS = 75.0
GUESS_RATE = 3e-3
PEAK_RATE = 8e-4
REGULATOR_SCALE = 0.25
WARM_UP = 200
EVALUATE_SECONDS = 180.0


class FlowTrainer:
    def __init__(self, minutes: float, peak_rate: float) -> None:
        self.device = training.pick_device()
        torch.manual_seed(6)
        self.peak_rate = peak_rate
        self.guidance = 0.0
        self.load_speech()
        self.network = FlowNetwork().to(self.device)
        self.guess = nn.Linear(dims.FLOW_WIDTH + dims.STYLE_WIDTH, dims.NUM_MELS).to(self.device)
        self.guess.bias.data.copy_(self.mean)
        self.directory = paths.run_directory("s2mel")
        self.precision = training.Precision(self.device)
        self.curves = training.Curves(self.directory, "s2mel")
        state = training.load_state(self.directory / "state.pt")
        self.step = state["step"] if state else 0
        random.seed(self.step)
        self.optimizer = self.make_optimizer()
        if state:
            self.network.load_state_dict(state["network"])
            self.guess.load_state_dict(state["guess"])
            self.guidance = state.get("guidance", 0.0)
            if state["optimizer"]:
                self.optimizer.load_state_dict(state["optimizer"])
        self.first_step = self.step
        size = training.num_parameters(self.network)
        print(f"s2mel: {size} parameters, {len(self.clips)} clips, step {self.step}", flush=True)
        self.budget = training.Budget(minutes)
        self.precision.choose(lambda: self.losses((75, 100))[0].backward())  # noqa: PLW0108 (a new graph)
        self.network.zero_grad()
        self.budget = training.Budget(minutes)
        if not state:
            self.learn_guess()
            set_linear_path(self.network, self.guess, self.mean)
            error = fit_last_layer(self.network, lambda: self.flow_batch(random.choice(SHAPES), 0.0)[:2])
            print(f"s2mel: path start, mean square error {error:.3f}", flush=True)
        self.average = copy.deepcopy(self.network)
        if state:
            self.average.load_state_dict(state["average"])

    def load_speech(self) -> None:
        self.vectors = code_vectors().to(self.device)
        styles = torch.load(style.OUTPUT, weights_only=True)
        train, self.held_out = load_clips()
        self.styles = styles
        self.of_speaker: dict[str, list[EncodedClip]] = defaultdict(list)
        self.styled: dict[str, list[str]] = defaultdict(list)
        for clip in [*train, *self.held_out]:
            self.of_speaker[clip.speaker].append(clip)
            if clip.id in styles and not clip.held_out:
                self.styled[clip.speaker].append(clip.id)
        self.clips = [clip for clip in train if len(clip.codes) >= 78 and self.styled[clip.speaker]]
        self.held_out = [clip for clip in self.held_out if clip.id in styles and len(clip.codes) >= 100]
        frames = torch.cat([clip.mel.float() for clip in self.clips[:300]], 1)
        self.mean = frames.mean(1).to(self.device)

    def make_optimizer(self) -> torch.optim.Optimizer:
        slow = [*self.network.length_regulator.parameters(), *self.guess.parameters()]
        fast = list(self.network.estimator.parameters())
        groups = [{"params": fast, "scale": 1.0}, {"params": slow, "scale": REGULATOR_SCALE}]
        return torch.optim.AdamW(groups, self.peak_rate, betas=(0.9, 0.98), weight_decay=0.01, foreach=True)

    def crop(self, clip: EncodedClip, num_codes: int) -> tuple[Tensor, Tensor]:
        """Codes and the mel frames that they own."""
        num_frames = frames_of(num_codes)
        limit = min(len(clip.codes), int(clip.mel.shape[1] / TRUE_FRAMES_PER_CODE)) - num_codes
        start = random.randint(0, max(0, limit))
        first = max(0, min(round(start * TRUE_FRAMES_PER_CODE), clip.mel.shape[1] - num_frames))
        return clip.codes[start : start + num_codes].long(), clip.mel[:, first : first + num_frames].float().T

    def pick(self, shape: tuple[int, int]) -> list[tuple[EncodedClip, EncodedClip]]:
        """Pairs (prompt clip, clip) long enough for the shape."""
        num_prompt, num_codes = shape
        frames = FRAMES_PER_STEP * (1 if self.device.type == "cpu" else 16)
        size = max(2, frames // frames_of(num_prompt + num_codes))
        pairs: list[tuple[EncodedClip, EncodedClip]] = []
        while len(pairs) < size:
            clip = random.choice(self.clips)
            if min(len(clip.codes), clip.mel.shape[1] / TRUE_FRAMES_PER_CODE) < num_codes + 1:
                continue
            prompt = random.choice(self.of_speaker[clip.speaker])
            if len(prompt.codes) > num_prompt and (prompt is not clip or random.random() < 0.1):
                pairs.append((prompt, clip))
        return pairs

    def flow_batch(
        self, shape: tuple[int, int], dropout: float = CONDITION_DROPOUT
    ) -> tuple[FlowBatch, Tensor, Tensor]:
        """Network inputs and target, which frames are learnt (B, T), and the L1 of the linear guess."""
        num_prompt, num_codes = shape
        pairs = self.pick(shape)
        size, given = len(pairs), frames_of(num_prompt)
        crops = [self.crop(clip, num_codes) for _, clip in pairs]
        codes, mels = (torch.stack(part) for part in zip(*crops, strict=True))
        styles = [random.choice(self.styled[prompt.speaker]) for prompt, _ in pairs]
        voice = torch.stack([self.styles[name] for name in styles]).to(self.device)
        mel = mels.to(self.device)
        mu = self.network.regulate(self.vectors[codes.to(self.device)])
        guessed = self.guess(torch.cat([mu, voice[:, None].expand(-1, mel.shape[1], -1)], -1))
        guess_loss = F.l1_loss(guessed.float(), mel)
        if num_prompt:
            crops = [self.crop(prompt, num_prompt) for prompt, _ in pairs]
            prompt_codes, prompt_mels = (torch.stack(part) for part in zip(*crops, strict=True))
            prompt_mu = self.network.regulate(self.vectors[prompt_codes.to(self.device)])
            mu = torch.cat([prompt_mu, mu], 1)
            mel = torch.cat([prompt_mels.to(self.device), mel], 1)
        prefix = torch.tensor([frames_of(PREFIX_CODES) * (random.random() < PREFIX_SHARE) for _ in pairs])
        is_target = torch.arange(mel.shape[1])[None] >= (given + prefix)[:, None]
        mask = is_target[..., None].float().to(self.device)
        power = EARLY_POWER if random.random() < EARLY_SHARE else 1.0
        t = (torch.rand(size) ** power).to(self.device)
        noise = torch.randn_like(mel)
        x = ((1 - t[:, None, None]) * noise + t[:, None, None] * mel) * mask
        keep = (torch.rand(size) >= dropout).float().to(self.device)[:, None, None]
        batch = (x, mel * (1 - mask) * keep, t, voice * keep[:, 0], mu * keep, mel - noise)
        return batch, is_target.to(self.device), guess_loss

    def losses(self, shape: tuple[int, int]) -> tuple[Tensor, dict[str, float]]:
        with self.precision():
            (x, prompt, t, voice, mu, target), is_target, guess_loss = self.flow_batch(shape)
            velocity = self.network.velocity(x, prompt, t, voice, mu)
            target = target + self.guidance * self.push(velocity, x, t, voice)
        flow = F.mse_loss(velocity.float()[is_target], target[is_target])
        weight = 1.0 if self.budget.fraction < 0.6 else 0.3
        return flow + weight * guess_loss, {"flow": flow.item(), "guess_l1": guess_loss.item()}

    @torch.no_grad()
    def push(self, velocity: Tensor, x: Tensor, t: Tensor, voice: Tensor) -> Tensor:
        """How far the conditions move the velocity; 0 for items without any, whose target stays as it is."""
        nothing = torch.zeros(*x.shape[:2], dims.FLOW_WIDTH, device=x.device)
        free = self.network.velocity(x, torch.zeros_like(x), t, torch.zeros_like(voice), nothing)
        is_given = voice.abs().sum(1) > 0
        return (velocity - free).float() * is_given[:, None, None]

    def learn_guess(self) -> None:
        """Regulator and a linear mel head alone: cheap, and the path start needs it."""
        parameters = [*self.network.length_regulator.parameters(), *self.guess.parameters()]
        optimizer = torch.optim.AdamW(parameters, GUESS_RATE, betas=(0.9, 0.98))
        budget = training.Budget(GUESS_SECONDS / 60)
        step = 0
        while not budget.is_spent:
            training.set_rate(optimizer, GUESS_RATE * min(1, (step + 1) / 50) * max(0.1, 1 - budget.fraction))
            with self.precision():
                loss = self.flow_batch((0, 75))[2]
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 2.0)
            optimizer.step()
            step += 1
            if step % 100 == 0:
                self.curves.record(0, {"guess_only": loss.item()})

    def train_step(self) -> None:
        done = self.step - self.first_step
        training.set_rate(self.optimizer, self.budget.rate(self.peak_rate, done, WARM_UP))
        loss, values = self.losses(random.choice(SHAPES))
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*self.network.parameters(), *self.guess.parameters()], 2.0)
        self.optimizer.step()
        self.step += 1
        self.guidance = min(GUIDANCE, self.guidance + GUIDANCE / GUIDANCE_RAMP)
        training.follow(self.average.parameters(), self.network.parameters(), self.step)
        self.curves.add(self.step, values)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """One-step mel error from pure noise, with a prompt of 1.5 s of the same speaker."""
        chance = random.Random(0)
        errors = {"held_l1": 0.0, "held_l1_centred": 0.0}
        clips = self.held_out[:24]
        generator = torch.Generator().manual_seed(0)
        for clip in clips:
            others = [
                c
                for c in self.of_speaker[clip.speaker]
                if c.id != clip.id and len(c.codes) > 75 and c.id in self.styles
            ]
            prompt = chance.choice(others or [clip])
            given = frames_of(75)
            num_codes = int(clip.mel.shape[1] / TRUE_FRAMES_PER_CODE) - 1
            codes = (prompt.codes[:75], clip.codes[:num_codes])
            parts = [self.average.regulate(self.vectors[c.long().to(self.device)][None]) for c in codes]
            mu = torch.cat(parts, 1)
            mel = clip.mel[:, : mu.shape[1] - given].float().T[None].to(self.device)
            noise = torch.randn(1, mu.shape[1], dims.NUM_MELS, generator=generator).to(self.device)
            noise[:, :given] = 0
            known = torch.zeros_like(noise)
            known[:, :given] = prompt.mel[:, :given].float().T.to(self.device)
            voice = self.styles[prompt.id][None].to(self.device)
            t = torch.zeros(1, device=self.device)
            with self.precision():
                guided = self.average.velocity(noise, known, t, voice, mu).float()
                nothing = [torch.zeros_like(part) for part in (known, voice, mu)]
                free = self.average.velocity(noise, nothing[0], t, *nothing[1:]).float()
            # What the data alone would give: guidance goes beyond it, which is no error.
            velocity = (1 - self.guidance) * guided + self.guidance * free
            made = (noise + velocity)[:, given:]
            errors["held_l1"] += F.l1_loss(made, mel).item() / len(clips)
            centred = F.l1_loss(made - made.mean(1, keepdim=True), mel - mel.mean(1, keepdim=True))
            errors["held_l1_centred"] += centred.item() / len(clips)
        return errors

    def save(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "guess": self.guess.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "guidance": self.guidance,
            "step": self.step,
        }
        training.save_state(self.directory / "state.pt", state)

    def run(self) -> None:
        self.curves.record(self.step, self.evaluate())
        last = time.time()
        while not self.budget.is_spent:
            self.train_step()
            if time.time() - last > EVALUATE_SECONDS:
                self.save()
                self.curves.record(self.step, self.evaluate())
                last = time.time()
        self.save()
        final = self.evaluate()
        self.curves.record(self.step, final)
        self.curves.plot()
        training.check_gate("one-step mel error", final["held_l1"], 0.85)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=38)
    parser.add_argument("--peak-rate", type=float, default=PEAK_RATE)
    arguments = parser.parse_args()
    FlowTrainer(arguments.minutes, arguments.peak_rate).run()


if __name__ == "__main__":
    main()
