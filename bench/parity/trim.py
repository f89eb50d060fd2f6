"""`python -m bench.parity.trim PACK OUT.tar.xz`: make a golden pack small enough to be kept with the tests.

Keeps the chosen stages, the stored tensors that they use, and of every weight file the tensors that they
read; the others are zeros, which take no room once compressed, so every file loads as before. Weights may
also be rounded: the tolerances of a pack rest on the response to relative noise of 1e-6 on all weights,
and 18 bits of mantissa are less than that. The result is written only if it is reproduced whole.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import re
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from bench.parity.__main__ import reproduce
from bench.parity.pack import Array, Pack
from bench.parity.report import misses, table

KEPT_STAGES = ("mel", "codec", "gpt_cond", "gpt", "s2mel", "bigvgan", "utterance", "text")
"""The stages whose weights and tensors fit into the tests."""

FULL_MANTISSA = 23


@dataclass(frozen=True)
class Part:
    """Tensors of one weight file that belong together."""

    file: str
    """A field of `CheckpointFiles`."""
    pattern: str = ".*"
    """Matches the whole names of the tensors; the names of nested sections are joined by dots."""


PARTS = {
    "encoder": Part("w2v_bert", r"feature_projection\..*|encoder\..*"),
    "statistics": Part("semantic_stats"),
    "speaker": Part("gpt", r"(conditioning_encoder\.(?!embed\.pos_enc)|perceiver_encoder\.).*"),
    "emotion": Part("gpt", r"(emo_(conditioning|perceiver)_encoder\.(?!embed\.pos_enc)|emo(vec)?_layer\.).*"),
    "decoder": Part("gpt", r"(gpt\.|mel_|text_embedding\.|text_pos_embedding\.|speed_emb\.|final_norm\.).*"),
    "speaker matrix": Part("speaker_matrix"),
    "emotion matrix": Part("emotion_matrix"),
    "style": Part("campplus"),
    "codec": Part("semantic_codec", r"(encoder|quantizer)\..*"),
    "latent layer": Part("s2mel", r"net\.gpt_layer\..*"),
    "regulator": Part("s2mel", r"net\.length_regulator\.(model|content_in_proj)\..*"),
    "flow": Part("s2mel", r"net\.cfm\.estimator\.(?!x_embedder|cond_embedder|content_mask_embedder|input_pos).*"),
    "vocoder": Part("bigvgan"),
}

_CONDITIONS = ("speaker", "emotion", "speaker matrix", "emotion matrix")
_RENDER = ("codec", "latent layer", "regulator", "flow")
_SPEECH = (*_CONDITIONS, "decoder", *_RENDER, "vocoder")

READS: dict[str, tuple[str, ...]] = {
    "audio": (),
    "features": (),
    "w2v": ("encoder", "statistics"),
    "mel": (),
    "campplus": ("style",),
    "codec": ("codec",),
    "prompt": ("encoder", "statistics", "style", "codec", "regulator", *_CONDITIONS),
    "gpt_cond": _CONDITIONS,
    "gpt": ("speaker", "decoder"),
    "s2mel": _RENDER,
    "bigvgan": ("vocoder",),
    "utterance": _SPEECH,
    "text": _SPEECH,
}
"""The parts that each stage reads. What the last two need of the voice comes from the stage `prompt`, if kept."""

_FROM_RECORDINGS = ("audio", "prompt")
_FROM_VOICE = ("utterance", "text")
_VOICE_STAGES = ("codec", "gpt_cond", "s2mel")
"""Their tensors hold the voice that `_FROM_VOICE` starts from where `prompt` is not kept."""


class TrimError(Exception):
    """The choice of stages does not make a pack."""


def trim(pack: Pack, target: Path, stages: Sequence[str], mantissa_bits: int = FULL_MANTISSA) -> None:
    """Write the trimmed pack into the directory `target`.

    Raises:
        TrimError: if a stage is unknown, or lacks the stages whose tensors it starts from.
    """
    _check(pack, stages)
    recordings: dict[str, list[str]] = {} if _reads_recordings(stages) else {"reads": []}
    entries = {stage: {**pack.manifest["stages"][stage], **recordings} for stage in pack.stages if stage in stages}
    manifest = {**pack.manifest, "stages": entries}
    manifest["trimmed"] = {"stages": list(entries), "weight_mantissa_bits": mantissa_bits}
    if "text" not in entries:
        manifest.pop("text", None)
    _write(target / "manifest.json", (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())
    _copy_plain_files(pack, target, stages)
    _copy_goldens(pack, target, entries)
    _copy_weights(pack, target, stages, mantissa_bits)


def _check(pack: Pack, stages: Sequence[str]) -> None:
    for stage in stages:
        if stage not in pack.stages or stage not in READS:
            raise TrimError(f"no stage is called {stage}; {pack.name} has {', '.join(pack.stages)}")
    lacking = [stage for stage in _VOICE_STAGES if stage not in stages]
    if "prompt" not in stages and lacking and any(stage in stages for stage in _FROM_VOICE):
        raise TrimError(f"{' and '.join(_FROM_VOICE)} start from `prompt`, or else from {', '.join(lacking)} too")


def _reads_recordings(stages: Sequence[str]) -> bool:
    return any(stage in stages for stage in _FROM_RECORDINGS)


def _copy_plain_files(pack: Pack, target: Path, stages: Sequence[str]) -> None:
    files = [pack.files.config, pack.files.bpe_model, pack.files.w2v_bert_config, pack.files.bigvgan_config]
    if "text" in stages:
        files.append(pack.directory / "golden" / "text.json")
    if _reads_recordings(stages):
        files += [pack.directory / pack.settings[name] for name in ("prompt_wav", "emo_wav")]
    for file in files:
        _write(target / file.relative_to(pack.directory), file.read_bytes())


def _copy_goldens(pack: Pack, target: Path, stages: Mapping[str, Mapping[str, Any]]) -> None:
    used: dict[str, set[str]] = {}
    for stage in stages.values():
        for entry in stage["tensors"].values():
            used.setdefault(entry["file"], set()).add(entry["key"])
    for file, keys in used.items():
        stored = load_file(pack.directory / file)
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        save_file({key: stored[key] for key in sorted(keys)}, target / file)


def _copy_weights(pack: Pack, target: Path, stages: Sequence[str], mantissa_bits: int) -> None:
    kept = [PARTS[name] for name in sorted({name for stage in stages for name in READS[stage]})]
    for file in sorted({part.file for part in PARTS.values()}):
        patterns = [part.pattern for part in kept if part.file == file]

        def change(name: str, value: Array, patterns: Sequence[str] = patterns) -> Array:
            is_read = any(re.fullmatch(pattern, name) for pattern in patterns)
            return rounded(value, mantissa_bits) if is_read else np.zeros_like(value)

        source: Path = getattr(pack.files, file)
        _copy_weight_file(source, target / source.relative_to(pack.directory), change)


def _copy_weight_file(source: Path, target: Path, change: Callable[[str, Array], Array]) -> None:
    """Write a weight file anew with the same names, nesting, shapes and types."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".safetensors":
        save_file({name: change(name, value) for name, value in load_file(source).items()}, target)
        return

    def changed(content: Any, name: str) -> Any:  # nested dicts of tensors, or one tensor
        if isinstance(content, Tensor):
            return torch.from_numpy(change(name, content.contiguous().numpy()))
        return {key: changed(value, f"{name}.{key}".lstrip(".")) for key, value in content.items()}

    torch.save(changed(torch.load(source, map_location="cpu", weights_only=True), ""), target)


