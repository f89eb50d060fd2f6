"""What may differ between two deployments of any worker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from services.common.devices import checked_device
from services.common.settings import Model, Runtime, ServiceSettings

VoiceEncoders = Literal["device", "cpu", "released"]
"""Where the networks live that only a new voice needs."""

Device = Annotated[str, AfterValidator(checked_device)]


class StageSettings(ServiceSettings):
    """Each worker adds its own environment prefix and default ports."""

    memory_savers: ClassVar[tuple[str, ...]] = ()
    """What a stage takes less GPU memory with, besides fewer slots and smaller batches, as messages say it."""

    model_dir: Model[Path] = Path("models/mini")
    """Checkpoint directory in the official layout; the embedded small one unless set."""

    slots: Runtime[int] = Field(default=4, ge=1, le=256)
    """Utterances that can be in work at once; one more is refused."""

    max_batch_size: Runtime[int] = Field(default=8, ge=1, le=256)
    """Utterances that share one step of the engine, at most; an engine that gains nothing by it takes fewer."""

    batch_window_ms: Runtime[float] = Field(default=0.0, ge=0, le=20)
    """How long work that begins waits for further utterances, when fewer are ready than are open; 0 never waits."""

    voice_cache_mb: Runtime[int] = Field(default=256, ge=0, le=100_000)
    """Memory for the voices that were used last, in MiB; a voice that is not here is sent again by the gateway."""

    threads: Runtime[int] = Field(default=1, ge=1, le=64)
    """CPU threads of one step."""

    niceness: Runtime[int] = Field(default=0, ge=0, le=19)
    """How far this process stands back for others on the same cores, as `nice` counts; for several on one machine."""

    ahead_niceness: Runtime[int] = Field(default=0, ge=0, le=19)
    """How much further steps stand back whose listeners all have a second or more to hear; 0 treats all alike."""

    device: Runtime[Device] = "auto"
    """auto, cpu, cuda or cuda:N. auto takes the first GPU that the process can see, and where there is none the
    CPU, which the log says; cuda fails without a GPU."""

    dtype: Runtime[Literal["auto", "fp32", "fp16", "bf16", "mixed"]] = "auto"
    """Numbers of the heavy steps; auto is fp32 on every device, mixed is bf16 in S2Mel and fp32 elsewhere. Part of the
    model's revision: give all workers of a model the same (TTS_DTYPE), since stages of different revisions make no
    pipeline. The vocoder computes in fp32, but for TensorRT."""

    gpu_memory_mb: Runtime[int] = Field(default=0, ge=0)
    """The most GPU memory, in MiB, that tensors of this process may take; 0 sets no limit. Where it holds fewer slots
    than `slots` says there are fewer, and the log says what each takes. Ignored on a CPU."""
