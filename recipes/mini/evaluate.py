"""Step 10: what a listener would hear, as far as models can say: word errors and likeness.

    python -m recipes.mini.evaluate [--sentences 10]

Reads models/mini itself, so it measures what ships. Two tables: the whole chain from text, and S2Mel
with the vocoder from the codes of real held-out clips.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import soundfile
import soxr
import torch
from hibari.g2p import G2P
from torch import Tensor

from recipes.mini import (
    dims,
    encode,
    features,
    generator,
    gpt,
    paths,
    phonemes,
    speaker_judge,
    style_network,
    training,
)
from recipes.mini.flow_network import FlowNetwork, render
from recipes.mini.hearing import hear, normaliser
from recipes.mini.semantic_network import SemanticModel
from recipes.mini.settings import document
from services.common.weights import fuse_weight_norm, load_into, read_state
from services.gpt_worker.model.generation import generate
from services.gpt_worker.model.logits import SamplingOptions

# In no training clip.
SENTENCES = (
    "The old man walked slowly down to the river.",
    "She put the letter on the table and left the room.",
    "We had a long talk about the weather and the news.",
    "Please turn off the lights before you go to bed.",
    "He bought seven apples and a loaf of bread.",
    "The train to the north leaves at half past nine.",
    "Nobody knew why the garden gate was open.",
    "It rained all morning, but the afternoon was dry.",
    "They sold their house and moved to a small village.",
    "Can you tell me where the library is?",
)
MAX_PROMPT_CODES = 75


@dataclass(frozen=True)
class Prompt:
    """One voice, as the stages see it."""

    features: Tensor  # (1, T, W)
    codes: Tensor  # (1, T)
    mel: Tensor  # (80, T')
    style: Tensor  # (1, 192)
    likeness: Tensor  # (192,) the judge's vector


class Voice:
    """The exported checkpoint, whole utterances at a time."""

    def __init__(self, root: Path, device: torch.device) -> None:
        self.device = device
        self.semantic = SemanticModel()
        load_into(
            self.semantic.encoder,
            read_state(root / "hf_cache/w2v-bert-2.0/model.safetensors"),
            source="w2v-bert",
            optional=("masked_spec_embed",),
        )
        codec = read_state(root / "hf_cache/semantic_codec_model.safetensors")
        self.semantic.codec.load_state_dict(codec, strict=False)
        self.gpt = gpt.build()
        load_into(self.gpt, read_state(root / "gpt.pth"), source="gpt.pth")
        self.flow = FlowNetwork()
        cfm = fuse_weight_norm(read_state(root / "s2mel.pth", "net", "cfm"))
        cfm = {name.removeprefix("estimator."): value for name, value in cfm.items()}
        load_into(self.flow.estimator, cfm, source="s2mel.pth cfm")
        regulator = read_state(root / "s2mel.pth", "net", "length_regulator")
        load_into(self.flow.length_regulator, regulator, source="s2mel.pth length_regulator")
        self.style = style_network.build()
        load_into(self.style, read_state(root / "hf_cache/campplus_cn_common.bin"), source="campplus")
        self.vocoder = generator.build(for_training=False)
        vocoder = read_state(root / "hf_cache/bigvgan/bigvgan_generator.pt", "generator")
        load_into(self.vocoder, vocoder, source="bigvgan")
        for module in (self.semantic, self.gpt, self.flow, self.style, self.vocoder):
            module.to(device).eval()
        settings = document()["triptych"]
        sampling: dict[str, Any] = settings["sampling"]
        self.options = SamplingOptions(
            temperature=sampling["temperature"],
            top_k=sampling["top_k"],
            top_p=sampling["top_p"],
            repetition_penalty=sampling["repetition_penalty"],
            max_codes=sampling["max_mel_tokens"],
        )
        self.flow_settings = settings["flow"]

    @torch.inference_mode()
    def prompt(self, wave24: np.ndarray) -> Prompt:
        wave16 = torch.from_numpy(soxr.resample(wave24, 24000, 16000).astype(np.float32))
        wave22 = torch.from_numpy(soxr.resample(wave24, 24000, 22050).astype(np.float32))
        bank = features.log_filter_bank(wave16)
        hidden = self.semantic.features(features.encoder_input(bank)[None].to(self.device))
        mel = features.log_mel(wave22[None, : len(wave22) // 256 * 256])[0].to(self.device)
        style = self.style(features.style_input(bank)[None].to(self.device))
        codes = self.semantic.codec.quantize(hidden)
        return Prompt(hidden, codes, mel, style, speaker_judge.embed_wave(wave16))

    @torch.inference_mode()
    def codes(self, text_ids: list[int], prompt: Prompt, seed: int) -> list[int]:
        spoken = self.gpt.speaker_latents(prompt.features)
        conds = self.gpt.conditioning(spoken, self.gpt.emotion_vector(prompt.features))
        prefix = self.gpt.embed_prefix(conds, self.gpt.frame_text(text_ids))
        made = generate(self.gpt, prefix, self.options, positions="fast", seed=seed).codes
        return [code for code in made if code < dims.CODEBOOK_SIZE]

    @torch.inference_mode()
    def wave(self, codes: Tensor, prompt: Prompt, seed: int) -> np.ndarray:
        """(1, n) codes -> samples at 22.05 kHz."""
        embed = self.semantic.codec.embed
        mel = render(
            self.flow,
            embed(codes.to(self.device)),
            embed(prompt.codes[:, :MAX_PROMPT_CODES]),
            prompt.mel,
            prompt.style,
            steps=self.flow_settings["steps"],
            rate=self.flow_settings["cfg_rate"],
            generator=torch.Generator().manual_seed(seed),
        )
        samples: np.ndarray = self.vocoder(mel)[0, 0].cpu().numpy()
        return samples


class Table:
    """Collects pairs of said and heard, and likeness."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.said: list[str] = []
        self.heard: list[str] = []
        self.likeness: list[float] = []

    def add(self, said: str, samples: np.ndarray, prompt: Prompt, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, 22050, subtype="PCM_16")
        self.said.append(normaliser()(said))
        self.heard.append(normaliser()(hear(samples)))
        wave16 = torch.from_numpy(soxr.resample(samples, 22050, 16000).astype(np.float32))
        if len(wave16) > 8000:
            self.likeness.append(float(speaker_judge.embed_wave(wave16) @ prompt.likeness))
        print(f"{self.name}: {self.said[-1]} | {self.heard[-1]} | {len(samples) / 22050:.1f} s", flush=True)

    def figures(self) -> dict[str, str]:
        words, characters = (100 * measure(self.said, self.heard) for measure in (jiwer.wer, jiwer.cer))
        return {
            f"{self.name}: word errors": f"{words:.1f} % (n={len(self.said)})",
            f"{self.name}: character errors": f"{characters:.1f} %",
            f"{self.name}: speaker cosine (ERes2Net)": f"{np.mean(self.likeness or [0.0]):.2f}",
        }


