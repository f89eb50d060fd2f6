"""Loads everything the GPT stage computes with, and offers it as calls on unbatched tensors.

Letters: N samples, T semantic frames, W semantic width, S style width, D model width.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from services.common.checkpoint import CheckpointConfig, CheckpointError, CheckpointFiles
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


class GptStageModel:
    """Encoder, conditioners and GPT of one checkpoint on one device. Not thread-safe."""

    def __init__(
        self,
        voice: UnifiedVoice,
        encoder: SemanticEncoder,
        speaker_matrix: Tensor,
        emotion_matrix: Tensor,
        emotion_groups: Sequence[int],
    ) -> None:
        self.voice = voice
        self.encoder = encoder
        self._speaker_matrix = speaker_matrix  # (rows, S)
        self._emotion_matrix = emotion_matrix  # (rows, D)
        self._groups = tuple(emotion_groups)
        self.device = speaker_matrix.device

    @torch.inference_mode()
    def voice_features(self, audio_22k: Tensor) -> dict[str, Tensor]:
        """Speaker route (§4): audio (N,) at 22.05 kHz to `spk_cond` (T, W) and `audio_16k` (N',)."""
        audio_16k = resample(audio_22k.float().cpu(), VOICE_RATE_HZ, features.SAMPLE_RATE_HZ)
        return {"spk_cond": self.emotion_features(audio_16k), "audio_16k": audio_16k}

    @torch.inference_mode()
    def emotion_features(self, audio_16k: Tensor) -> Tensor:
        """Semantic embeddings (T, W) of audio (N,) at 16 kHz: the emotion route from there on."""
        rows, mask = features.semantic_features(audio_16k.float().cpu().numpy())
        inputs = torch.from_numpy(rows)[None].to(self.device)
        embedded: Tensor = self.encoder(inputs, torch.from_numpy(mask)[None].to(self.device))
        return embedded[0]

    @torch.inference_mode()
    def condition(self, spk_cond: Tensor, emo_cond: Tensor, style: Tensor) -> VoiceConditions:
        """Condition on one recording.

        Args:
            spk_cond: (T, W), from `voice_features`.
            emo_cond: (T, W), from `emotion_features` of the same recording.
            style: (S,).
        """
        return VoiceConditions(
            speaker_latents=self.voice.speaker_latents(spk_cond.to(self.device)[None])[0],
            speaker_emovec=self.recording_emovec(spk_cond),
            self_emovec=self.recording_emovec(emo_cond),
            emotion_rows=emotion.emotion_rows(self._emotion_matrix, self._groups, self.row_indices(style)),
        )

    @torch.inference_mode()
    def recording_emovec(self, emo_cond: Tensor) -> Tensor:
        """Emotion vector (D,) of semantic embeddings (T, W)."""
        return self.voice.emotion_vector(emo_cond.to(self.device)[None])[0]

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


def load_gpt_stage(
    files: CheckpointFiles, config: CheckpointConfig, device: torch.device | str = "cpu"
) -> GptStageModel:
    """Load the stage in float32.

    Raises:
        CheckpointError: naming missing files, or missing, unknown and misshapen tensors.
    """
    files.require(*FILES)
    return GptStageModel(
        load_unified_voice(files, config).to(device),
        load_semantic_encoder(files, config).to(device),
        read_tensor(files.speaker_matrix).to(device),
        read_tensor(files.emotion_matrix).to(device),
        config.emo_num,
    )


def load_unified_voice(files: CheckpointFiles, config: CheckpointConfig) -> UnifiedVoice:
    state = read_state(files.gpt)
    with torch.device("meta"):
        voice = UnifiedVoice(GptDimensions.from_config(config, state))
    load_into(voice, state, source=str(files.gpt), ignore=_IGNORED_GPT)
    return voice.eval()


def load_semantic_encoder(files: CheckpointFiles, config: CheckpointConfig) -> SemanticEncoder:
    """Load the layers up to `semantic_encoder.layer`, and the statistics of their output."""
    layer = config.semantic_encoder.layer
    settings = json.loads(files.w2v_bert_config.read_text(encoding="utf-8"))
    if layer > settings["num_hidden_layers"]:
        raise CheckpointError(
            f"{files.config}: semantic_encoder.layer {layer}, but {files.w2v_bert_config} "
            f"has {settings['num_hidden_layers']} layers"
        )
    state = read_state(files.w2v_bert)
    dropped = tuple(f"encoder.layers.{index}." for index in range(layer, settings["num_hidden_layers"]))
    kept = {name: value for name, value in state.items() if not name.startswith(dropped)}
    stats = read_state(files.semantic_stats)
    with torch.device("meta"):
        encoder = SemanticEncoder(settings, layer)
    load_into(encoder.encoder, kept, source=str(files.w2v_bert), ignore=UNUSED_TENSORS)
    encoder.set_statistics(stats["mean"], stats["var"])
    return encoder.eval()
