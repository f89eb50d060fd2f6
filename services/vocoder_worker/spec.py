"""What the vocoder stage says of itself."""

from __future__ import annotations

from services.common.checkpoint import CheckpointConfig
from services.common.indextts2 import all_policies, mel_edge, pcm_edge
from services.common.stage.spec import DeviceInfo, StageSpec


def stage_spec(config: CheckpointConfig, *, revision: str, slots: int, device: DeviceInfo) -> StageSpec:
    return StageSpec(
        stage="vocoder",
        model=config.triptych.name,
        revision=revision,
        takes=mel_edge(config),
        gives=pcm_edge(config),
        slots=slots,
        device=device,
        policies=all_policies(config),
        languages=tuple(config.triptych.languages),
        input_window_chunks=8,
    )
