"""Parameters that would do nothing beside others: they are refused, never ignored. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from protos.tts.stages.v1 import stage_pb2
from services.common.errors import InvalidRequestError
from services.common.reasons import Reason
from services.frontend.request.public_paths import field_of_param

DRAWING = ("temperature", "top_p", "top_k")


def check_conflicts(values: Mapping[str, float], declared: Mapping[str, stage_pb2.ParamSpec]) -> None:
    """Check the parameters that a request sets against each other and against the model's defaults.

    Args:
        values: Those that the request sets.
        declared: All that the model has.

    Raises:
        InvalidRequestError: One of them would have no effect, or is not to be had with the others.
    """

    def value(name: str) -> float:
        return values.get(name, declared[name].default_value if name in declared else 0.0)

    if "num_beams" in declared and value("num_beams") > 1 and "compat" in declared and not value("compat"):
        raise _conflict("num_beams", "above 1 needs policy compat")
    if "length_penalty" in values and "num_beams" in declared and value("num_beams") <= 1:
        raise _conflict("length_penalty", f"has no effect unless {field_of_param('num_beams')} is above 1")
    if value("greedy"):
        for name in DRAWING:
            if name in values:
                raise _conflict(name, f"has no effect with {field_of_param('greedy')}, which draws nothing")


def _conflict(name: str, why: str) -> InvalidRequestError:
    path = field_of_param(name)
    return InvalidRequestError(f"{path} {why}", field=path, reason=Reason.FIELD_CONFLICT)
