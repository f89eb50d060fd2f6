"""Which models can be spoken with now: pipelines made of what the workers say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import structlog

from protos.tts.stages.v1 import stage_pb2
from services.common.errors import NotFoundError, StageLostError
from services.common.reasons import Reason
from services.frontend.wakeup import Wakeup
from services.frontend.workers import chain
from services.frontend.workers.link import WorkerLink

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

    @property
    def option_steps(self) -> list[stage_pb2.VoiceStep]:
        """Those that any of the workers has."""
        abouts = [self.about, *(link.about for link in self.links if link.about is not None)]
        return list({step.name: step for about in abouts for step in about.option_steps}.values())

    def least_loaded(self, *, step: str = "") -> WorkerLink:
        """The worker with the most free slots, then the fewest streams of ours.

        Args:
            step: A step that the worker must have; any worker will do when it is empty.

        Raises:
            StageLostError: No such worker of the stage is up.
        """
        links = [link for link in self.links if link.takes_streams and (not step or _has_step(link, step))]
        if not links:
            which = f" and has step {step!r}" if step else ""
            raise StageLostError(f"no worker of stage {self.stage!r} is up{which}", stage=self.stage)
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
    def policies(self) -> Sequence[stage_pb2.Policy]:
        """The policies that the model states, the default one first."""
        return self.pools[0].about.policies

    @property
    def missing(self) -> list[str]:
        """Stages without a worker that takes streams."""
        return [pool.stage for pool in self.pools if not pool.is_serving]

    @property
    def voice_modes(self) -> list[stage_pb2.VoiceMode.ValueType]:
        return sorted({mode for pool in self.pools for mode in pool.about.voice_modes})

    @property
    def speakers(self) -> list[str]:
        """The model's own voices."""
        return list(dict.fromkeys(name for pool in self.pools for name in pool.about.speakers))

    @property
    def takes_instruction(self) -> bool:
        return any(pool.about.takes_instruction for pool in self.pools)

    @property
    def codes_edge(self) -> stage_pb2.Edge | None:
        """The edge on which codes travel; None for a model without codes."""
        return next((pool.about.gives for pool in self.pools if _gives_codes(pool)), None)

    def up_to_codes(self) -> Pipeline:
        """The stages that make the codes, without those that make sound of them; all of them if there are no codes."""
        for number, pool in enumerate(self.pools, start=1):
            if _gives_codes(pool):
                return replace(self, pools=self.pools[:number])
        return self

    def pool(self, stage: str) -> Pool:
        return next(pool for pool in self.pools if pool.stage == stage)

    def params(self) -> dict[str, stage_pb2.ParamSpec]:
        return {spec.name: spec for pool in self.pools for spec in pool.about.params}

    def options(self) -> dict[str, stage_pb2.TensorSpec]:
        return {spec.name: spec for pool in self.pools for spec in pool.about.options}

    def conditions(self) -> dict[str, stage_pb2.TensorSpec]:
        return {spec.name: spec for pool in self.pools for spec in pool.about.conditions}