def rounded(value: Array, mantissa_bits: int) -> Array:
    """Round float32 values to fewer bits of mantissa; other types pass unchanged."""
    dropped = FULL_MANTISSA - mantissa_bits
    if value.dtype != np.float32 or not dropped:
        return value
    bits = value.view(np.uint32).astype(np.uint64)
    kept = (bits + (1 << (dropped - 1))) >> dropped << dropped
    return kept.astype(np.uint32).view(np.float32)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def archive(directory: Path) -> bytes:
    """Tar and compress a directory; equal files give equal bytes."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in sorted(path for path in directory.rglob("*") if path.is_file()):
            member = tarfile.TarInfo(path.relative_to(directory).as_posix())
            member.size, member.mode = path.stat().st_size, 0o644
            tar.addfile(member, io.BytesIO(path.read_bytes()))
    # Most of it is float32 at addresses divisible by four: what a byte is depends on its place in the number.
    lzma2 = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 2, "lp": 2, "pb": 2}
    return lzma.compress(plain.getvalue(), format=lzma.FORMAT_XZ, filters=[lzma2])


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.parity.trim", description=__doc__)
    parser.add_argument("pack", type=Path, help="directory with a manifest.json")
    parser.add_argument("out", type=Path, help="the .tar.xz to write")
    parser.add_argument("--stages", nargs="+", default=KEPT_STAGES, metavar="STAGE", help="default: %(default)s")
    parser.add_argument(
        "--mantissa-bits",
        type=int,
        default=FULL_MANTISSA,
        choices=range(8, FULL_MANTISSA + 1),
        metavar="BITS",
        help="to which the kept weights are rounded; 23 keeps them as they are",
    )
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch)
        try:
            trim(Pack(options.pack), target, options.stages, options.mantissa_bits)
        except TrimError as error:
            print(error, file=sys.stderr)
            return 2
        trimmed = Pack(target)
        by_stage = reproduce(trimmed, trimmed.stages)
        print(table(by_stage))
        missed = [line for comparisons in by_stage.values() for line in misses(comparisons)]
        for line in missed:
            print(f"MISS {line}")
        if missed:
            print(f"{options.out} is not written", file=sys.stderr)
            return 1
        packed = archive(target)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(packed)
    print(f"{options.out}: {len(packed):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
