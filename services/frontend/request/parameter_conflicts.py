"""What a request sets, its policy and the model's defaults, put together. What would be ignored is refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from protos.tts.stages.v1 import stage_pb2
from services.common.errors import InvalidRequestError
from services.common.parameter_conflicts import Conflict, conflicts
from services.common.reasons import Reason
from services.frontend.request.public_paths import field_of_param


def merged(
    given: Mapping[str, float], policy: stage_pb2.Policy, declared: Mapping[str, stage_pb2.ParamSpec]
) -> dict[str, float]:
    """The parameters that a request sets, and those that its policy sets beside them.

    A policy's value is a default: the request's own goes before it, and it gives way where it would do nothing beside
    what the request sets. The request's own must have an effect beside all that holds.

    Raises:
        InvalidRequestError: One of them would have no effect, or is not to be had with the others; it says which of
            them the policy sets.
    """
    defaults = {name: spec.default_value for name, spec in declared.items()}
    beside = {name: value for name, value in policy.params.items() if name in declared and name not in given}
    for conflict in conflicts({**defaults, **beside, **given}):
        if conflict.name in given:
            raise _of_request(conflict, beside, policy)
        if not conflict.is_vain:
            raise _of_others(conflict, beside, policy)
        beside.pop(conflict.name, None)
    return beside | dict(given)


def _of_request(conflict: Conflict, beside: Mapping[str, float], policy: stage_pb2.Policy) -> InvalidRequestError:
    path, other = field_of_param(conflict.name), field_of_param(conflict.other)
    message = f"{path} {conflict.why.format(other=other)}"
    if conflict.other in beside:
        message += f"; policy {policy.name} sets {other} to {beside[conflict.other]:g}"
    return InvalidRequestError(message, field=path, reason=Reason.FIELD_CONFLICT)


def _of_others(conflict: Conflict, beside: Mapping[str, float], policy: stage_pb2.Policy) -> InvalidRequestError:
    """The refusal of what no caller has set, and what a request can mend all the same."""
    name, why = field_of_param(conflict.name), conflict.why.format(other=field_of_param(conflict.other))
    if conflict.name not in beside:
        return InvalidRequestError(f"{name} {why}", field=name, reason=Reason.FIELD_CONFLICT)
    return InvalidRequestError(
        f"policy {policy.name} sets {name} to {beside[conflict.name]:g}, and {name} {why}",
        field="config.render.policy",
        reason=Reason.FIELD_CONFLICT,
    )