class Topology:
    """Rebuilds the pipelines whenever a worker comes or goes.

    Args:
        default_model: The model that a request without one gets.
        more_models: Further models whose workers are used; those of any other model are left alone.
        on_health: Called with a health name and whether it is served.
        expected_stages: Have a health name before a worker of theirs has been seen.
    """

    def __init__(
        self,
        default_model: str,
        *,
        more_models: Iterable[str] = (),
        on_health: Callable[[str, bool], None],
        expected_stages: Iterable[str] = (),
    ) -> None:
        self.default_model = default_model
        self.models = tuple(dict.fromkeys((default_model, *more_models)))
        """The default model first."""
        self.changed = Wakeup()
        self._on_health = on_health
        self._expected_stages = tuple(expected_stages)
        self._links: tuple[WorkerLink, ...] = ()
        self._pipelines: dict[str, Pipeline] = {}
        self._revisions: dict[tuple[str, str], Pipeline] = {}
        self._problems: dict[str, str] = {}

    @property
    def links(self) -> tuple[WorkerLink, ...]:
        """Every worker that was named to this gateway."""
        return self._links

    def watch(self, links: Iterable[WorkerLink]) -> None:
        self._links = tuple(links)

    def update(self) -> None:
        """Look at all workers again; cheap, called on every change."""
        self._pipelines, self._revisions = {}, {}
        problems: dict[str, str] = {}
        for (name, revision), links in self._models().items():
            try:
                self._revisions[name, revision] = _build(links)
            except StageLostError as error:
                problem = f"model {name} revision {revision}: {error.message}"
                problems[name] = f"{problems[name]}; {problem}" if name in problems else problem
        for pipeline in self._revisions.values():
            best = self._pipelines.get(pipeline.model, pipeline)
            self._pipelines[pipeline.model] = min(best, pipeline, key=_preference)
        for name, problem in problems.items():
            if problem != self._problems.get(name):
                logger.warning("pipeline_incomplete", problem=problem)
        self._problems = problems
        self._tell_health()
        self.changed.notify()

    def pipeline(self, model: str = "", *, field_path: str = "config.model") -> Pipeline:
        """The pipeline of a model, whether all of its stages are up or not; the default model's if none is named.

        Raises:
            NotFoundError: No such model is served.
            StageLostError: Not all of the model's stages have been seen yet.
        """
        name = model or self.default_model
        if name not in self.models:
            known = ", ".join(self.models)
            raise NotFoundError(
                f"the model is not served; models: {known}",
                field=field_path,
                reason=Reason.MODEL_NOT_FOUND,
                metadata={"resource_type": "model", "resource_name": name},
            )
        if name not in self._pipelines:
            raise StageLostError(
                self._problems.get(name) or f"no worker of model {name!r} has been seen yet",
                reason=Reason.PIPELINE_INCOMPLETE,
            )
        return self._pipelines[name]

    def revision(self, model: str, revision: str) -> Pipeline:
        """The pipeline of exactly this revision.

        Raises:
            StageLostError: Its workers are gone.
        """
        pipeline = self.find(model, revision)
        if pipeline is None:
            raise StageLostError(f"no worker serves revision {revision!r} of model {model!r} any more")
        return pipeline

    def find(self, model: str, revision: str) -> Pipeline | None:
        """The pipeline of exactly this revision, if all of its stages have been seen."""
        return self._revisions.get((model, revision))

    def pipelines(self) -> list[Pipeline]:
        """One pipeline of each model that has been seen whole, the default model's first."""
        return [self._pipelines[name] for name in self.models if name in self._pipelines]

    def is_serving(self, model: str = "") -> bool:
        pipeline = self._pipelines.get(model or self.default_model)
        return pipeline is not None and not pipeline.missing

    def _models(self) -> dict[tuple[str, str], list[WorkerLink]]:
        """Links by model name and revision; only of the models that this gateway can prepare text for."""
        models: dict[tuple[str, str], list[WorkerLink]] = {}
        for link in self._links:
            if link.about is not None and link.about.model.name in self.models:
                models.setdefault((link.about.model.name, link.about.model.revision), []).append(link)
        return models

    def _tell_health(self) -> None:
        seen = (link.about.stage for link in self._links if link.about is not None)
        for stage in dict.fromkeys((*self._expected_stages, *seen)):
            self._on_health(f"stage.{stage}", self._serves_stage(stage))
        self._on_health("tts.v1.TextToSpeech", self.is_serving())

    def _serves_stage(self, stage: str) -> bool:
        """Whether the default model's stage is up or, if that model has no such stage, any model's."""
        default = self._pipelines.get(self.default_model)
        is_of_default = default is None or any(pool.stage == stage for pool in default.pools)
        models = {self.default_model} if is_of_default else set(self.models)
        return any(
            link.takes_streams
            for link in self._links
            if link.about is not None and link.about.stage == stage and link.about.model.name in models
        )


def _has_step(link: WorkerLink, name: str) -> bool:
    about = link.about
    return about is not None and any(step.name == name for step in (*about.voice_steps, *about.option_steps))


def _gives_codes(pool: Pool) -> bool:
    return pool.about.gives.kind == stage_pb2.EDGE_KIND_TOKENS


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
