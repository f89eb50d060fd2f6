"""config.yaml of the mini voice: the official sections at small sizes, and what the project adds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from recipes.mini import dims
from recipes.mini.phonemes import SPECIAL, alphabet
from services.common.checkpoint import CheckpointConfig

# Multistep with early steps: at 4 steps as near to the end of the flow as 10 equal Euler steps.
SOLVER = {"sway": -0.5, "solver_order": 2}
# Codes of a first window and its look-ahead, and those of the windows behind it, end with a chunk or little before:
# whatever a stage waits for beyond its need is late. Prompt, first window and look-ahead fill 96 rows (`latency`: 64),
# the second window's 128: S2Mel computes multiples of 32.
POLICIES: dict[str, Any] = {
    "balanced": {
        "codes_per_chunk": 11,
        "first_window_codes": 28,
        "window_growth": 1.18,
        "max_window_codes": 100,
        "look_ahead_codes": 5,
        "prefix_codes": 13,
        "prompt_seconds": 0.47,
        "crossfade_frames": 8,
        "vocoder_context_frames": 16,
        "vocoder_look_ahead_frames": 8,
        "params": {"steps": 4, **SOLVER},
    },
    "latency": {
        "codes_per_chunk": 10,
        "first_window_codes": 15,
        "window_growth": 1.2,
        "max_window_codes": 100,
        "look_ahead_codes": 5,
        "prefix_codes": 15,
        "prompt_seconds": 0.35,
        "crossfade_frames": 8,
        "vocoder_context_frames": 16,
        "vocoder_look_ahead_frames": 4,
        "params": {"steps": 4, **SOLVER},
    },
    "throughput": {
        "codes_per_chunk": 20,
        "first_window_codes": 50,
        "window_growth": 2.0,
        "max_window_codes": 200,
        "look_ahead_codes": 10,
        "prefix_codes": 25,
        "prompt_seconds": 1.5,
        "crossfade_frames": 8,
        "vocoder_context_frames": 16,
        "vocoder_look_ahead_frames": 12,
        "params": {"steps": 6, **SOLVER},
    },
}

# Steps enough that more would not be heard, and the longest prompt that the flow was trained with.
WHOLE: dict[str, Any] = {"prompt_seconds": 1.5, "params": {"steps": 16, **SOLVER}}


def official_sections() -> dict[str, Any]:
    num_tokens = len(alphabet()) + len(SPECIAL)
    kind = {"input_layer": "conv2d2", "perceiver_mult": 2}
    speaker = {
        "output_size": dims.CONDITION_WIDTH,
        "linear_units": dims.CONDITION_FFN,
        "attention_heads": 2,
        "num_blocks": 2,
        **kind,
    }
    emotion = {
        "output_size": dims.EMOTION_CONDITION_WIDTH,
        "linear_units": dims.EMOTION_CONDITION_FFN,
        "attention_heads": 2,
        "num_blocks": 1,
        **kind,
    }
    gpt = {
        "model_dim": dims.LATENT_WIDTH,
        "max_mel_tokens": dims.MAX_MEL_TOKENS,
        "max_text_tokens": dims.MAX_TEXT_TOKENS,
        "heads": dims.GPT_HEADS,
        "use_mel_codes_as_input": True,
        "mel_length_compression": 1024,
        "layers": dims.GPT_LAYERS,
        "number_text_tokens": num_tokens,
        "number_mel_codes": dims.CODEBOOK_SIZE + 2,
        "start_mel_token": dims.START_CODE,
        "stop_mel_token": dims.STOP_CODE,
        "start_text_token": dims.START_TEXT,
        "stop_text_token": dims.STOP_TEXT,
        "train_solo_embeddings": False,
        "condition_type": "conformer_perceiver",
        "condition_module": speaker,
        "emo_condition_module": emotion,
    }
    codec = {
        "codebook_size": dims.CODEBOOK_SIZE,
        "hidden_size": dims.ENCODER_WIDTH,
        "codebook_dim": dims.CODEBOOK_WIDTH,
        "vocos_dim": dims.VOCOS_WIDTH,
        "vocos_intermediate_dim": dims.VOCOS_FFN,
        "vocos_num_layers": dims.VOCOS_LAYERS,
    }
    return {"gpt": gpt, "semantic_codec": codec, "s2mel": s2mel_section()}


def s2mel_section() -> dict[str, Any]:
    width = dims.FLOW_WIDTH
    spectrum = {"n_fft": 1024, "win_length": 1024, "hop_length": 256, "n_mels": 80, "fmin": 0, "fmax": "None"}
    regulator = {
        "channels": width,
        "is_discrete": False,
        "in_channels": dims.ENCODER_WIDTH,
        "content_codebook_size": 1,
        "sampling_ratios": [1, 1, 1, 1],
        "vector_quantize": False,
        "n_codebooks": 1,
        "quantizer_dropout": 0.0,
        "f0_condition": False,
        "n_f0_bins": 512,
    }
    transformer = {
        "hidden_dim": width,
        "num_heads": dims.FLOW_HEADS,
        "depth": dims.FLOW_DEPTH,
        "class_dropout_prob": 0.1,
        "block_size": 8192,
        "in_channels": dims.NUM_MELS,
        "style_condition": True,
        "final_layer_type": "wavenet",
        "target": "mel",
        "content_dim": width,
        "content_codebook_size": 1,
        "content_type": "discrete",
        "f0_condition": False,
        "n_f0_bins": 512,
        "content_codebooks": 1,
        "is_causal": False,
        "long_skip_connection": True,
        "zero_prompt_speech_token": False,
        "time_as_token": False,
        "style_as_token": False,
        "uvit_skip_connection": True,
        "add_resblock_in_transformer": False,
    }
    wavenet = {
        "hidden_dim": width,
        "num_layers": dims.WAVENET_LAYERS,
        "kernel_size": 5,
        "dilation_rate": 1,
        "p_dropout": 0.2,
        "style_condition": True,
    }
    return {
        "preprocess_params": {"sr": 22050, "spect_params": spectrum},
        "dit_type": "DiT",
        "reg_loss_type": "l1",
        "style_encoder": {"dim": dims.STYLE_WIDTH},
        "length_regulator": regulator,
        "DiT": transformer,
        "wavenet": wavenet,
    }


def document() -> dict[str, Any]:
    """Everything that config.yaml holds."""
    return {
        "dataset": {"bpe_model": "bpe.model", "sample_rate": 24000, "squeeze": False},
        **official_sections(),
        "gpt_checkpoint": "gpt.pth",
        "w2v_stat": "wav2vec2bert_stats.pt",
        "s2mel_checkpoint": "s2mel.pth",
        "emo_matrix": "feat2.pt",
        "spk_matrix": "feat1.pt",
        "emo_num": [1] * 8,
        "qwen_emo_path": "qwen0.6bemo4-merge/",
        "vocoder": {"type": "bigvgan", "name": "nvidia/bigvgan_v2_22khz_80band_256x"},
        "version": 2.0,
        "semantic_encoder": {"hidden_size": dims.ENCODER_WIDTH, "layer": dims.ENCODER_LAYERS},
        "triptych": {
            "name": "mini",
            "text": {
                "frontend": "phonemes",
                "g2p": "hibari",
                "uppercase": False,
                "max_text_tokens_per_segment": 160,
            },
            "sampling": {
                "num_beams": 1,
                "temperature": 0.9,
                "top_k": 30,
                "top_p": 0.9,
                "repetition_penalty": 1.0,
                "max_mel_tokens": 600,
            },
            # The flow gives the guided velocity by itself.
            "flow": {"steps": 8, "cfg_rate": 0.0},
            "policies": POLICIES,
            "whole": WHOLE,
            "languages": ["en"],
        },
    }


def config() -> CheckpointConfig:
    """The same, as the services' loaders see it."""
    return CheckpointConfig.model_validate(document())


def write(root: Path) -> None:
    text = yaml.safe_dump(document(), sort_keys=False, allow_unicode=True)
    note = "# Made by `python -m recipes.mini.export`. The section `triptych` is this project's addition.\n"
    (root / "config.yaml").write_text(note + text)
