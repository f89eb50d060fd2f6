"""The figures of the report: those of the default profile by their keys, then everything that was measured.

Each says under which policy, prompt and solver it was measured. What was not measured is stated as missing, unless it
was not asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from bench.quality.comparison import WHOLE
from bench.quality.estimates import Estimate
from bench.quality.listening import Opinion
from bench.quality.ratios import Ratio
from bench.quality.scores import Row
from bench.quality.tables import worst_place
from bench.report import Figures, figure, missing
from services.common.stage.policy import Policy

MAX_SEAM_RATIO = 1.1
LEAST_SEAMS = 1000

_NO_SEAM = "no window met another"
_NO_JUDGE = "no speech was judged (--heard)"

Figure = dict[str, object]


@dataclass(frozen=True)
class Asked:
    """What else a run measures than the speeches themselves."""

    judges: bool = True
    seams: bool = True
    """As many as the goals of seams need; without, the few of the speeches are told and not judged."""

    @property
    def left_out(self) -> list[str]:
        """What it does not, in words."""
        parts = {
            "what judges hear (--heard 0)": self.judges,
            f"further seams, and with them the goals of seams (--seams 0; {LEAST_SEAMS} are needed)": self.seams,
        }
        return [name for name, is_asked in parts.items() if not is_asked]


def figures(rows: Sequence[Row], opinions: Mapping[str, Opinion], whole: Policy, asked: Asked = Asked()) -> Figures:
    """All figures.

    Args:
        rows: The default profile's first; the goals are its alone.
        opinions: By policy.
        whole: The best whole render that the checkpoint has.
        asked: What has to be there.
    """
    found = _of_seams(rows[0], has_goals=asked.seams) | _of_mel(rows[0], _setting(whole))
    if asked.judges:
        found |= _of_judges(rows[0], opinions, whole)
    found |= {f"heard.{name}": _everything(asdict(opinion)) for name, opinion in opinions.items()}
    return found | {f"policy.{row.name}": _everything(asdict(row)) for row in rows}


def _setting(policy: Policy) -> Figure:
    return {"policy": policy.name, "prompt_seconds": policy.prompt_seconds, "params": dict(policy.params)}


def _of_seams(row: Row, *, has_goals: bool) -> Figures:
    setting = _setting(row.policy)
    goal, least = (f"<= {MAX_SEAM_RATIO:.2f}", f">= {LEAST_SEAMS}") if has_goals else ("", "")
    return {
        "seam_ratio_p95": _ratio(row.seams, goal, setting | {"worst_place": worst_place(row)}),
        "seam_ratio_p95_energy": _ratio(row.energy, "", setting),
        "seam_ratio_p95_spectrum": _ratio(row.spectrum, "", setting),
        "vocoder_seam_ratio_p95": _ratio(row.vocoder_seams, "", setting),
        "seams": figure(row.num_seams, "", least) | setting,
    }


def _ratio(ratio: Ratio, goal: str, setting: Figure) -> Figure:
    if not ratio.num_seams:
        return missing("", _NO_SEAM, goal) | setting
    return _interval(ratio, "", goal, setting | {"by_place": _plain(ratio.by_place)})


def _of_mel(row: Row, whole: Figure) -> Figures:
    setting, same = _setting(row.policy), "a whole render with the same prompt and solver"
    distances = {
        "mel_l1_streamed_vs_whole": (row.mel_l1, same),
        "mel_l1_streamed_vs_best_whole": (row.best_mel_l1, whole),
    }
    return {
        key: figure(round(distance, 4), "natural log") | setting | {"beside": beside}
        for key, (distance, beside) in distances.items()
    }


_OPINIONS: Mapping[str, tuple[str, Callable[[Opinion], Estimate | None]]] = {
    "wer": ("%", lambda opinion: opinion.wrong_words),
    "similarity": ("cosine to the prompt", lambda opinion: opinion.likeness_to_prompt),
    "mos": ("DistillMOS", lambda opinion: opinion.mos),
}


def _of_judges(row: Row, opinions: Mapping[str, Opinion], whole: Policy) -> Figures:
    streamed = _setting(row.policy)
    found = _judged(opinions.get(row.name), "streamed", streamed)
    found |= _judged(opinions.get(WHOLE), "whole", _setting(whole))
    return found | _beside_whole(opinions.get(row.name), streamed)


def _judged(opinion: Opinion | None, side: str, setting: Figure) -> Figures:
    return {f"{key}_{side}": _opinion(opinion, unit, of, setting) for key, (unit, of) in _OPINIONS.items()}


def _beside_whole(opinion: Opinion | None, setting: Figure) -> Figures:
    return {
        "wer_streamed_less_whole": _opinion(opinion, "points", lambda said: said.more_wrong_words, setting),
        "similarity_streamed_to_whole": _opinion(opinion, "cosine", lambda said: said.likeness_to_whole, setting),
    }


def _opinion(opinion: Opinion | None, unit: str, of: Callable[[Opinion], Estimate | None], setting: Figure) -> Figure:
    estimate = of(opinion) if opinion is not None else None
    if opinion is None or estimate is None:
        return missing(unit, _NO_JUDGE) | setting
    return _interval(estimate, unit, "", setting | {"speeches": opinion.num_speeches})


def _interval(found: Ratio | Estimate, unit: str, goal: str, more: Figure) -> Figure:
    bounds = {"low": round(found.low, 4), "high": round(found.high, 4)}
    return figure(round(found.value, 4), unit, goal) | bounds | more


def _everything(found: Mapping[str, object]) -> Figure:
    return {"value": _plain(found), "unit": "mixed"}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return _number(value) if isinstance(value, float) else value


def _number(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return round(value, 4) if math.isfinite(value) else None
