"""The settings of every process, by process and table; made by `make configuration`, do not edit.

Processes may share a file and an environment, and none may import another: this is how one tells
a setting of another process from a misspelt one.
"""

from __future__ import annotations

KNOWN: dict[str, dict[str, tuple[str, ...]]] = {
    "frontend": {
        "model": (
            "model_dir",
            "more_models",
            "voices_dir",
            "voice_store",
            "default_voice",
            "default_policy",
        ),
        "runtime": (
            "max_unary_characters",
            "max_stream_characters",
            "max_queue",
            "max_streams",
            "max_uploads",
            "max_voice_bytes",
            "max_inline_voice_bytes",
            "decode_memory_mb",
            "decode_seconds",
            "priority_interactive",
            "priority_batch",
            "upload_idle_seconds",
            "text_idle_seconds",
            "stream_idle_seconds",
            "client_lead_seconds",
            "stage_lead_seconds",
            "client_stall_seconds",
            "open_retry_seconds",
            "heartbeat_silence_seconds",
        ),
        "server": (
            "address",
            "metrics_port",
            "log_level",
            "drain_seconds",
            "settle_seconds",
            "otlp_endpoint",
            "workers",
            "api_token",
        ),
    },
    "gpt": {
        "model": ("model_dir",),
        "runtime": (
            "slots",
            "max_batch_size",
            "batch_window_ms",
            "voice_cache_mb",
            "threads",
            "device",
            "dtype",
            "gpu_memory_mb",
            "voice_encoders",
            "prefix_cache_mb",
        ),
        "server": (
            "address",
            "metrics_port",
            "log_level",
            "drain_seconds",
            "settle_seconds",
            "otlp_endpoint",
        ),
    },
    "s2mel": {
        "model": ("model_dir",),
        "runtime": (
            "slots",
            "max_batch_size",
            "batch_window_ms",
            "voice_cache_mb",
            "threads",
            "device",
            "dtype",
            "gpu_memory_mb",
            "voice_encoders",
        ),
        "server": (
            "address",
            "metrics_port",
            "log_level",
            "drain_seconds",
            "settle_seconds",
            "otlp_endpoint",
        ),
    },
    "vocoder": {
        "model": ("model_dir",),
        "runtime": (
            "slots",
            "max_batch_size",
            "batch_window_ms",
            "voice_cache_mb",
            "threads",
            "device",
            "dtype",
            "gpu_memory_mb",
            "gpu_provider",
            "tensorrt_cache_dir",
        ),
        "server": (
            "address",
            "metrics_port",
            "log_level",
            "drain_seconds",
            "settle_seconds",
            "otlp_endpoint",
        ),
    },
}
