"""Runs the published text-to-emotion model, a small chat model that answers in JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from services.common.checkpoint import CheckpointError
from services.gpt_worker.emotion_text.answer import weights_of

TASK = "文本情感分类"
"""The system prompt that the model was trained with."""

END_OF_THINKING = 151668
"""Id of </think>: what stands before it is no answer."""

MAX_ANSWER_TOKENS = 128
"""Eight labels with numbers take about 60. The reference allows 32768, minutes of work for an answer gone astray."""


class EmotionClassifier:
    """One loaded model. Not thread-safe."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer

    def weights(self, description: str) -> list[float]:
        """Eight weights from 0 to 1.2, in the order of `model.emotion`, for a text that describes an emotion."""
        return weights_of(self.answer(description), description)

    @torch.inference_mode()
    def answer(self, description: str) -> str:
        """What the model writes; always the same for the same description."""
        inputs = self._tokenizer([self.prompt(description)], return_tensors="pt").to(self._model.device)
        output = self._model.generate(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        made = output[0, inputs["input_ids"].shape[1] :].tolist()
        answer: str = self._tokenizer.decode(after_thinking(made), skip_special_tokens=True)
        return answer.strip()

    def prompt(self, description: str) -> str:
        messages = [{"role": "system", "content": TASK}, {"role": "user", "content": description}]
        prompt: str = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        return prompt


def after_thinking(ids: Sequence[int]) -> list[int]:
    """What follows the last </think>; everything where there is none."""
    thought = [index for index, each in enumerate(ids) if each == END_OF_THINKING]
    return list(ids[thought[-1] + 1 :]) if thought else list(ids)


def load_classifier(directory: Path, device: torch.device) -> EmotionClassifier | None:
    """Load the model, or None where the checkpoint comes without it.

    float32 on every device, where the published code takes half precision on a GPU: the same description must give
    the same emotion wherever the worker runs.

    Raises:
        CheckpointError: The directory is there, but holds no usable model.
    """
    if not directory.is_dir():
        return None
    # Seconds to import, for a model that most checkpoints come without.
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True, dtype=torch.float32)
    except Exception as error:
        raise CheckpointError(f"{directory}: cannot be loaded as a text-to-emotion model: {error}") from error
    if tokenizer.chat_template is None:
        raise CheckpointError(f"{directory}: the tokenizer has no chat template")
    model.generation_config = _greedy(model.generation_config, tokenizer)
    return EmotionClassifier(model.to(device).eval(), tokenizer)


def _greedy(published: Any, tokenizer: Any) -> Any:
    """The model's own way to end an answer, without its sampling: the same text must give the same emotion."""
    from transformers import GenerationConfig  # noqa: PLC0415

    ends = published.eos_token_id if published.eos_token_id is not None else tokenizer.eos_token_id
    pad = published.pad_token_id if published.pad_token_id is not None else tokenizer.pad_token_id
    return GenerationConfig(do_sample=False, max_new_tokens=MAX_ANSWER_TOKENS, eos_token_id=ends, pad_token_id=pad)
