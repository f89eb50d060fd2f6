"""Beam search against transformers' generate, on random networks small enough to meet the stop often."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from services.gpt_worker.model.beam_search import _beam_scores, beam_search, search
from services.gpt_worker.model.generation import generate
from services.gpt_worker.model.logits import SamplingOptions
from services.gpt_worker.model.unified_voice import UnifiedVoice

VOCABULARY, START, STOP = 9, 7, 8
FAKE_PREFIX = [1, 1, 1, START]
LIMIT = 12


def network(seed: int) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=32, n_embd=16, n_layer=1, n_head=2, initializer_range=0.9,
        bos_token_id=START, eos_token_id=STOP, pad_token_id=STOP,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


@pytest.mark.parametrize("length_penalty", [-2.0, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("repetition_penalty", [1.0, 10.0])
def test_beams_equal_transformers(length_penalty: float, repetition_penalty: float) -> None:
    lengths = set()
    for seed in range(10):
        model = network(seed)
        expected = model.generate(
            torch.tensor([FAKE_PREFIX]), num_beams=3, do_sample=False, early_stopping=False,
            length_penalty=length_penalty, repetition_penalty=repetition_penalty,
            max_new_tokens=LIMIT, attention_mask=torch.ones(1, len(FAKE_PREFIX)),
        )[0, len(FAKE_PREFIX) :].tolist()  # fmt: skip

        def score(live: Sequence[Sequence[int]], origins: Sequence[int], model: GPT2LMHeadModel = model) -> Tensor:
            rows = torch.tensor([[*FAKE_PREFIX, *codes] for codes in live])
            with torch.no_grad():
                logits: Tensor = model(rows).logits[:, -1]
            return logits

        options = SamplingOptions(
            do_sample=False, num_beams=3, max_codes=LIMIT,
            length_penalty=length_penalty, repetition_penalty=repetition_penalty,
        )  # fmt: skip
        found = search(score, options, start_code=START, stop_code=STOP)
        assert found == expected, seed
        lengths.add(len(found))
    assert len(lengths) > 1, "the cases should differ in when they stop"


def test_sampled_beams_are_a_function_of_their_seed(voice: UnifiedVoice, conds: Tensor) -> None:
    prefix = voice.embed_prefix(conds, voice.frame_text([5, 9]))
    options = SamplingOptions(num_beams=3, max_codes=12, temperature=2.0, top_p=1.0, repetition_penalty=1.0)
    runs = [beam_search(voice, prefix, options, seed=seed) for seed in (1, 1, 2, 3)]
    assert runs[0] == runs[1]
    assert len({tuple(run) for run in runs}) > 1
    assert all(0 < len(run) <= 12 for run in runs)


def test_two_candidates_of_every_beam_survive_the_filters() -> None:
    options = SamplingOptions(num_beams=3, top_k=1, top_p=0.01)
    scores = _beam_scores(torch.arange(12.0).view(3, 4), [[], [], []], options, start_code=3)
    assert torch.isfinite(scores).sum(dim=1).tolist() == [2, 2, 2]


def test_sampled_beams_survive_having_fewer_candidates_than_they_draw() -> None:
    logits = torch.full((3, 5), float("-inf"))
    logits[:, 0] = 0.0
    options = SamplingOptions(num_beams=3, max_codes=3, top_k=1, repetition_penalty=1.0)
    assert search(lambda *_: logits, options, start_code=3, stop_code=4)[0] == 0


def test_one_beam_is_greedy(voice: UnifiedVoice, conds: Tensor) -> None:
    prefix = voice.embed_prefix(conds, voice.frame_text([5, 9]))
    options = SamplingOptions(do_sample=False, max_codes=12, repetition_penalty=1.0)
    greedy = generate(voice, prefix, options, positions="compat").codes
    assert beam_search(voice, prefix, options)[: len(greedy)] == greedy
