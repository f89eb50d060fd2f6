"""Step 7: the GPT from text to codes, its attention guided by the teacher's durations.

python -m recipes.mini.gpt --minutes 36
"""

from __future__ import annotations

import argparse
import random
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.mini import dims, paths, readback, settings, training
from recipes.mini.encode import EncodedClip, load_clips, load_model
from recipes.mini.gpt_data import Batch, Collator, labels_of
from recipes.mini.guided_attention import GuidedAttention
from recipes.mini.semantic_network import SemanticModel
from services.gpt_worker.model.dimensions import GptDimensions
from services.gpt_worker.model.generation import generate
from services.gpt_worker.model.logits import SamplingOptions
from services.gpt_worker.model.unified_voice import UnifiedVoice

PEAK_RATE = 1.2e-3
POSITIONS_PER_STEP = 1700
MAX_CODES = 600
MAX_TOKENS = 360
GUIDANCE_WEIGHT = 0.6
GUIDANCE_UNTIL = 0.8  # share of the run after which the heads are left alone
CORRUPTION = 0.12
# The stop comes once, after some frames of silence. Unweighted it stays less likely than one more frame of
# silence, nucleus sampling cuts it off, and speech never ends.
STOP_WEIGHT = 4.0
TEXT_WEIGHT = 0.01
EVALUATE_SECONDS = 300.0


def build() -> UnifiedVoice:
    # The width of the emotion latent is no config value; loaders read it off this tensor.
    width = {"emo_perceiver_encoder.latents": torch.empty(1, dims.EMOTION_LATENT_WIDTH)}
    return UnifiedVoice(GptDimensions.from_config(settings.config(), width))


class GptTrainer:
    def __init__(self, minutes: float, peak_rate: float) -> None:
        self.device = training.pick_device()
        torch.manual_seed(4)
        self.peak_rate = peak_rate
        self.model = build().to(self.device)
        self.guide = GuidedAttention(self.model)
        self.code_weight = torch.ones(dims.CODEBOOK_SIZE + 2, device=self.device)
        self.code_weight[dims.STOP_CODE] = STOP_WEIGHT
        matrices = [p for p in self.model.parameters() if p.dim() > 1]
        vectors = [p for p in self.model.parameters() if p.dim() <= 1]
        groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, peak_rate, betas=(0.9, 0.95))
        self.directory = paths.run_directory("gpt")
        self.step = 0
        if (state := training.load_state(self.directory / "state.pt")) is not None:
            self.model.load_state_dict(state["model"])
            if state["optimizer"]:
                self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
        self.first_step = self.step
        clips, held_out = load_clips()
        self.clips = [c for c in clips if len(c.codes) <= MAX_CODES and len(c.tokens) <= MAX_TOKENS]
        self.held_out = [c for c in held_out if 90 < len(c.codes) <= 400]
        self.collate = Collator(clips + held_out)
        self.chance = random.Random(self.step)
        self.reader = load_model(self.device)
        self.curves = training.Curves(self.directory, "gpt")
        self.positions = POSITIONS_PER_STEP * (1 if self.device.type == "cpu" else 12)
        self.precision = training.Precision(self.device)
        print(f"gpt: {training.num_parameters(self.model)} parameters, {len(self.clips)} clips", flush=True)
        self.budget = training.Budget(minutes)
        trial = self.next_batch()
        self.precision.choose(lambda: self.losses(trial)[0].backward())  # noqa: PLW0108 (a new graph each time)
        self.optimizer.zero_grad()
        self.budget = training.Budget(minutes)

    def next_batch(self) -> Batch:
        """Clips of like length, as many as fit the allowance of positions."""
        near = sorted(self.chance.sample(self.clips, 96), key=lambda clip: len(clip.codes))
        start = self.chance.randrange(len(near))
        picked: list[EncodedClip] = []
        for clip in (near[start:] + near[:start][::-1]) if self.chance.random() < 0.5 else near[start:]:
            longest = max(len(c.codes) + len(c.tokens) + 38 for c in [*picked, clip])
            if picked and (len(picked) + 1) * longest > self.positions:
                break
            picked.append(clip)
        batch = self.collate(picked, self.chance)
        return Batch(**{name: tensor.to(self.device) for name, tensor in vars(batch).items()})

    def losses(self, batch: Batch, is_training: bool = True) -> tuple[Tensor, dict[str, float]]:
        codes = batch.codes
        if is_training:
            # The decoder will feed on its own mistakes; let it meet some.
            replaced = torch.rand(codes.shape, device=self.device) < CORRUPTION * random.random()
            codes = torch.where(replaced, torch.randint_like(codes, dims.CODEBOOK_SIZE), codes)
        with self.precision():
            latents = self.model.speaker_latents(batch.prompt)
            conds = self.model.conditioning(latents, self.model.emotion_vector(batch.prompt))
            out = self.model(conds, batch.text, codes, batch.text_mask)
            guidance = self.guide.loss(batch, conds.shape[1])
        logits = out.code_logits.float()
        weight = self.code_weight if is_training else None
        entropy = F.cross_entropy(logits.transpose(1, 2), batch.target, weight, ignore_index=-100)
        text_target = batch.text[:, 1:].masked_fill(~batch.text_mask[:, 1:], -100)
        text_logits = out.text_logits[:, :-1].float().transpose(1, 2)
        text = F.cross_entropy(text_logits, text_target, ignore_index=-100)
        known = batch.target >= 0
        accuracy = (logits.argmax(-1) == batch.target)[known].float().mean()
        guided = GUIDANCE_WEIGHT if self.budget.fraction < GUIDANCE_UNTIL else 0.0
        values = {"ce": entropy.item(), "accuracy": accuracy.item(), "guidance": guidance.item()}
        return entropy + TEXT_WEIGHT * text + guided * guidance, values

    def train_step(self) -> None:
        done = self.step - self.first_step
        training.set_rate(self.optimizer, self.budget.rate(self.peak_rate, done, 150, floor=0.05))
        loss, values = self.losses(self.next_batch())
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self.curves.add(self.step, values)

    @torch.no_grad()
    def evaluate(self, num_spoken: int) -> dict[str, float]:
        """Held-out cross entropy, and phonemes read back from sampled codes."""
        chance = random.Random(0)
        clips = sorted(self.held_out, key=lambda clip: len(clip.codes))[:64]
        sums, count = 0.0, 0
        for start in range(0, len(clips), 8):
            batch = self.collate(clips[start : start + 8], chance)
            batch = Batch(**{name: tensor.to(self.device) for name, tensor in vars(batch).items()})
            sums += self.losses(batch, is_training=False)[1]["ce"]
            count += 1
        spoken = chance.sample(clips, num_spoken)
        error, ratio = speak_and_read(self.model, self.reader, spoken, self.collate, self.device)
        return {"held_ce": sums / count, "held_per": error, "held_length": ratio}

    def save(self) -> None:
        weights, optimizer = self.model.state_dict(), self.optimizer.state_dict()
        state = {"model": weights, "optimizer": optimizer, "step": self.step}
        training.save_state(self.directory / "state.pt", state)

    def run(self) -> None:
        last = time.time()
        while not self.budget.is_spent:
            self.train_step()
            if time.time() - last > EVALUATE_SECONDS:
                self.save()
                self.curves.record(self.step, self.evaluate(num_spoken=6))
                last = time.time()
        self.save()
        final = self.evaluate(num_spoken=16)
        self.curves.record(self.step, final)
        self.curves.plot()
        training.check_gate("phoneme error of spoken codes", final["held_per"], 0.25)


