"""What a config.yaml may say, section by section, with the official values as defaults.

Section numbers are those of the IndexTTS2 specification.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.common.checkpoint.profiles import POLICIES, PolicyName, StreamingPolicy, WholeRender
from services.common.checkpoint.section import Section


class DatasetMel(Section):
    """Present in the official file and unused by this model family."""

    sample_rate: int = 24000
    n_fft: int = 1024
    hop_length: int = 256
    win_length: int = 1024
    n_mels: int = 100
    mel_fmin: float = 0
    normalize: bool = False


class Dataset(Section):
    bpe_model: str = "bpe.model"
    sample_rate: int = 24000
    squeeze: bool = False
    mel: DatasetMel = DatasetMel()


class ConditionModule(Section):
    """Sizes of one conformer with its perceiver (§6.1)."""

    output_size: int = Field(512, ge=1)
    linear_units: int = Field(2048, ge=1)
    attention_heads: int = Field(8, ge=1)
    num_blocks: int = Field(6, ge=1)
    input_layer: Literal["conv2d2"] = "conv2d2"
    perceiver_mult: int = Field(2, ge=1)


class GptConfig(Section):
    model_dim: int = Field(1280, ge=1)
    max_mel_tokens: int = Field(1815, ge=1)
    max_text_tokens: int = Field(600, ge=1)
    heads: int = Field(20, ge=1)
    use_mel_codes_as_input: Literal[True] = True
    mel_length_compression: int = 1024
    layers: int = Field(24, ge=1)
    number_text_tokens: int = Field(12000, ge=1)
    number_mel_codes: int = Field(8194, ge=1)
    start_mel_token: int = 8192
    stop_mel_token: int = 8193
    start_text_token: int = 0
    stop_text_token: int = 1
    train_solo_embeddings: Literal[False] = False
    condition_type: Literal["conformer_perceiver"] = "conformer_perceiver"
    condition_module: ConditionModule = ConditionModule()
    emo_condition_module: ConditionModule = ConditionModule(linear_units=1024, attention_heads=4, num_blocks=4)


class SemanticCodecConfig(Section):
    codebook_size: int = 8192
    hidden_size: int = 1024
    codebook_dim: int = 8
    vocos_dim: int = 384
    vocos_intermediate_dim: int = 2048
    vocos_num_layers: int = 12
    num_quantizers: Literal[1] = 1
    downsample_scale: Literal[1] = 1


class SpectParams(Section):
    n_fft: int = 1024
    win_length: int = 1024
    hop_length: int = 256
    n_mels: int = 80
    fmin: float = 0
    fmax: float | Literal["None"] | None = "None"


class PreprocessParams(Section):
    sr: int = 22050
    spect_params: SpectParams = SpectParams()


class StyleEncoder(Section):
    dim: int = 192


class LengthRegulatorConfig(Section):
    channels: int = 512
    is_discrete: Literal[False] = False
    in_channels: int = 1024
    content_codebook_size: int = 2048
    sampling_ratios: tuple[int, ...] = (1, 1, 1, 1)
    vector_quantize: Literal[False] = False
    n_codebooks: int = 1
    quantizer_dropout: float = 0.0
    f0_condition: Literal[False] = False
    n_f0_bins: int = 512


class DitConfig(Section):
    hidden_dim: int = 512
    num_heads: int = 8
    depth: int = 13
    class_dropout_prob: float = 0.1
    block_size: int = 8192
    in_channels: int = 80
    style_condition: Literal[True] = True
    final_layer_type: Literal["wavenet"] = "wavenet"
    target: Literal["mel"] = "mel"
    content_dim: int = 512
    content_codebook_size: int = 1024
    content_type: Literal["discrete"] = "discrete"
    f0_condition: Literal[False] = False
    n_f0_bins: int = 512
    content_codebooks: int = 1
    is_causal: Literal[False] = False
    long_skip_connection: Literal[True] = True
    zero_prompt_speech_token: Literal[False] = False
    time_as_token: Literal[False] = False
    style_as_token: Literal[False] = False
    uvit_skip_connection: Literal[True] = True
    add_resblock_in_transformer: Literal[False] = False


class WavenetConfig(Section):
    hidden_dim: int = 512
    num_layers: int = 8
    kernel_size: int = 5
    dilation_rate: Literal[1] = 1
    p_dropout: float = 0.2
    style_condition: Literal[True] = True


class S2MelConfig(Section):
    preprocess_params: PreprocessParams = PreprocessParams()
    dit_type: Literal["DiT"] = "DiT"
    reg_loss_type: str = "l1"
    style_encoder: StyleEncoder = StyleEncoder()
    length_regulator: LengthRegulatorConfig = LengthRegulatorConfig()
    DiT: DitConfig = DitConfig()
    wavenet: WavenetConfig = WavenetConfig()


class VocoderConfig(Section):
    type: Literal["bigvgan"] = "bigvgan"
    name: str = "nvidia/bigvgan_v2_22khz_80band_256x"


class SemanticEncoderConfig(Section):
    """What the reference fixes as literals; small checkpoints state their own values."""

    hidden_size: int = Field(1024, ge=1)
    layer: int = Field(17, ge=1)
    """The encoder's hidden state that is used: 1 is the output of its first layer."""


