"""The GPT: cached decode, replays, second pass, training."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from services.gpt_worker.model.generation import generate
from services.gpt_worker.model.kv_cache import BUCKET
from services.gpt_worker.model.logits import SamplingOptions
from services.gpt_worker.model.unified_voice import Positions, UnifiedVoice, code_position

TEXT = [5, 9, 3, 12]
CODES = [int(code) for code in torch.randint(0, 16, (90,), generator=torch.Generator().manual_seed(1))]
SAMPLED = SamplingOptions(max_codes=60, repetition_penalty=1.0, temperature=1.5, top_p=1.0)


def prefix_of(voice: UnifiedVoice, conds: Tensor, text: list[int] = TEXT) -> Tensor:
    return voice.embed_prefix(conds, voice.frame_text(text))


def replay(voice: UnifiedVoice, prefix: Tensor, positions: Positions, codes: list[int] = CODES) -> list[Tensor]:
    """Latents of the start and of every code, one step at a time."""
    cache = voice.gpt.new_cache(1, prefix.shape[1] + len(codes))
    steps = [voice.prefill(prefix, cache, 0)]
    for index, code in enumerate(codes, start=1):
        steps.append(voice.decode_step(code, code_position(index, positions), cache, 0))
    return [step.latent for step in steps]


def test_conditioning_adds_emotion_to_latents_and_ends_in_speeds_one_and_zero(voice: UnifiedVoice) -> None:
    latents, emovec = torch.randn(1, 32, 32), torch.randn(1, 32)
    rows = voice.conditioning(latents, emovec)
    assert rows.shape == (1, 34, 32)
    torch.testing.assert_close(rows[0, :32], latents[0] + emovec[0])
    assert torch.equal(rows[0, 32:], voice.speed_emb.weight[[1, 0]])


def test_decode_removes_markers_inside_the_text_and_second_pass_keeps_them(voice: UnifiedVoice, conds: Tensor) -> None:
    assert voice.frame_text([5, 0, 9, 1]).tolist() == [[0, 5, 9, 1]]
    assert voice.frame_text([5, 0, 9, 1], keep_markers=True).tolist() == [[0, 5, 0, 9, 1, 1]]
    with_markers = voice.second_pass(conds, [5, 0, 9, 1], CODES)
    without = voice.second_pass(conds, [5, 9], CODES)
    assert (with_markers - without).abs().max() > 1e-3


def test_positions_skip_one_row_in_compat_only() -> None:
    assert [code_position(index, "compat") for index in range(4)] == [0, 2, 3, 4]
    assert [code_position(index, "fast") for index in range(4)] == [0, 1, 2, 3]


def test_captured_latents_equal_the_second_pass_at_contiguous_positions(voice: UnifiedVoice, conds: Tensor) -> None:
    captured = torch.stack(replay(voice, prefix_of(voice, conds), "fast")[: len(CODES)])
    second = voice.second_pass(conds, TEXT, CODES)
    torch.testing.assert_close(captured, second, atol=2e-5, rtol=1e-4)


def test_published_positions_leave_only_the_first_latent_equal(voice: UnifiedVoice, conds: Tensor) -> None:
    captured = torch.stack(replay(voice, prefix_of(voice, conds), "compat")[: len(CODES)])
    second = voice.second_pass(conds, TEXT, CODES)
    torch.testing.assert_close(captured[0], second[0], atol=2e-5, rtol=1e-4)
    assert (captured[1:] - second[1:]).abs().amax(dim=1).min() > 1e-3


def test_replay_is_equal_bit_for_bit_and_whatever_the_row_held_before(voice: UnifiedVoice, conds: Tensor) -> None:
    """Over a bucket's border, in another row, beside a neighbour, in memory that was used."""
    prefix = prefix_of(voice, conds)
    assert prefix.shape[1] < BUCKET < prefix.shape[1] + len(CODES)
    alone = replay(voice, prefix, "fast")
    cache = voice.gpt.new_cache(3, 256)
    neighbour = prefix_of(voice, conds, [7, 7])
    cache.store.normal_()
    voice.prefill(neighbour, cache, 0)
    beside = [voice.prefill(prefix, cache, 2).latent]
    for index, code in enumerate(CODES, start=1):
        if index % 3:
            voice.decode_step(CODES[-index], min(index, 100), cache, 0)
        beside.append(voice.decode_step(code, code_position(index, "fast"), cache, 2).latent)
    assert all(torch.equal(a, b) for a, b in zip(alone, beside, strict=True))


def test_decode_does_not_depend_on_the_number_of_threads(voice: UnifiedVoice, conds: Tensor) -> None:
    """Workers with other core counts may take a stream over."""
    prefix, threads = prefix_of(voice, conds), torch.get_num_threads()
    try:
        runs = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            runs.append(torch.stack(replay(voice, prefix, "fast")))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])


