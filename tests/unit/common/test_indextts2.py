"""What the workers of a checkpoint state together."""

from __future__ import annotations

from services.common.checkpoint import CheckpointConfig
from services.common.indextts2 import all_policies, streaming_policies

OFFICIAL = CheckpointConfig()


def test_the_streaming_profiles_come_first_and_a_whole_render_last() -> None:
    stated = all_policies(OFFICIAL)

    assert stated[:-1] == streaming_policies(OFFICIAL)
    assert [policy.is_whole for policy in stated] == [False, False, False, True]
    assert stated[-1].name == "whole"


def test_a_whole_render_sees_the_longest_prompt_and_is_solved_as_published() -> None:
    """Streams pay for their prompt in every window, so theirs is shorter."""
    *streaming, whole = all_policies(OFFICIAL)

    assert whole.prompt_seconds == 15 > max(policy.prompt_seconds for policy in streaming)
    assert whole.params == {}


def test_a_checkpoint_has_its_own_whole_render() -> None:
    own = {"prompt_seconds": 1.5, "params": {"steps": 16}}
    config = CheckpointConfig.model_validate({"triptych": {"whole": own}})

    assert all_policies(config)[-1].prompt_seconds == 1.5
    assert all_policies(config)[-1].params == {"steps": 16}
    assert config.triptych.policy_table()["whole"] == own, "the revision covers it"
