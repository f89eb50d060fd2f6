"""Where the files of a checkpoint directory in the official layout lie."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from services.common.checkpoint.config import load_config
from services.common.checkpoint.errors import CheckpointError
from services.common.checkpoint.sections import CheckpointConfig
from services.common.checkpoint.twins import preferred


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
    def locate(
        cls, directory: Path | str, config: CheckpointConfig | None = None, *, prefers_twins: bool = True
    ) -> CheckpointFiles:
        """Resolve all paths under `directory`.

        Args:
            directory: The checkpoint.
            config: Of the directory; its config.yaml is read unless given.
            prefers_twins: Whether a `.safetensors` twin is taken instead of a pickle (see `twins`).
        """
        root = Path(directory)
        config = config or load_config(root)
        cache = root / "hf_cache"
        choose = preferred if prefers_twins else Path
        return cls(
            directory=root,
            config=root / "config.yaml",
            bpe_model=root / config.dataset.bpe_model,
            gpt=choose(root / config.gpt_checkpoint),
            s2mel=choose(root / config.s2mel_checkpoint),
            semantic_stats=choose(root / config.w2v_stat),
            speaker_matrix=choose(root / config.spk_matrix),
            emotion_matrix=choose(root / config.emo_matrix),
            qwen=root / config.qwen_emo_path,
            glossary=root / "glossary.yaml",
            w2v_bert_config=cache / "w2v-bert-2.0" / "config.json",
            w2v_bert=cache / "w2v-bert-2.0" / "model.safetensors",
            semantic_codec=cache / "semantic_codec_model.safetensors",
            campplus=choose(cache / "campplus_cn_common.bin"),
            bigvgan_config=cache / "bigvgan" / "config.json",
            bigvgan=choose(cache / "bigvgan" / "bigvgan_generator.pt"),
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
