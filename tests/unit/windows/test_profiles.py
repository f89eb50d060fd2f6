"""Any table of profiles is refused at load, by name, or speaks a segment without an error."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.common.checkpoint import CheckpointConfig, CheckpointError, load_config
from services.common.checkpoint.parameters import gpt_parameters, s2mel_parameters
from services.common.indextts2 import streaming_policies
from services.common.stage.checks import complete_params
from services.common.stage.convert import policy_from_proto, policy_to_proto
from services.common.stage.policy import POLICY_RANGES, Policy
from services.common.stage.session import Chunk, Session
from services.common.stage.spec import DeviceInfo, StageSpec
from services.s2mel_worker.model.crossfade import crossfade
from services.s2mel_worker.model.solver import Solver
from services.s2mel_worker.model.windows import Window, all_windows
from services.vocoder_worker.engine import VocoderEngine
from services.vocoder_worker.spec import stage_spec

HOP, BINS = 2, 80
COMPLAINT = re.compile(r"triptych\.policies\.calm\.[a-z_.]+ = [^:]+: .*(allowed|should be)")
NAMES = [spec.name for make in (gpt_parameters, s2mel_parameters) for spec in make(CheckpointConfig())]


class Loudspeaker:
    """Vocodes without a network: a sample is its frame's first bin."""

    hop_length, batch_limit = HOP, 1

    def __call__(self, mels: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.repeat(mels[:, :, 0], HOP, axis=1)


def near(bounds: tuple[float, float]) -> st.SearchStrategy[float]:
    """Small numbers that are allowed, bounds, and numbers beyond them."""
    least, most = bounds
    small = st.integers(int(np.ceil(least)), int(min(most, 30)))
    return st.one_of(small, small, st.sampled_from([least, most]), st.sampled_from([least - 1, most + 1]))


FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **{name: near(bounds) for name, bounds in POLICY_RANGES.items()},
    "params": st.dictionaries(
        st.sampled_from([*NAMES, "stpes"]),
        st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0, 100.0, 500.0, float("nan")]),
        max_size=2,
    ),
}
ANY = st.fixed_dictionaries({}, optional=FIELDS)
"""What may stand under a profile's name, sense or nonsense."""

SENSIBLE = st.fixed_dictionaries(
    {
        "codes_per_chunk": st.integers(1, 10),
        "first_window_codes": st.integers(15, 40),
        "window_growth": st.floats(1, 8),
        "max_window_codes": st.integers(40, 4096),
        "look_ahead_codes": st.integers(5, 30),
        "prefix_codes": st.integers(0, 1024),
        "prompt_seconds": st.floats(0.1, 15),
        "crossfade_frames": st.integers(0, 8),
        "vocoder_context_frames": st.integers(0, 256),
        "vocoder_look_ahead_frames": st.integers(0, 24),
        "params": st.fixed_dictionaries(
            {},
            optional={
                "steps": st.integers(1, 100),
                "sway": st.floats(-1, 1),
                "solver_order": st.integers(1, 2),
                "guidance_interval": st.integers(1, 100),
                "duration_factor": st.floats(0.5, 2),
                "top_p": st.floats(0.01, 1),
            },
        ),
    }
)
"""Profiles that nothing is wrong with."""

FEW = st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=2, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in names})
)
NEARLY = st.builds(lambda sensible, few: sensible | few, SENSIBLE, FEW)
"""Profiles with one mistake or two, if any."""

PROFILES = st.one_of(NEARLY, NEARLY, SENSIBLE, ANY)


def load(profile: dict[str, Any]) -> CheckpointConfig | str:
    """The config, or what its refusal says."""
    with tempfile.TemporaryDirectory() as directory:
        text = yaml.safe_dump({"triptych": {"policies": {"calm": profile}}})
        (Path(directory) / "config.yaml").write_text(text, encoding="utf-8")
        try:
            return load_config(directory)
        except CheckpointError as refused:
            return str(refused)


@given(profile=SENSIBLE)
def test_a_sensible_table_is_not_refused(profile: dict[str, Any]) -> None:
    assert not isinstance(load(profile), str)


