"""All ops of one utterance, whole or streamed under a policy."""

from __future__ import annotations

from dataclasses import dataclass

from bench.roofline.devices import Device
from bench.roofline.ops import Op, condition, decode_step, euler_step, prefill, vocoder
from bench.stages.workload import FRAMES_PER_SECOND, Sizes, Workload
from services.common.indextts2 import streaming_policies
from services.common.stage.policy import Policy
from services.s2mel_worker.model.windows import all_windows, frames_of


@dataclass(frozen=True)
class Stage:
    """The three stages' ops for one utterance under a policy."""

    gpt: list[Op]
    s2mel: list[Op]
    vocoder: list[Op]

    def seconds(self, device: Device) -> tuple[float, float, float]:
        return (
            device.seconds(self.gpt),
            device.seconds(self.s2mel),
            device.seconds(self.vocoder, is_vocoder=True),
        )


def whole(sizes: Sizes, load: Workload) -> Stage:
    """The utterance rendered in one piece."""
    frames = load.prompt_frames + load.frames
    return Stage(
        prefill(sizes, load) + decode_step(sizes, load) * (load.codes - 1),
        condition(sizes, load.codes, load.frames) + euler_step(sizes, frames) * load.steps,
        vocoder(sizes, load.frames),
    )


def streamed(sizes: Sizes, load: Workload, policy: Policy) -> Stage:
    """The utterance in the windows of a policy, its prompt no longer than the workload's."""
    steps = int(policy.params.get("steps", load.steps))
    prompt = _prompt_frames(load, policy)
    flow: list[Op] = []
    sound: list[Op] = []
    for window in all_windows(policy, load.codes):
        stop = min(window.look_ahead_stop, load.codes)
        seen = frames_of(stop) - frames_of(window.prefix_start)
        flow += condition(sizes, stop - window.prefix_start, seen) + euler_step(sizes, prompt + seen) * steps
        context = policy.vocoder_context_frames + policy.vocoder_look_ahead_frames
        sound += vocoder(sizes, window.num_frames + context)
    return Stage(prefill(sizes, load) + decode_step(sizes, load) * (load.codes - 1), flow, sound)


def first_audio(sizes: Sizes, load: Workload, policy: Policy) -> Stage:
    """What must be done before the first samples are there; text, voice and transport come on top."""
    codes = policy.first_window_codes + max(1, policy.look_ahead_codes)
    seen = frames_of(policy.first_window_codes + policy.look_ahead_codes)
    steps = int(policy.params.get("steps", load.steps))
    return Stage(
        prefill(sizes, load) + decode_step(sizes, load) * (codes - 1),
        condition(sizes, codes, seen) + euler_step(sizes, _prompt_frames(load, policy) + seen) * steps,
        vocoder(sizes, frames_of(policy.first_window_codes)),
    )


def _prompt_frames(load: Workload, policy: Policy) -> int:
    return min(load.prompt_frames, int(policy.prompt_seconds * FRAMES_PER_SECOND))


def plans(sizes: Sizes, load: Workload) -> list[tuple[str, Stage, Stage]]:
    """Name, all work and the work before the first audio: of the whole render and of each policy."""
    piece = whole(sizes, load)
    made = [(f"whole, {load.steps} steps", piece, piece)]
    for policy in streaming_policies(sizes.config):
        steps = int(policy.params.get("steps", load.steps))
        name = f"{policy.name}, {steps} steps"
        made.append((name, streamed(sizes, load, policy), first_audio(sizes, load, policy)))
    return made
