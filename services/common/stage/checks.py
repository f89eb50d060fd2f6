"""What a stage refuses: names, numbers and tensors that do not fit what it says of itself. Knows no protobuf."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from services.common.arrays import Tensors
from services.common.errors import InvalidRequestError, WrongModelError
from services.common.reasons import Reason
from services.common.stage.spec import ParamSpec, StageSpec, TensorSpec, VoiceStep


def check_model(name: str, revision: str, spec: StageSpec, *, field: str) -> None:
    """Raise WrongModelError when a model or revision is asked for that this stage does not serve."""
    for what, asked, have in (("model", name, spec.model), ("revision", revision, spec.revision)):
        if asked and asked != have:
            raise WrongModelError(
                f"{what} {asked!r} is asked for; this worker serves {have!r}",
                field=f"{field}.{what}",
                stage=spec.stage,
            )


def complete_params(given: Mapping[str, float], spec: StageSpec) -> dict[str, float]:
    """All parameters of the stage, with its defaults for those that are not given.

    Raises:
        InvalidRequestError: The stage has no parameter of a name, or a value is out of its range.
    """
    known = {param.name: param for param in spec.params}
    for name, value in given.items():
        if name not in known:
            allowed = ", ".join(known) or "none"
            raise InvalidRequestError(
                f"parameter {name!r} is not one of: {allowed}",
                field=f"open.params[{name}]",
                reason=Reason.CAPABILITY_MISSING,
                metadata={"capability": name},
            )
        _check_param(value, known[name])
    return {param.name: param.default for param in spec.params} | dict(given)


def _check_param(value: float, param: ParamSpec) -> None:
    if param.accepts(value):
        return
    raise InvalidRequestError(
        f"{param.name} is {value:g}; {param.allowed} are allowed",
        field=f"open.params[{param.name}]",
        reason=Reason.OUT_OF_RANGE,
        metadata={"minimum": f"{param.minimum:g}", "maximum": f"{param.maximum:g}"},
    )


def check_instruction(instruction: str, spec: StageSpec) -> None:
    """Raise InvalidRequestError when there is one that the stage would ignore."""
    if instruction and not spec.takes_instruction:
        raise _missing("instruction", "this stage takes no instruction", field="open.instruction")


def check_speaker(speaker: str, spec: StageSpec) -> None:
    """Raise InvalidRequestError unless the speaker is one of the stage's own, or none is named."""
    if not speaker or speaker in spec.speakers:
        return
    if not spec.speakers:
        raise _missing("speaker", "this stage has no speakers of its own", field="open.speaker")
    raise InvalidRequestError(
        f"the speaker is not one of: {', '.join(spec.speakers)}", field="open.speaker", reason=Reason.OUT_OF_RANGE
    )


def check_language(language: str, spec: StageSpec) -> None:
    """Raise InvalidRequestError when the stage names languages and this is none of them.

    Tags are compared as BCP-47 says: whatever their case.
    """
    known = {tag.lower() for tag in spec.languages}
    if language and known and language.lower() not in known:
        raise InvalidRequestError(
            f"the language is not one of: {', '.join(spec.languages)}",
            field="open.language",
            reason=Reason.LANGUAGE_NOT_SUPPORTED,
        )


def check_voice(voice: Tensors, spec: StageSpec) -> None:
    """Raise InvalidRequestError unless the tensors are what the stage needs of a voice."""
    check_named(voice, spec.conditions, field="voice.tensors")


def check_options(options: Tensors, spec: StageSpec) -> None:
    """Raise InvalidRequestError unless the tensors are options of the stage; each one may be absent."""
    optional = tuple(TensorSpec(item.name, item.dtype, item.shape, is_optional=True) for item in spec.options)
    check_named(options, optional, field="open.options")


def check_voice_step(given: Tensors, step: VoiceStep) -> None:
    """Raise InvalidRequestError unless the tensors are what the voice step takes."""
    check_named(given, step.takes, field="tensors")
    for name, array in given.items():
        rate = name.removeprefix("audio_")
        if not rate.isdigit():
            continue
        least, most = int(rate) // 2, int(int(rate) * step.max_audio_seconds) + 1
        if not least <= len(array) <= most:
            raise tensor_error(
                f"{name} has {len(array)} samples; {least} to {most} are allowed", field=f"tensors[{name}]"
            )


def check_named(given: Tensors, specs: tuple[TensorSpec, ...], *, field: str) -> None:
    """Raise InvalidRequestError unless the arrays are those of the specs, of their kind, not empty and finite."""
    check_kinds(given, specs, field=field)
    for name, array in given.items():
        if not array.size or not np.isfinite(array).all():
            raise tensor_error(f"tensor {name!r} is empty or holds numbers that are not finite", f"{field}[{name}]")


def check_kinds(given: Tensors, specs: tuple[TensorSpec, ...], *, field: str) -> None:
    """Raise InvalidRequestError unless the arrays have the names, element types and shapes of the specs."""
    known = {spec.name: spec for spec in specs}
    for name in given:
        if name not in known:
            raise tensor_error(f"tensor {name!r} is not one of: {', '.join(known) or 'none'}", field)
    for name, spec in known.items():
        array = given.get(name)
        if array is None:
            if not spec.is_optional:
                raise tensor_error(f"tensor {name!r} is missing", field)
        elif not spec.accepts(array.dtype.name, array.shape):
            raise tensor_error(
                f"tensor {name!r} is {array.dtype.name} {list(array.shape)}, not {spec.dtype} {list(spec.shape)}",
                f"{field}[{name}]",
            )


def tensor_error(message: str, field: str) -> InvalidRequestError:
    return InvalidRequestError(message, field=field, reason=Reason.TENSOR_INVALID)


def _missing(capability: str, message: str, *, field: str) -> InvalidRequestError:
    return InvalidRequestError(
        message, field=field, reason=Reason.CAPABILITY_MISSING, metadata={"capability": capability}
    )
