"""Loads everything the GPT stage computes with, and offers it as calls on unbatched tensors.

Letters: N samples, T semantic frames, W semantic width, S style width, D model width.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from services.common.checkpoint import CheckpointConfig, CheckpointError, CheckpointFiles
from services.common.stage.settings import VoiceEncoders
from services.common.voice_networks import VoiceNetworks
from services.common.weights import load_into, read_state, read_tensor
from services.gpt_worker.model import emotion, features
from services.gpt_worker.model.dimensions import GptDimensions
from services.gpt_worker.model.resampling import resample
from services.gpt_worker.model.semantic import UNUSED_TENSORS, SemanticEncoder
from services.gpt_worker.model.unified_voice import UnifiedVoice

FILES = ("gpt", "semantic_stats", "speaker_matrix", "emotion_matrix", "w2v_bert_config", "w2v_bert")
"""What this stage reads of a checkpoint, as fields of `CheckpointFiles`."""

VOICE_RATE_HZ = 22050
PROMPT_SECONDS = 15.0
"""Longer prompts are cut by the caller, as the reference does."""

# Buffers of the published code that this one recomputes, and leftovers of its training.
_IGNORED_GPT = (
    r".*\.pos_enc\.pe",
    r"gpt\.h\.\d+\.attn\.(bias|masked_bias)",
    r"gpt\.w[pt]e\..*",
    r"inference_model\..*",
)


@dataclass(frozen=True)
class VoiceConditions:
    """What the GPT keeps of a voice: computed once, sent as tensors."""

    speaker_latents: Tensor  # (32, D)
    speaker_emovec: Tensor  # (D,), of the speaker route
    self_emovec: Tensor  # (D,), of the same recording by the emotion route
    emotion_rows: Tensor  # (8, D)


@dataclass(frozen=True)
class VoiceSide:
    """What only a new voice needs, as two loads: few steps need both."""

    encoder: VoiceNetworks
    conditioners: VoiceNetworks


class GptStageModel:
    """Encoder, conditioners and GPT of one checkpoint on one device. Not thread-safe."""

    def __init__(
        self,
        voice: UnifiedVoice,
        encoder: SemanticEncoder,
        speaker_matrix: Tensor,
        emotion_matrix: Tensor,
        emotion_groups: Sequence[int],
        voice_side: VoiceSide | None = None,
    ) -> None:
        self.voice = voice
        self.encoder = encoder
        self._speaker_matrix = speaker_matrix  # (rows, S)
        self._emotion_matrix = emotion_matrix  # (rows, D)
        self._groups = tuple(emotion_groups)
        self.device = speaker_matrix.device
        self._side = voice_side or _all_at_hand(self.device)

    @property
    def is_voice_on_device(self) -> bool:
        """Whether a voice's features are computed where the GPT is."""
        return self._side.encoder.is_on_device

    @property
    def returning_bytes(self) -> int:
        """The most of the released networks that is at hand at once."""
        return max(self._side.encoder.returning_bytes, self._side.conditioners.returning_bytes)

    @torch.inference_mode()
    def voice_features(self, audio_22k: Tensor) -> dict[str, Tensor]:
        """Speaker route (§4): audio (N,) at 22.05 kHz to `spk_cond` (T, W) and `audio_16k` (N',)."""
        audio_16k = resample(audio_22k.float().cpu(), VOICE_RATE_HZ, features.SAMPLE_RATE_HZ)
        return {"spk_cond": self.emotion_features(audio_16k), "audio_16k": audio_16k}

    @torch.inference_mode()
    def emotion_features(self, audio_16k: Tensor) -> Tensor:
        """Semantic embeddings (T, W) of audio (N,) at 16 kHz: the emotion route from there on."""
        rows, mask = features.semantic_features(audio_16k.float().cpu().numpy())
        with self._side.encoder.at_hand() as device:
            inputs = torch.from_numpy(rows)[None].to(device)
            embedded: Tensor = self.encoder(inputs, torch.from_numpy(mask)[None].to(device))
        return embedded[0].to(self.device)

    @torch.inference_mode()
    def condition(self, spk_cond: Tensor, emo_cond: Tensor, style: Tensor) -> VoiceConditions:
        """Condition on one recording.

        Args:
            spk_cond: (T, W), from `voice_features`.
            emo_cond: (T, W), from `emotion_features` of the same recording.
            style: (S,).
        """
        with self._side.conditioners.at_hand() as device:
            speaker_latents = self.voice.speaker_latents(spk_cond.to(device)[None])[0].to(self.device)
            speaker_emovec, self_emovec = self.recording_emovec(spk_cond), self.recording_emovec(emo_cond)
        return VoiceConditions(
            speaker_latents=speaker_latents,
            speaker_emovec=speaker_emovec,
            self_emovec=self_emovec,
            emotion_rows=emotion.emotion_rows(self._emotion_matrix, self._groups, self.row_indices(style)),
        )

    @torch.inference_mode()
    def recording_emovec(self, emo_cond: Tensor) -> Tensor:
        """Emotion vector (D,) of semantic embeddings (T, W)."""
        with self._side.conditioners.at_hand() as device:
            return self.voice.emotion_vector(emo_cond.to(device)[None])[0].to(self.device)

    def row_indices(self, style: Tensor) -> list[int]:
        """Which row of each emotion's group is nearest to a style (S,)."""
        return emotion.choose_rows(style.to(self.device).flatten(), self._speaker_matrix, self._groups)

    @torch.inference_mode()
    def emotion_vector(
        self,
        conditions: VoiceConditions,
        *,
        recording: Tensor | None = None,
        weights: Sequence[float] | None = None,
        alpha: float = 1.0,
    ) -> Tensor:
        """Final emotion vector (D,) (§6.3).

        Args:
            conditions: of the voice.
            recording: emotion vector (D,) of a second recording; not used where weights are given.
            weights: eight weights in the order of `emotion`, before scaling.
            alpha: strength of recording or weights.
        """
        own = emotion.merge_emotion(conditions.speaker_emovec, conditions.self_emovec, 1.0)
        if weights is not None:
            if len(weights) != emotion.NUM_EMOTIONS:
                raise ValueError(f"{len(weights)} emotion weights; expected {emotion.NUM_EMOTIONS}")
            return emotion.mix_weights(conditions.emotion_rows, emotion.scale_weights(weights, alpha), own)
        if recording is not None:
            return emotion.merge_emotion(conditions.speaker_emovec, recording, alpha)
        return own

    @torch.inference_mode()
    def conditioning(self, conditions: VoiceConditions, emovec: Tensor) -> Tensor:
        """Rows that precede the text (§6.4): (1, 34, D) for 32 latents."""
        return self.voice.conditioning(conditions.speaker_latents[None], emovec[None])


