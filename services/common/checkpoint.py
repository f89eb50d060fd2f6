"""A checkpoint directory in the official layout: its config.yaml, its paths and its revision.

Imports no torch, so that the gateway can read it. Weights are read by `weights`.
Section numbers are those of the IndexTTS2 specification.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class CheckpointError(Exception):
    """A checkpoint cannot be used; the text says which file or key, and what is expected."""


class _Section(BaseModel):
    """A config.yaml section: unknown keys are errors, a missing key has the official value."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class DatasetMel(_Section):
    """Present in the official file and unused by this model family."""

    sample_rate: int = 24000
    n_fft: int = 1024
    hop_length: int = 256
    win_length: int = 1024
    n_mels: int = 100
    mel_fmin: float = 0
    normalize: bool = False


class Dataset(_Section):
    bpe_model: str = "bpe.model"
    sample_rate: int = 24000
    squeeze: bool = False
    mel: DatasetMel = DatasetMel()


class ConditionModule(_Section):
    """Sizes of one conformer with its perceiver (§6.1)."""

    output_size: int = Field(512, ge=1)
    linear_units: int = Field(2048, ge=1)
    attention_heads: int = Field(8, ge=1)
    num_blocks: int = Field(6, ge=1)
    input_layer: Literal["conv2d2"] = "conv2d2"
    perceiver_mult: int = Field(2, ge=1)


class GptConfig(_Section):
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


class SemanticCodecConfig(_Section):
    codebook_size: int = 8192
    hidden_size: int = 1024
    codebook_dim: int = 8
    vocos_dim: int = 384
    vocos_intermediate_dim: int = 2048
    vocos_num_layers: int = 12
    num_quantizers: Literal[1] = 1
    downsample_scale: Literal[1] = 1


class SpectParams(_Section):
    n_fft: int = 1024
    win_length: int = 1024
    hop_length: int = 256
    n_mels: int = 80
    fmin: float = 0
    fmax: float | Literal["None"] | None = "None"


class PreprocessParams(_Section):
    sr: int = 22050
    spect_params: SpectParams = SpectParams()


class StyleEncoder(_Section):
    dim: int = 192


class LengthRegulatorConfig(_Section):
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


class DitConfig(_Section):
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


class WavenetConfig(_Section):
    hidden_dim: int = 512
    num_layers: int = 8
    kernel_size: int = 5
    dilation_rate: Literal[1] = 1
    p_dropout: float = 0.2
    style_condition: Literal[True] = True


class S2MelConfig(_Section):
    preprocess_params: PreprocessParams = PreprocessParams()
    dit_type: Literal["DiT"] = "DiT"
    reg_loss_type: str = "l1"
    style_encoder: StyleEncoder = StyleEncoder()
    length_regulator: LengthRegulatorConfig = LengthRegulatorConfig()
    DiT: DitConfig = DitConfig()
    wavenet: WavenetConfig = WavenetConfig()


class VocoderConfig(_Section):
    type: Literal["bigvgan"] = "bigvgan"
    name: str = "nvidia/bigvgan_v2_22khz_80band_256x"


class SemanticEncoderConfig(_Section):
    """What the reference fixes as literals; small checkpoints state their own values."""

    hidden_size: int = Field(1024, ge=1)
    layer: int = Field(17, ge=1)
    """The encoder's hidden state that is used: 1 is the output of its first layer."""


class TextDefaults(_Section):
    """How text becomes ids."""

    frontend: Literal["indextts2", "phonemes"] = "indextts2"
    g2p: str | None = None
    """Which grapheme-to-phoneme converter the phonemes front end uses."""
    uppercase: bool = True
    max_text_tokens_per_segment: int = Field(120, ge=1)


class SamplingDefaults(_Section):
    """What a request that says nothing gets in mode `fast` (§6.6)."""

    num_beams: int = Field(1, ge=1)
    temperature: float = Field(0.8, gt=0)
    top_k: int = Field(30, ge=0)
    """0 switches the rule off."""
    top_p: float = Field(0.8, gt=0, le=1)
    repetition_penalty: float = Field(10.0, gt=0)
    max_mel_tokens: int = Field(1500, ge=1)
    length_penalty: float = 0.0
    do_sample: bool = True


class FlowDefaults(_Section):
    steps: int = Field(25, ge=1)
    cfg_rate: float = Field(0.7, ge=0)


class PolicyDefaults(_Section):
    """The numbers that shape streaming; codes are 1/50 s, frames 256 samples."""

    first_window_codes: int = Field(25, ge=1)
    window_growth: float = Field(2.0, ge=1)
    max_window_codes: int = Field(200, ge=1)
    look_ahead_codes: int = Field(25, ge=0)
    prefix_codes: int = Field(25, ge=0)
    prompt_seconds: float = Field(15.0, gt=0, le=15)
    vocoder_context_frames: int = Field(24, ge=0)


class ProjectData(_Section):
    """What this project adds to a config.yaml, under `triptych`."""

    name: str = "IndexTTS-2"
    text: TextDefaults = TextDefaults()
    sampling: SamplingDefaults = SamplingDefaults()
    flow: FlowDefaults = FlowDefaults()
    policy: PolicyDefaults = PolicyDefaults()
    languages: tuple[str, ...] = ("zh", "en")


class CheckpointConfig(_Section):
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


