"""`triptych health` and `triptych models`."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import click
from rich.table import Table

from triptych.commands.connection import Server, run, server_options
from triptych.commands.output import json_option, print_json, print_out, print_title
from triptych.models import Limits, Model, Parameter, Policy
from triptych.status import ModelStatus, StageStatus, SystemStatus, WorkerStatus

_HEALTH_COLUMNS = ("STAGE", "STATE", "MODEL", "REVISION", "DEVICE", "PROVIDER", "DTYPE", "FREE SLOTS", "MEMORY")
_WORKER_COLUMN = "WORKER"
_POLICY_COLUMNS = ("POLICY", "WINDOWS", "PREFIX", "LOOK-AHEAD", "PROMPT", "VOCODER CONTEXT", "CROSSFADE", "SETS")


@click.command()
@json_option
@server_options(10.0)
def health(server: Server, as_json: bool) -> None:
    """Show the state of the server and of each worker of its models.

    Exits with 1 when the server would not take a request to speak.
    """

    async def ask() -> SystemStatus:
        async with server.client() as client:
            return await client.status()

    status = run(ask())
    if as_json:
        print_json(status)
    else:
        print_out(_gateway(status), _workers(status))
    sys.exit(0 if status.is_serving else 1)


def _gateway(status: SystemStatus) -> str:
    queue = f"{status.queue_depth} of at most {status.max_queue} wait"
    return f"gateway {_serving(status.is_serving)}: version {status.version}, up {status.uptime_seconds:.0f} s, {queue}"


def _workers(status: SystemStatus) -> Table:
    table = Table(*_HEALTH_COLUMNS, _WORKER_COLUMN, box=None)
    for model in status.models:
        for stage in model.stages:
            for row in _rows(model, stage):
                table.add_row(*row)
    return table


def _rows(model: ModelStatus, stage: StageStatus) -> Iterator[tuple[str, ...]]:
    if not stage.workers:
        yield (stage.name, _serving(stage.is_serving), model.name, model.revision)
    for worker in stage.workers:
        place = (worker.device, worker.provider, worker.dtype, f"{worker.free_slots} of {worker.slots}")
        yield (stage.name, worker.state, model.name, model.revision, *place, _memory(worker), _name(worker))


def _serving(is_serving: bool) -> str:
    return "serving" if is_serving else "not serving"


def _memory(worker: WorkerStatus) -> str:
    if not worker.memory_total_bytes:
        return ""
    return f"{worker.memory_used_bytes / 1e9:.1f} of {worker.memory_total_bytes / 1e9:.1f} GB"


def _name(worker: WorkerStatus) -> str:
    return f"{worker.worker} at {worker.address}" if worker.address else worker.worker


@click.command()
@json_option
@server_options(10.0)
def models(server: Server, as_json: bool) -> None:
    """List the server's models, what they can do and what a request may set."""

    async def ask() -> tuple[Model, ...]:
        async with server.client() as client:
            return await client.models()

    found = run(ask())
    if as_json:
        print_json(found)
        return
    for model in found:
        print_title(f"{model.name}{' (default)' if model.is_default else ''}")
        print_out(_facts(model), _parameters(model), _policies(model))


def _facts(model: Model) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2))
    rows = {
        "revision": model.revision,
        "languages": ", ".join(model.languages),
        "voices": ", ".join(mode.replace("_", " ") for mode in model.voice_modes),
        "speakers": ", ".join(model.speakers),
        "can": ", ".join(model.capabilities),
        "sample rate": f"{model.sample_rate_hz} Hz",
        "encodings": ", ".join(model.encodings),
        "policies": ", ".join(model.policies),
        "text rules": ", ".join(model.text_rules),
        "stages": " > ".join(dict.fromkeys(stage.name for stage in model.stages)),
        **_limits(model.limits),
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    return table


def _limits(limits: Limits) -> dict[str, str]:
    return {
        "text": f"at most {limits.max_unary_characters} characters at once, {limits.max_stream_characters} streamed, "
        f"{limits.max_segment_tokens} tokens in a segment, {limits.max_glossary_terms} glossary terms",
        "recording": f"{limits.min_voice_seconds:g} to {limits.max_voice_seconds:g} s, of which the first "
        f"{limits.used_voice_seconds:g} s are used; at most {limits.max_voice_bytes / 1e6:g} MB, "
        f"{limits.max_inline_voice_bytes / 1e6:g} MB with a request",
        "sound": f"{limits.min_sample_rate_hz} to {limits.max_sample_rate_hz} Hz, in pieces of "
        f"{limits.min_chunk_ms} to {limits.max_chunk_ms} ms, or as rendered",
    }


def _parameters(model: Model) -> Table:
    table = Table("PARAMETER", "FROM", "TO", "DEFAULT", "FIELD", "", box=None, padding=(0, 2))
    for parameter in model.parameters:
        table.add_row(*_parameter_row(parameter))
    return table


def _parameter_row(parameter: Parameter) -> tuple[str, ...]:
    numbers = (f"{number:g}" for number in (parameter.minimum, parameter.maximum, parameter.default))
    return (parameter.name, *numbers, parameter.field, parameter.description)


def _policies(model: Model) -> Table:
    """A policy in a row, with codes and frames as their numbers; those of one window for each segment have none."""
    table = Table(*_POLICY_COLUMNS, box=None, padding=(0, 2))
    for policy in model.policy_numbers:
        table.add_row(policy.name, *(_policy_numbers(policy) if not policy.is_whole else ("whole segments",)))
    return table


def _policy_numbers(policy: Policy) -> tuple[str, ...]:
    params = ", ".join(f"{name} {value:g}" for name, value in sorted(policy.params.items()))
    return (
        f"{policy.first_window_codes} x {policy.window_growth:g} to {policy.max_window_codes} codes",
        f"{policy.prefix_codes} codes",
        f"{policy.look_ahead_codes} codes",
        f"{policy.prompt_seconds:g} s",
        f"{policy.vocoder_context_frames} + {policy.vocoder_look_ahead_frames} frames",
        f"{policy.crossfade_frames} frames",
        params,
    )
