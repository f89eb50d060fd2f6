"""How stages that describe themselves become a pipeline. Pure: messages in, order out."""

from __future__ import annotations

from collections.abc import Sequence

from protos.tts.stages.v1 import stage_pb2
from services.common.errors import StageLostError
from services.common.reasons import Reason

_NUMBERS = ("kind", "codebooks", "vocabulary", "latent_width", "mel_bins", "sample_rate_hz")


def connects(gives: stage_pb2.Edge, takes: stage_pb2.Edge) -> bool:
    """Whether what one stage gives is what another takes. How far the taker looks ahead does not matter."""
    if any(getattr(gives, name) != getattr(takes, name) for name in _NUMBERS):
        return False
    if gives.rate_numerator * max(takes.rate_denominator, 1) != takes.rate_numerator * max(gives.rate_denominator, 1):
        return False
    given = {spec.name: spec for spec in gives.tensors}
    return all(
        spec.name in given and given[spec.name].dtype == spec.dtype and list(given[spec.name].shape) == list(spec.shape)
        for spec in takes.tensors
        if not (spec.is_optional and spec.name not in given)
    )


def order(stages: Sequence[stage_pb2.DescribeResponse]) -> list[stage_pb2.DescribeResponse]:
    """Sort one model's stages from text to sound.

    Raises:
        StageLostError: A stage is missing, or two stages of different names compete for one place.
    """
    found = ", ".join(stage.stage for stage in stages) or "none"
    takers = [stage for stage in stages if stage.takes.kind == stage_pb2.EDGE_KIND_TEXT]
    chain: list[stage_pb2.DescribeResponse] = []
    wanted = "EDGE_KIND_TEXT"
    while True:
        if len(takers) != 1 or takers[0] in chain:
            problem = "no stage takes" if not takers else "more than one stage takes"
            raise StageLostError(f"{problem} {wanted}; stages found: {found}", reason=Reason.PIPELINE_INCOMPLETE)
        chain.append(takers[0])
        gives = takers[0].gives
        if gives.kind == stage_pb2.EDGE_KIND_PCM:
            return chain
        wanted = f"the {stage_pb2.EdgeKind.Name(gives.kind)} that {takers[0].stage!r} gives"
        takers = [stage for stage in stages if connects(gives, stage.takes)]
