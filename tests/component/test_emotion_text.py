"""Emotion by text on the real path: a checkpoint with a very small chat model in its folder, loaded and asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import (  # type: ignore[import-untyped]
    AddedToken,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
)
from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from services.common.checkpoint import CheckpointError, CheckpointFiles
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.gpt_worker.emotion_text.classifier import (
    END_OF_THINKING,
    MAX_ANSWER_TOKENS,
    EmotionClassifier,
    after_thinking,
    load_classifier,
)
from services.gpt_worker.engine import GptEngine
from services.gpt_worker.loading import load_engine
from services.gpt_worker.settings import GptWorkerSettings

MINI = Path("models/mini")
ANSWER = '{"愤怒": 0.75, "悲伤": 0.25}'
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
CPU = torch.device("cpu")


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, and one token that is a whole answer."""
    alphabet = {character: index for index, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|im_start|>"), AddedToken("<|im_end|>")])
    tokenizer.add_tokens([AddedToken(ANSWER, normalized=False)])
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>")
    made.chat_template = TEMPLATE
    return made


def make_model(tokenizer: PreTrainedTokenizerFast, successors: dict[int, int]) -> Qwen3ForCausalLM:
    """A random Qwen3 whose layers hardly count: after a token comes its successor."""
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=32,
            max_position_embeddings=4096,
            tie_word_embeddings=False,
        )
    )
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.mul_(1e-3)
            layer.mlp.down_proj.weight.mul_(1e-3)
        torch.nn.init.normal_(model.model.embed_tokens.weight)
        model.lm_head.weight.zero_()
        for token, following in successors.items():
            # Likeliest, but far from certain: drawing would go astray.
            model.lm_head.weight[following] = 0.02 * model.model.embed_tokens.weight[token]
    # As the published folder has it: the service must answer the same every time in spite of it.
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.6, top_k=20, top_p=0.95, eos_token_id=[tokenizer.eos_token_id]
    )
    return model


def write_folder(folder: Path, *, ends: bool = True) -> None:
    tokenizer = make_tokenizer()
    [newline], answer = tokenizer.encode("\n"), tokenizer.convert_tokens_to_ids(ANSWER)
    successors = {newline: answer, answer: tokenizer.eos_token_id if ends else answer}
    make_model(tokenizer, successors).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded checkpoint with a text-to-emotion model beside it."""
    directory = tmp_path_factory.mktemp("checkpoint") / "mini"
    directory.mkdir()
    for item in MINI.iterdir():
        (directory / item.name).symlink_to(item.resolve())
    write_folder(CheckpointFiles.locate(directory).qwen)
    return directory


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> GptEngine:
    return load_engine(GptWorkerSettings(model_dir=checkpoint, device="cpu", slots=1))


@pytest.fixture(scope="module")
def classifier(checkpoint: Path) -> EmotionClassifier:
    made = load_classifier(CheckpointFiles.locate(checkpoint).qwen, CPU)
    assert made is not None
    return made


def text(description: str) -> dict[str, np.ndarray]:
    return {"emotion_text": np.frombuffer(description.encode(), np.uint8)}


def test_the_option_step_gives_the_vector_that_open_takes(engine: GptEngine) -> None:
    [step] = engine.spec.option_steps
    assert step.name == "emotion_text"
    made = engine.encode_voice(step.name, text("他气得说不出话来"))

    assert tuple(made) == step.gives
    [option] = [spec for spec in engine.spec.options if spec.name == "emotion_vector"]
    assert option.accepts(made["emotion_vector"].dtype.name, made["emotion_vector"].shape)
    assert made["emotion_vector"].tolist() == [0, 0.75, 0.25, 0, 0, 0, 0, 0]


def test_the_description_is_heard(engine: GptEngine) -> None:
    made = engine.encode_voice("emotion_text", text("Deeply depressed."))

    assert made["emotion_vector"].tolist() == [0, 0.75, 0, 0, 0, 0.25, 0, 0]


def test_a_checkpoint_without_the_folder_has_no_such_step() -> None:
    plain = load_engine(GptWorkerSettings(model_dir=MINI, device="cpu", slots=1))

    assert plain.spec.option_steps == ()


def test_the_folder_is_part_of_the_revision(engine: GptEngine) -> None:
    """The emotion decides the codes, and one gateway asks any of the workers for it."""
    plain = load_engine(GptWorkerSettings(model_dir=MINI, device="cpu", slots=1))

    assert engine.spec.revision != plain.spec.revision


def test_the_model_computes_in_float32_on_a_gpu_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = make_tokenizer()
    make_model(tokenizer, {}).half().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    # The type must not depend on the device; this machine may have no other.
    monkeypatch.setattr(Qwen3ForCausalLM, "to", lambda self, _device: self)
    classifier = load_classifier(tmp_path, torch.device("cuda"))

    assert classifier is not None
    assert {weight.dtype for weight in classifier._model.parameters()} == {torch.float32}


def test_the_prompt_is_the_published_one(classifier: EmotionClassifier) -> None:
    assert classifier.prompt("so happy") == (
        "<|im_start|>system\n文本情感分类<|im_end|>\n<|im_start|>user\nso happy<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


def test_the_answer_is_the_likeliest_every_time(classifier: EmotionClassifier) -> None:
    assert {classifier.answer("whatever") for _ in range(3)} == {ANSWER}


def test_an_answer_that_never_ends_is_cut(tmp_path: Path) -> None:
    write_folder(tmp_path, ends=False)
    classifier = load_classifier(tmp_path, CPU)
    assert classifier is not None

    assert classifier.answer("whatever") == ANSWER * MAX_ANSWER_TOKENS
    assert classifier.weights("whatever")[1] == 0.75


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        ([5, END_OF_THINKING, 6, 7], [6, 7]),
        ([END_OF_THINKING, 6, END_OF_THINKING, 7], [7]),
        ([6, 7], [6, 7]),
        ([6, END_OF_THINKING], []),
        ([], []),
    ],
)
def test_thoughts_are_no_part_of_the_answer(ids: list[int], kept: list[int]) -> None:
    assert after_thinking(ids) == kept


def test_a_folder_without_a_model_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be loaded as a text-to-emotion model"):
        load_classifier(tmp_path, CPU)


def test_a_tokenizer_without_a_chat_template_stops_the_start(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(CheckpointError, match="chat template"):
        load_classifier(tmp_path, CPU)


def test_descriptions_that_are_too_long_or_no_text_are_refused(engine: GptEngine) -> None:
    with pytest.raises(InvalidRequestError, match="4096") as long:
        engine.encode_voice("emotion_text", text("a" * 4097))
    with pytest.raises(InvalidRequestError, match="UTF-8") as broken:
        engine.encode_voice("emotion_text", {"emotion_text": np.array([0xFF], np.uint8)})

    assert long.value.reason is Reason.TEXT_TOO_LONG
    assert broken.value.reason is Reason.TENSOR_INVALID
