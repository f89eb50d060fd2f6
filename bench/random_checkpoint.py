"""`python -m bench.random_checkpoint DIR`: a full-size checkpoint with random values.

It has the official names, shapes and formats, so that serving at full size can be measured without
the published weights; what it says is noise. Scales keep activations finite. One file is made at a
time: about 4 GB of memory and 6 GB of disk, half of both with --half.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import yaml
from safetensors.torch import save_file
from sentencepiece import sentencepiece_model_pb2
from torch import Tensor

from bench.stages.random_values import BIGVGAN, tensor
from services.common.checkpoint import CheckpointConfig, load_config

_KEYS = Path(__file__).parent.parent / "tests" / "golden" / "fullsize_keys.json.gz"

Keys = dict[str, dict[str, Any]]

_W2V_BERT = {
    "architectures": ["Wav2Vec2BertModel"],
    "model_type": "wav2vec2-bert",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feature_projection_input_dim": 160,
    "conv_depthwise_kernel_size": 31,
    "hidden_act": "swish",
    "position_embeddings_type": "relative_key",
    "left_max_position_embeddings": 64,
    "right_max_position_embeddings": 8,
    "layer_norm_eps": 1e-05,
    "output_hidden_size": 1024,
}


def random_state(keys: Keys, file: str, is_half: bool) -> dict[str, Tensor]:
    """All tensors of one file, the same for every run."""
    generator = torch.Generator().manual_seed(zlib.crc32(file.encode()))
    state: dict[str, Tensor] = {}
    for name, entry in keys.items():
        value = tensor(name, entry["shape"], entry["dtype"], generator)
        state[name] = value.half() if is_half and value.is_floating_point() else value
    return state


def nested(state: dict[str, Tensor], levels: int) -> dict[str, Any]:
    """Fold the first `levels` parts of each name into dicts."""
    if not levels:
        return dict(state)
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        section, _, rest = name.partition(".")
        parts.setdefault(section, {})[rest] = value
    return {section: nested(part, levels - 1) for section, part in parts.items()}


_NESTING = {"s2mel.pth": 2, "hf_cache/bigvgan/bigvgan_generator.pt": 1}


def write_weights(directory: Path, file: str, keys: Keys, is_half: bool) -> None:
    path = directory / file
    path.parent.mkdir(parents=True, exist_ok=True)
    state = random_state(keys, file, is_half)
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state[""] if "" in state else nested(state, _NESTING.get(file, 0)), path)


def write_pieces(path: Path, count: int) -> None:
    """A SentencePiece model of `count` pieces: trained on made-up text, filled up with Chinese."""
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=_sentences(), model_writer=trained, vocab_size=400, model_type="bpe",
        bos_id=0, eos_id=1, unk_id=2, pad_id=-1, minloglevel=2,
    )  # fmt: skip
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(trained.getvalue())
    for offset in range(count - len(model.pieces)):
        model.pieces.add(piece=chr(0x4E00 + offset), score=-1000.0 - offset)
    path.write_bytes(model.SerializeToString())


def _sentences() -> Iterator[str]:
    letters = random.Random(1)
    for _ in range(2000):
        words = ("".join(letters.choices("ETAOINSHRDLUCMFWYPVBGKJQXZ", k=4)) for _ in range(6))
        yield " ".join(words) + letters.choice([".", ",", "?", "!", "'"])


def write_checkpoint(directory: Path, config: CheckpointConfig, *, is_half: bool) -> None:
    """Write every file of the official layout but the Qwen model."""
    directory.mkdir(parents=True, exist_ok=True)
    with gzip.open(_KEYS, "rt", encoding="utf-8") as stream:
        files: dict[str, dict[str, Any]] = json.load(stream)["files"]
    for file, entry in files.items():
        write_weights(directory, file, entry["keys"], is_half)
        print(f"{(directory / file).stat().st_size / 1e6:9.1f} MB  {file}", flush=True)
    cache = directory / "hf_cache"
    (cache / "w2v-bert-2.0" / "config.json").write_text(json.dumps(_W2V_BERT, indent=2), "utf-8")
    (cache / "bigvgan" / "config.json").write_text(json.dumps(BIGVGAN, indent=2), "utf-8")
    write_pieces(directory / config.dataset.bpe_model, config.gpt.number_text_tokens)
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    (directory / "config.yaml").write_text(text, "utf-8")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.random_checkpoint", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--config", default="official", help="'official', or a directory with a config.yaml")
    parser.add_argument("--half", action="store_true", help="store float16")
    options = parser.parse_args(arguments)
    config = CheckpointConfig() if options.config == "official" else load_config(options.config)
    if config.model_copy(update={"triptych": CheckpointConfig().triptych}) != CheckpointConfig():
        parser.error("only `triptych` may differ from the official config: the shapes are the official ones")
    write_checkpoint(options.directory, config, is_half=options.half)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