class TextDefaults(Section):
    """How text becomes ids."""

    frontend: Literal["indextts2", "phonemes"] = "indextts2"
    g2p: str | None = None
    """Which grapheme-to-phoneme converter the phonemes front end uses."""
    uppercase: bool = True
    max_text_tokens_per_segment: int = Field(120, ge=1)


class SamplingDefaults(Section):
    """What a request that says nothing gets in mode `fast` (§6.6)."""

    num_beams: Literal[1] = 1
    """More are to be had with policy compat alone, by request."""
    temperature: float = Field(0.8, gt=0)
    top_k: int = Field(30, ge=0)
    """0 switches the rule off."""
    top_p: float = Field(0.8, gt=0, le=1)
    repetition_penalty: float = Field(10.0, gt=0)
    max_mel_tokens: int = Field(1500, ge=1)
    length_penalty: float = 0.0
    do_sample: bool = True


class FlowDefaults(Section):
    steps: int = Field(25, ge=1)
    cfg_rate: float = Field(0.7, ge=0)


class ProjectData(Section):
    """What this project adds to a config.yaml, under `triptych`."""

    name: str = "IndexTTS-2"
    text: TextDefaults = TextDefaults()
    sampling: SamplingDefaults = SamplingDefaults()
    flow: FlowDefaults = FlowDefaults()
    policies: dict[PolicyName, StreamingPolicy] = Field(POLICIES, min_length=1)
    """The streaming profiles; the first is the default."""
    whole: WholeRender = WholeRender()
    languages: tuple[str, ...] = ("zh", "en")

    def policy_table(self) -> dict[str, object]:
        """All policies as plain data."""
        streaming = {name: policy.model_dump() for name, policy in self.policies.items()}
        return {**streaming, "whole": self.whole.model_dump()}


class CheckpointConfig(Section):
    """The whole config.yaml (§1.2). `CheckpointConfig()` is the official one."""

    dataset: Dataset = Dataset()
    gpt: GptConfig = GptConfig()
    semantic_codec: SemanticCodecConfig = SemanticCodecConfig()
    s2mel: S2MelConfig = S2MelConfig()
    gpt_checkpoint: str = "gpt.pth"
    w2v_stat: str = "wav2vec2bert_stats.pt"
    s2mel_checkpoint: str = "s2mel.pth"
    emo_matrix: str = "feat2.pt"
    spk_matrix: str = "feat1.pt"
    emo_num: tuple[int, ...] = (3, 17, 2, 8, 4, 5, 10, 24)
    """Rows of both matrices that belong to each emotion, in order."""
    qwen_emo_path: str = "qwen0.6bemo4-merge/"
    vocoder: VocoderConfig = VocoderConfig()
    version: float = 2.0
    semantic_encoder: SemanticEncoderConfig = SemanticEncoderConfig()
    triptych: ProjectData = ProjectData()