@settings(deadline=None, max_examples=200)
@given(profile=PROFILES, num_codes=st.integers(1, 200), factor=st.sampled_from([0.5, 1.0, 2.0]))
def test_a_table_is_refused_by_name_or_speaks(profile: dict[str, Any], num_codes: int, factor: float) -> None:
    config = load(profile)
    if isinstance(config, str):
        assert COMPLAINT.search(config)
        return

    stated = streaming_policies(config)[0]
    solve(config, stated)
    policy = policy_from_proto(policy_to_proto(stated), Policy())
    frames = np.linspace(-1, 1, num_codes * 4, dtype=np.float32)[:, None].repeat(BINS, axis=1)
    chunks = list(render(policy, num_codes, factor, frames))
    sound = vocode(config, policy, chunks)

    spoken = sum(len(chunk) for chunk in chunks)
    np.testing.assert_array_equal(sound, (32767 * frames[:spoken, 0]).astype(np.int16).repeat(HOP))


@settings(deadline=None, max_examples=200)
@given(profile=PROFILES, num_codes=st.integers(1, 200))
def test_at_the_usual_pace_sound_comes_of_the_first_window_and_blends_are_as_long_as_asked(
    profile: dict[str, Any], num_codes: int
) -> None:
    config = load(profile)
    if isinstance(config, str):
        return

    policy = streaming_policies(config)[0]
    *before_last, _ = all_windows(policy, num_codes)
    for window in before_last:
        assert window.num_frames > policy.vocoder_look_ahead_frames
        assert min(window.num_frames, window.look_ahead_frames) >= policy.crossfade_frames


def solve(config: CheckpointConfig, policy: Policy) -> None:
    """The stages take the profile's parameters, and the solver's steps lead from noise to the end."""
    values: dict[str, float] = {}
    for params in (gpt_parameters(config), s2mel_parameters(config)):
        known = {spec.name for spec in params}
        spec = stage(config, params=params)
        values |= complete_params({name: value for name, value in policy.params.items() if name in known}, spec)
    solver = Solver(int(values["steps"]), values["sway"], int(values["solver_order"]), int(values["guidance_interval"]))
    times = solver.times().tolist()
    assert times == sorted(times)
    assert (times[0], round(times[-1], 5)) == (0, 1)
    assert np.isfinite([solver.weights(times, step) for step in range(solver.num_steps)]).all()


def render(policy: Policy, num_codes: int, factor: float, frames: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The windows' frames with their blends; of a frame every window says the same."""
    chunks = []
    look_ahead = frames[:0]
    for window in all_windows(policy, num_codes, factor):
        mel, behind = seen(window, frames)
        chunks.append(crossfade(mel, look_ahead, policy.crossfade_frames))
        look_ahead = behind[: policy.crossfade_frames]
    return chunks


def seen(window: Window, frames: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    stop = window.first_frame + window.num_frames
    return frames[window.first_frame : stop], frames[stop : stop + window.look_ahead_frames]


def vocode(config: CheckpointConfig, policy: Policy, chunks: list[NDArray[np.float32]]) -> NDArray[np.int16]:
    """All samples of a segment, from the vocoder's own engine."""
    engine = VocoderEngine(Loudspeaker(), stage(config))  # type: ignore[arg-type]
    session = Session("u", 0, policy, {}, {}, {})
    engine.open(session)
    sound, start = [np.zeros(0, np.int16)], 0
    for number, mel in enumerate(chunks, start=1):
        engine.push(session, Chunk(0, start, {"mel": mel}, is_segment_end=number == len(chunks)))
        start += len(mel)
        while engine.is_ready(session):
            for _, output in engine.step([session]):
                assert isinstance(output, Chunk)
                assert output.start == sum(map(len, sound))
                sound.append(np.asarray(output.tensors["pcm"]))
    return np.concatenate(sound)


def stage(config: CheckpointConfig, **fields: Any) -> StageSpec:
    spec = stage_spec(config, revision="r1", slots=1, device=DeviceInfo("none", "cpu", "arithmetic", "float32"))
    return replace(spec, **fields)
