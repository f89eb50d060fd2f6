"""From settings to an engine: the checkpoint's weights on a device, in a numeric mode, with as many slots as fit."""

from __future__ import annotations

import structlog
import torch

from services.common import torch_runtime
from services.common.checkpoint import CheckpointFiles, load_config, revision
from services.common.devices import numeric_mode, stage_dtype
from services.common.stage.slots import MEBIBYTE
from services.gpt_worker.emotion_text.classifier import load_classifier
from services.gpt_worker.engine import GptEngine
from services.gpt_worker.footprint import demand
from services.gpt_worker.model.loading import load_gpt_stage
from services.gpt_worker.settings import GptWorkerSettings
from services.gpt_worker.spec import stage_spec

logger = structlog.get_logger(__name__)


def load_engine(settings: GptWorkerSettings) -> GptEngine:
    """Load the checkpoint that the settings name.

    Raises:
        CheckpointError: A file or tensor is missing, unknown or of another shape, or the device is not to be had, or
            has not the memory.
    """
    device = torch_runtime.prepare(settings)
    with torch_runtime.enough_memory("gpt", device, "load", settings.memory_savers):
        return _load_engine(settings, device)


def _load_engine(settings: GptWorkerSettings, device: torch.device) -> GptEngine:
    config = load_config(settings.model_dir)
    files = CheckpointFiles.locate(settings.model_dir, config)
    mode, cache_bytes = numeric_mode(settings.dtype), settings.prefix_cache_mb * MEBIBYTE
    stage = load_gpt_stage(files, config, device, settings.voice_encoders)
    dtype = stage_dtype(mode, "gpt")
    stage.voice.gpt.convert(dtype)
    classifier = load_classifier(files.qwen, device)
    taken = demand(stage, max_batch_size=settings.max_batch_size, prefix_cache_bytes=cache_bytes)
    spec = stage_spec(
        config,
        stage.voice.dimensions,
        revision=revision(settings.model_dir, mode, config.triptych.policy_table()),
        slots=torch_runtime.fitting_slots(settings, device, stage="gpt", demand=taken),
        device=torch_runtime.describe_device(device, dtype),
        has_emotion_text=classifier is not None,
    )
    engine = GptEngine(stage, spec, classifier, prefix_cache_bytes=cache_bytes, max_batch_size=settings.max_batch_size)
    logger.info("key_value_memory", slots=spec.slots, bytes_per_slot=engine.bytes_per_slot, dtype=dtype)
    return engine