def _all_at_hand(device: torch.device) -> VoiceSide:
    """Of networks that were loaded to where they are used, and stay there."""
    stay = VoiceNetworks([], place="device", device=device, restore=lambda: None)
    return VoiceSide(stay, stay)


def load_gpt_stage(
    files: CheckpointFiles,
    config: CheckpointConfig,
    device: torch.device | str = "cpu",
    voice_encoders: VoiceEncoders = "device",
) -> GptStageModel:
    """Load the stage in float32.

    Args:
        files: the checkpoint.
        config: its config.yaml.
        device: where the GPT computes.
        voice_encoders: where the networks live that only a new voice needs.

    Raises:
        CheckpointError: naming missing files, or missing, unknown and misshapen tensors.
    """
    files.require(*FILES)
    device = torch.device(device)
    voice, encoder = load_unified_voice(files, config).to(device), load_semantic_encoder(files, config)
    conditioners = _conditioners(voice)

    def place(networks: Sequence[nn.Module], restore: Callable[[], None]) -> VoiceNetworks:
        return VoiceNetworks(networks, place=voice_encoders, device=device, restore=restore)

    side = VoiceSide(
        place([encoder], lambda: fill_semantic_encoder(encoder, files)),
        place(list(conditioners.values()), lambda: fill_conditioners(conditioners, files)),
    )
    return GptStageModel(
        voice,
        encoder,
        read_tensor(files.speaker_matrix).to(device),
        read_tensor(files.emotion_matrix).to(device),
        config.emo_num,
        side,
    )


def load_unified_voice(files: CheckpointFiles, config: CheckpointConfig) -> UnifiedVoice:
    state = read_state(files.gpt)
    with torch.device("meta"):
        voice = UnifiedVoice(GptDimensions.from_config(config, state))
    load_into(voice, state, source=str(files.gpt), ignore=_IGNORED_GPT)
    return voice.eval()


def _conditioners(voice: UnifiedVoice) -> dict[str, nn.Module]:
    """The parts of the GPT's file that only a new voice needs, by the beginning of their tensors' names."""
    names = (
        "conditioning_encoder",
        "perceiver_encoder",
        "emo_conditioning_encoder",
        "emo_perceiver_encoder",
        "emovec_layer",
        "emo_layer",
    )
    return {name: voice.get_submodule(name) for name in names}


def fill_conditioners(conditioners: Mapping[str, nn.Module], files: CheckpointFiles) -> None:
    """Read their weights again; the file is mapped, so only their share of it is read."""
    state = read_state(files.gpt)
    for name, module in conditioners.items():
        own = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
        load_into(module, own, source=str(files.gpt), ignore=_IGNORED_GPT)


def load_semantic_encoder(files: CheckpointFiles, config: CheckpointConfig) -> SemanticEncoder:
    """Load the layers up to `semantic_encoder.layer`, and the statistics of their output."""
    layer = config.semantic_encoder.layer
    settings = json.loads(files.w2v_bert_config.read_text(encoding="utf-8"))
    if layer > settings["num_hidden_layers"]:
        raise CheckpointError(
            f"{files.config}: semantic_encoder.layer {layer}, but {files.w2v_bert_config} "
            f"has {settings['num_hidden_layers']} layers"
        )
    with torch.device("meta"):
        encoder = SemanticEncoder(settings, layer)
    fill_semantic_encoder(encoder, files)
    return encoder.eval()


def fill_semantic_encoder(encoder: SemanticEncoder, files: CheckpointFiles) -> None:
    """Read its weights, without those of the layers above it."""
    config = encoder.encoder.config
    stored = json.loads(files.w2v_bert_config.read_text(encoding="utf-8"))["num_hidden_layers"]
    dropped = tuple(f"encoder.layers.{index}." for index in range(config.num_hidden_layers, stored))
    state = read_state(files.w2v_bert)
    kept = {name: value for name, value in state.items() if not name.startswith(dropped)}
    stats = read_state(files.semantic_stats)
    load_into(encoder.encoder, kept, source=str(files.w2v_bert), ignore=UNUSED_TENSORS)
    encoder.set_statistics(stats["mean"], stats["var"])