def phonemes_of(text: str) -> str:
    """The converter's string, without characters that the alphabet lacks."""
    return "".join(character for character in G2P()(text) if character in phonemes.alphabet())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sentences", type=int, default=len(SENTENCES))
    parser.add_argument("--copies", type=int, default=6)
    arguments = parser.parse_args()
    device = training.pick_device()
    voice = Voice(paths.CHECKPOINT, device)
    recordings = sorted((paths.CHECKPOINT / "voices").glob("*.flac"))
    prompts = [voice.prompt(soundfile.read(path, dtype="float32")[0]) for path in recordings]
    whole = Table("whole chain")
    for number, text in enumerate(SENTENCES[: arguments.sentences]):
        prompt = prompts[number % len(prompts)]
        codes = voice.codes(phonemes.token_ids(phonemes_of(text)), prompt, seed=number)
        samples = voice.wave(torch.tensor([codes or [0]]), prompt, seed=number)
        whole.add(text, samples, prompt, paths.EVALUATION / f"whole_{number}.wav")
    copies = Table("S2Mel and vocoder from real codes")
    _, held_out = encode.load_clips()
    chosen = [clip for clip in held_out if 120 <= len(clip.codes) <= 300][: arguments.copies]
    for number, clip in enumerate(chosen):
        prompt = prompts[number % len(prompts)]
        samples = voice.wave(clip.codes.long()[None], prompt, seed=number)
        copies.add(clip.text, samples, prompt, paths.EVALUATION / f"copy_{number}.wav")
    report = {key: value for table in (whole, copies) if table.said for key, value in table.figures().items()}
    paths.EVALUATION.mkdir(parents=True, exist_ok=True)
    (paths.EVALUATION / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    for key, value in report.items():
        print(f"{key}: {value}", flush=True)


if __name__ == "__main__":
    main()