def load_config(directory: Path | str) -> CheckpointConfig:
    """Read `config.yaml` of a checkpoint directory.

    Raises:
        CheckpointError: if it is missing, is no YAML mapping, has an unknown key (named with
            the nearest known one), or holds a value this implementation cannot honour.
    """
    path = Path(directory) / "config.yaml"
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; a checkpoint directory has a config.yaml")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise CheckpointError(f"{path}: not YAML: {error}") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{path}: expected a mapping of sections")
    try:
        return CheckpointConfig.model_validate(data)
    except ValidationError as error:
        raise CheckpointError(f"{path}: " + "; ".join(_explain(error))) from error


def _explain(error: ValidationError) -> Iterator[str]:
    for detail in error.errors(include_url=False):
        location = [str(part) for part in detail["loc"]]
        key = ".".join(location)
        if detail["type"] != "extra_forbidden":
            yield f"{key} = {detail['input']!r}: {detail['msg'].lower()}"
            continue
        known = sorted(_section_at(location[:-1]).model_fields)
        nearest = difflib.get_close_matches(location[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]}?" if nearest else f"known here: {', '.join(known)}"
        yield f"unknown key {key}; {hint}"


def _section_at(location: list[str]) -> type[BaseModel]:
    section: type[BaseModel] = CheckpointConfig
    for part in location:
        annotation = section.model_fields[part].annotation
        assert isinstance(annotation, type)
        section = annotation
    return section


@dataclass(frozen=True)
class CheckpointFiles:
    """Every path of the official layout (§1.1). A path need not exist; see `require`."""

    directory: Path
    config: Path
    bpe_model: Path
    gpt: Path
    s2mel: Path
    semantic_stats: Path
    """Mean and variance of the semantic embedding."""
    speaker_matrix: Path
    emotion_matrix: Path
    qwen: Path
    """Directory of the text-to-emotion model; optional."""
    glossary: Path
    """Optional."""
    w2v_bert_config: Path
    w2v_bert: Path
    semantic_codec: Path
    campplus: Path
    bigvgan_config: Path
    bigvgan: Path
    vocoder_onnx: Path
    vocoder_manifest: Path
    """Source checksum and opset of `vocoder_onnx`."""

    @classmethod
    def locate(cls, directory: Path | str, config: CheckpointConfig | None = None) -> CheckpointFiles:
        """Resolve all paths under `directory`; reads its config.yaml unless given."""
        root = Path(directory)
        config = config or load_config(root)
        cache = root / "hf_cache"
        return cls(
            directory=root,
            config=root / "config.yaml",
            bpe_model=root / config.dataset.bpe_model,
            gpt=root / config.gpt_checkpoint,
            s2mel=root / config.s2mel_checkpoint,
            semantic_stats=root / config.w2v_stat,
            speaker_matrix=root / config.spk_matrix,
            emotion_matrix=root / config.emo_matrix,
            qwen=root / config.qwen_emo_path,
            glossary=root / "glossary.yaml",
            w2v_bert_config=cache / "w2v-bert-2.0" / "config.json",
            w2v_bert=cache / "w2v-bert-2.0" / "model.safetensors",
            semantic_codec=cache / "semantic_codec_model.safetensors",
            campplus=cache / "campplus_cn_common.bin",
            bigvgan_config=cache / "bigvgan" / "config.json",
            bigvgan=cache / "bigvgan" / "bigvgan_generator.pt",
            vocoder_onnx=root / "vocoder.onnx",
            vocoder_manifest=root / "vocoder.json",
        )

    def require(self, *names: str) -> None:
        """Check that the files of these field names exist.

        Raises:
            CheckpointError: naming every missing file at once.
        """
        missing = [path for name in names if not (path := self._path(name)).exists()]
        if missing:
            listed = ", ".join(str(path.relative_to(self.directory)) for path in missing)
            raise CheckpointError(f"{self.directory}: missing {listed}; `make weights` fetches the official checkpoint")

    def _path(self, name: str) -> Path:
        known = [field.name for field in fields(self)]
        if name not in known:
            raise CheckpointError(f"no checkpoint file is called {name}; known: {', '.join(known)}")
        path: Path = getattr(self, name)
        return path


_NOT_PART_OF_REVISION = ("directory", "qwen", "vocoder_manifest")


def revision(directory: Path | str, numeric_mode: str, policy: Mapping[str, object]) -> str:
    """Digest of what decides codes and samples: files, numeric mode and policy table.

    Two processes with equal revisions may take over each other's streams. Files are hashed by
    content, once per process unless size or time of change differ.

    Returns:
        16 hex digits.
    """
    files = CheckpointFiles.locate(directory)
    digest = hashlib.sha256()
    for field in fields(files):
        path: Path = getattr(files, field.name)
        if field.name not in _NOT_PART_OF_REVISION and path.is_file():
            status = path.stat()
            content = _content_digest(path, status.st_size, status.st_mtime_ns)
            digest.update(f"{field.name}={content}\n".encode())
    table = json.dumps(dict(policy), sort_keys=True, separators=(",", ":"))
    digest.update(f"numeric={numeric_mode}\npolicy={table}\n".encode())
    return digest.hexdigest()[:16]


@lru_cache(maxsize=256)
def _content_digest(path: Path, _size: int, _modified_ns: int) -> str:
    """Hash a file; its size and time only make a changed file another cache entry."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