@torch.no_grad()
def speak_and_read(
    model: UnifiedVoice,
    reader: SemanticModel,
    clips: list[EncodedClip],
    collate: Collator,
    device: torch.device,
) -> tuple[float, float]:
    """Merged phoneme error of codes sampled for held-out texts, and their length over the real length."""
    merge = readback.merge_table()
    options = SamplingOptions(temperature=0.9, top_k=30, top_p=0.9, repetition_penalty=1.0, max_codes=500)
    errors = num_phonemes = made = wanted = 0
    chance = random.Random(1)
    for clip in clips:
        prompt = collate.prompt(clip, 200, chance)[None].to(device)
        conds = model.conditioning(model.speaker_latents(prompt), model.emotion_vector(prompt))
        prefix = model.embed_prefix(conds, model.frame_text(clip.tokens.tolist()))
        spoken = generate(model, prefix, options, positions="fast").codes
        codes = [code for code in spoken if code < dims.CODEBOOK_SIZE]
        made += len(codes)
        wanted += len(clip.codes)
        reference = [merge[label] for label in labels_of(clip)]
        reference = [label for i, label in enumerate(reference) if i == 0 or reference[i - 1] != label]
        num_phonemes += len(reference)
        if not codes:
            errors += len(reference)
            continue
        scores = reader.read_codes(torch.tensor([codes], device=device))[0].log_softmax(-1).cpu().numpy()
        heard = readback.collapse(merge[readback.smooth_path(scores)].tolist())
        errors += readback.edit_distance(reference, heard)
    return errors / num_phonemes, made / wanted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=36)
    parser.add_argument("--peak-rate", type=float, default=PEAK_RATE)
    arguments = parser.parse_args()
    GptTrainer(arguments.minutes, arguments.peak_rate).run()


if __name__ == "__main__":
    main()
