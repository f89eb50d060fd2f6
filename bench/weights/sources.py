"""Where the parts of the checkpoint are published, under which licences, and where they go."""

from __future__ import annotations

from dataclasses import dataclass

TERMS = """\
IndexTTS-2 is published under the "bilibili Model Use License Agreement". Among its terms:
  - it covers the weights and is revocable;
  - above 100 million monthly users or 1 billion RMB of yearly revenue a separate licence is needed;
  - derivative works must say what they derive from;
  - outputs may not be used to improve other commercial AI models.
The publisher's own text, which alone is binding:"""


@dataclass(frozen=True)
class Source:
    """A repository, and where its files go in the checkpoint directory."""

    repository: str
    licence: str
    files: tuple[tuple[str, str], ...]
    """Path in the repository and path in the directory; a path that ends in / is a folder."""
    optional: tuple[tuple[str, str], ...] = ()
    """Likewise; taken when the repository has it."""


MODEL = "IndexTeam/IndexTTS-2"
_MODEL_FILES = (
    "config.yaml",
    "bpe.model",
    "gpt.pth",
    "s2mel.pth",
    "wav2vec2bert_stats.pt",
    "feat1.pt",
    "feat2.pt",
)
_W2V = "hf_cache/w2v-bert-2.0"

SOURCES = (
    Source(
        MODEL,
        "bilibili Model Use License Agreement",
        tuple((name, name) for name in _MODEL_FILES),
        (("glossary.yaml", "glossary.yaml"), ("pinyin.vocab", "pinyin.vocab")),
    ),
    Source(
        "facebook/w2v-bert-2.0",
        "MIT",
        (("config.json", f"{_W2V}/config.json"), ("model.safetensors", f"{_W2V}/model.safetensors")),
        (("preprocessor_config.json", f"{_W2V}/preprocessor_config.json"),),
    ),
    Source(
        "amphion/MaskGCT",
        "its model card says which",
        (("semantic_codec/model.safetensors", "hf_cache/semantic_codec_model.safetensors"),),
    ),
    Source("funasr/campplus", "Apache-2.0", (("campplus_cn_common.bin", "hf_cache/campplus_cn_common.bin"),)),
    Source(
        "nvidia/bigvgan_v2_22khz_80band_256x",
        "MIT",
        (
            ("config.json", "hf_cache/bigvgan/config.json"),
            ("bigvgan_generator.pt", "hf_cache/bigvgan/bigvgan_generator.pt"),
        ),
    ),
)
TEXT_EMOTION = Source(MODEL, "", (("qwen0.6bemo4-merge/", "qwen0.6bemo4-merge/"),))