def test_a_prefix_in_pieces_is_the_prefix(voice: UnifiedVoice, conds: Tensor) -> None:
    prefix = prefix_of(voice, conds)
    cache = voice.gpt.new_cache(2, prefix.shape[1])
    whole = voice.prefill(prefix, cache, 0)
    for piece in torch.split(prefix[0], 7):
        last = voice.extend(piece, cache, 1)
    torch.testing.assert_close(last.latent, whole.latent, atol=2e-5, rtol=1e-4)


def test_a_pasted_prefix_is_the_computed_one_bit_for_bit(voice: UnifiedVoice, conds: Tensor) -> None:
    prefix = prefix_of(voice, conds)[0]
    cache, count = voice.gpt.new_cache(2, len(prefix)), conds.shape[1]
    voice.extend(prefix[:count], cache, 0)
    kept = cache.copy_prefix(0, count)
    computed = voice.extend(prefix[count:], cache, 0)
    cache.store[1].normal_()
    cache.paste_prefix(1, kept)
    assert torch.equal(voice.extend(prefix[count:], cache, 1).latent, computed.latent)


def test_a_copy_of_a_model_decodes_with_its_own_weights(voice: UnifiedVoice, conds: Tensor) -> None:
    prefix = prefix_of(voice, conds)
    first = voice.prefill(prefix, voice.gpt.new_cache(1, 64), 0)
    other = deepcopy(voice)
    other.gpt.get_parameter("h.0.mlp.c_fc.bias").add_(1)
    assert not torch.equal(other.prefill(prefix, other.gpt.new_cache(1, 64), 0).latent, first.latent)
    assert torch.equal(voice.prefill(prefix, voice.gpt.new_cache(1, 64), 0).latent, first.latent)


def test_cache_refuses_to_overflow(voice: UnifiedVoice) -> None:
    cache = voice.gpt.new_cache(1, BUCKET)
    with pytest.raises(ValueError, match="row of 64 positions cannot hold position 65"):
        voice.prefill(torch.zeros(1, 65, 32), cache, 0)


def test_position_beyond_the_table_is_refused(voice: UnifiedVoice) -> None:
    with pytest.raises(ValueError, match="table of 123 rows"):
        voice.embed_codes(torch.tensor([[3]]), 123)


def test_sampled_run_is_a_function_of_its_seed(voice: UnifiedVoice, conds: Tensor) -> None:
    prefix = prefix_of(voice, conds)
    first, again, other = (generate(voice, prefix, SAMPLED, positions="fast", seed=seed).codes for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_generation_ends_with_the_stop_or_at_the_limit(voice: UnifiedVoice, conds: Tensor) -> None:
    run = generate(voice, prefix_of(voice, conds), SAMPLED, positions="fast", seed=4)
    stop = voice.dimensions.stop_code
    assert stop not in run.codes[:-1]
    assert run.codes[-1] == stop or len(run.codes) == SAMPLED.max_codes
    assert len(run.latents) == len(run.logits) == len(run.codes)


def test_training_forward_ignores_padding_and_predicts_as_the_decode(voice: UnifiedVoice, conds: Tensor) -> None:
    short, long = voice.frame_text([5, 9]), voice.frame_text([5, 9, 3, 12])
    padded = torch.cat([torch.nn.functional.pad(short, (0, 2), value=7), long])
    mask = torch.tensor([[True] * 4 + [False] * 2, [True] * 6])
    codes = torch.tensor([CODES[:8], CODES[8:16]])
    both = voice(conds.expand(2, -1, -1), padded, codes, mask)
    alone = voice(conds, short, codes[:1])
    torch.testing.assert_close(both.code_logits[:1], alone.code_logits, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(both.text_logits[:1, :4], alone.text_logits, atol=2e-5, rtol=1e-4)
    decoded = torch.stack(replay(voice, prefix_of(voice, conds), "fast", CODES[8:16]))
    torch.testing.assert_close(both.code_hidden[1], decoded, atol=2e-5, rtol=1e-4)


def test_every_weight_learns() -> None:
    from services.gpt_worker.model.dimensions import GptDimensions
    from tests.model.gpt.conftest import SEMANTIC_WIDTH, tiny_config

    torch.manual_seed(1)
    voice = UnifiedVoice(GptDimensions.from_config(tiny_config())).train()
    spk_cond = torch.randn(2, 30, SEMANTIC_WIDTH)
    conds = voice.conditioning(voice.speaker_latents(spk_cond), voice.emotion_vector(spk_cond))
    output = voice(conds, voice.frame_text(TEXT).expand(2, -1), torch.tensor([CODES[:8], CODES[8:16]]))
    assert output.code_logits.abs().max() < 5
    (output.code_logits.logsumexp(-1).sum() + output.text_logits.logsumexp(-1).sum()).backward()
    assert [name for name, weight in voice.named_parameters() if weight.grad is None] == []
