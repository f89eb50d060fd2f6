"""Which models can be spoken with now: pipelines made of what the workers say of themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from protos.tts.stages.v1 import stage_pb2
from services.common.errors import NotFoundError, StageLostError
from services.frontend import chain
from services.frontend.wakeup import Wakeup
from services.frontend.workers import WorkerLink

logger = structlog.get_logger(__name__)


class Pool:
    """The workers of one stage of one model revision."""

    def __init__(self, about: stage_pb2.DescribeResponse, links: Sequence[WorkerLink]) -> None:
        self.about = about
        self.links = tuple(links)

    @property
    def stage(self) -> str:
        return self.about.stage

    @property
    def is_serving(self) -> bool:
        return any(link.takes_streams for link in self.links)

    @property
    def slots(self) -> int:
        return sum(link.slots for link in self.links if link.takes_streams)

    def least_loaded(self) -> WorkerLink:
        """The worker with the most free slots, then the fewest streams of ours.

        Raises:
            StageLostError: No worker of the stage is up.
        """
        links = [link for link in self.links if link.takes_streams]
        if not links:
            raise StageLostError(f"no worker of stage {self.stage!r} is up", stage=self.stage)
        return max(links, key=lambda link: (link.available, -link.leased))


@dataclass(frozen=True)
class Pipeline:
    """The stages of one model revision from text to sound."""

    model: str
    revision: str
    pools: tuple[Pool, ...]

    @property
    def identity(self) -> stage_pb2.ModelIdentity:
        return stage_pb2.ModelIdentity(name=self.model, revision=self.revision)

    @property
    def sample_rate_hz(self) -> int:
        return self.pools[-1].about.gives.sample_rate_hz

    @property
    def max_segment_tokens(self) -> int:
        return self.pools[0].about.text.max_tokens_per_segment

    @property
    def default_policy(self) -> stage_pb2.Policy:
        return self.pools[0].about.default_policy

    @property
    def languages(self) -> list[str]:
        return list(dict.fromkeys(tag for pool in self.pools for tag in pool.about.languages))

    @property
    def missing(self) -> list[str]:
        """Stages without a worker that takes streams."""
        return [pool.stage for pool in self.pools if not pool.is_serving]

    def params(self) -> dict[str, stage_pb2.ParamSpec]:
        return {spec.name: spec for pool in self.pools for spec in pool.about.params}

    def options(self) -> dict[str, stage_pb2.TensorSpec]:
        return {spec.name: spec for pool in self.pools for spec in pool.about.options}

    def conditions(self) -> dict[str, stage_pb2.TensorSpec]:
        return {spec.name: spec for pool in self.pools for spec in pool.about.conditions}


class Topology:
    """Rebuilds the pipelines whenever a worker comes or goes.

    Args:
        default_model: The model that a request without one gets; it is the one whose text front end is loaded.
        on_health: Called with a health name and whether it is served.
    """

    def __init__(self, default_model: str, *, on_health: Callable[[str, bool], None]) -> None:
        self.default_model = default_model
        self.changed = Wakeup()
        self._on_health = on_health
        self._links: tuple[WorkerLink, ...] = ()
        self._pipelines: dict[str, Pipeline] = {}
        self._revisions: dict[tuple[str, str], Pipeline] = {}
        self._problem = ""

    def watch(self, links: Iterable[WorkerLink]) -> None:
        self._links = tuple(links)

    def update(self) -> None:
        """Look at all workers again; cheap, called on every change."""
        self._pipelines, self._revisions = {}, {}
        problem = ""
        for (name, revision), links in self._models().items():
            try:
                self._revisions[name, revision] = _build(links)
            except StageLostError as error:
                problem = f"model {name} revision {revision}: {error.message}"
        for pipeline in self._revisions.values():
            best = self._pipelines.get(pipeline.model, pipeline)
            self._pipelines[pipeline.model] = min(best, pipeline, key=_preference)
        if problem != self._problem and problem:
            logger.warning("pipeline_incomplete", problem=problem)
        self._problem = problem
        self._tell_health()
        self.changed.notify()

    def pipeline(self, model: str = "") -> Pipeline:
        """The pipeline of a model, whether all of its stages are up or not.

        Raises:
            NotFoundError: No such model is served.
            StageLostError: The default model's stages have not been seen yet.
        """
        name = model or self.default_model
        if name in self._pipelines:
            return self._pipelines[name]
        if name == self.default_model:
            raise StageLostError(
                self._problem or f"no worker of model {name!r} has been seen yet", reason="PIPELINE_INCOMPLETE"
            )
        known = ", ".join(sorted({*self._pipelines, self.default_model}))
        raise NotFoundError(f"model {name!r} is not served; models: {known}", field="config.model")

    def revision(self, model: str, revision: str) -> Pipeline:
        """The pipeline of exactly this revision.

        Raises:
            StageLostError: Its workers are gone.
        """
        pipeline = self._revisions.get((model, revision))
        if pipeline is None:
            raise StageLostError(f"no worker serves revision {revision!r} of model {model!r} any more")
        return pipeline

    def pipelines(self) -> list[Pipeline]:
        return [self._pipelines[name] for name in sorted(self._pipelines)]

    def is_serving(self) -> bool:
        pipeline = self._pipelines.get(self.default_model)
        return pipeline is not None and not pipeline.missing

    def _models(self) -> dict[tuple[str, str], list[WorkerLink]]:
        """Links by model name and revision; only of the model that this gateway can prepare text for."""
        models: dict[tuple[str, str], list[WorkerLink]] = {}
        for link in self._links:
            if link.about is not None and link.about.model.name == self.default_model:
                models.setdefault((link.about.model.name, link.about.model.revision), []).append(link)
        return models

    def _tell_health(self) -> None:
        stages: dict[str, bool] = defaultdict(bool)
        for link in self._links:
            if link.about is not None:
                stages[link.about.stage] |= link.takes_streams
        for stage, is_serving in stages.items():
            self._on_health(f"stage.{stage}", is_serving)
        self._on_health("tts.v1.TextToSpeech", self.is_serving())


def _preference(pipeline: Pipeline) -> tuple[int, int, str]:
    """Sorts the pipeline that serves best first: no stage missing, most slots, and then always the same one."""
    return (len(pipeline.missing), -min(pool.slots for pool in pipeline.pools), pipeline.revision)


def _build(links: Sequence[WorkerLink]) -> Pipeline:
    by_stage: dict[str, list[WorkerLink]] = {}
    for link in links:
        assert link.about is not None
        by_stage.setdefault(link.about.stage, []).append(link)
    abouts = [group[0].about for group in by_stage.values() if group[0].about is not None]
    pools = tuple(Pool(about, by_stage[about.stage]) for about in chain.order(abouts))
    return Pipeline(abouts[0].model.name, abouts[0].model.revision, pools)
