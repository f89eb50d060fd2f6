"""`python -m bench.local up|down|status`: the services in the background."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.local import background
from bench.local.asked import asked_for, differing
from bench.local.members import GATEWAY, PREFIXES
from bench.local.process import StartError
from bench.local.progress import StatusLine
from bench.local.system import LocalSystem
from services.common.settings import ServiceSettings, SettingsError, read_settings
from services.common.stage.settings import StageSettings
from services.frontend.settings import FrontendSettings
from services.gpt_worker.settings import GptWorkerSettings
from services.s2mel_worker.settings import S2MelWorkerSettings
from services.vocoder_worker.settings import VocoderWorkerSettings

_WORKER_CLASSES: dict[str, type[StageSettings]] = {
    "gpt_worker": GptWorkerSettings,
    "s2mel_worker": S2MelWorkerSettings,
    "vocoder_worker": VocoderWorkerSettings,
}
_GPU = re.compile(r"[0-9]{1,3}|(GPU|MIG)-[0-9A-Fa-f-]{8,}")


def main() -> int:
    arguments = _parser().parse_args()
    if arguments.action == "up":
        return _up(arguments)
    if arguments.action == "down":
        stopped = background.stop()
        print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")
        return 0
    return _status()


def _up(arguments: argparse.Namespace) -> int:
    try:
        system = planned(arguments)
    except (SettingsError, ValueError) as error:
        return _fail(str(error))
    asked = asked_for(arguments)
    entries = background.recorded()
    if entries and all(entry.state == "serving" for entry in entries):
        return _already_up(entries, background.joined(system.model_dirs), asked)
    background.stop()
    try:
        system.start(timeout_seconds=arguments.timeout, report=StatusLine())
    except StartError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 130
    background.record(system, asked=asked)
    print(background.table(background.recorded()))
    return 0


def _already_up(entries: list[background.Running], model_dirs: str, asked: Mapping[str, str]) -> int:
    """Show what runs, if that is what was asked for."""
    if entries[0].model_dir != model_dirs:
        return _fail(f"already up with {entries[0].model_dir}; `make down` first")
    if others := differing(entries[0].asked, asked):
        return _fail(f"already up with other settings ({', '.join(others)}); `make down` first")
    print(background.table(entries))
    return 0


def planned(arguments: argparse.Namespace) -> LocalSystem:
    """Return the system that was asked for: what is no argument comes from the file, the environment, the defaults.

    Raises:
        SettingsError: A setting of one of the processes is wrong.
        ValueError: A directory is no checkpoint, or two processes would listen at the same place.
    """
    flags = ["--config", str(arguments.config)] if arguments.config else []
    gateway = read_settings(FrontendSettings, flags).settings
    workers = {name: read_settings(cls, flags).settings for name, cls in _WORKER_CLASSES.items()}
    settings: dict[str, ServiceSettings] = {GATEWAY: gateway, **workers}
    addresses = {name: getattr(arguments, name) or one.address for name, one in settings.items()}
    metrics_ports = _metrics_ports(arguments.metrics, settings)
    _check_distinct("address", addresses)
    _check_distinct("metrics_port", {name: str(port) for name, port in metrics_ports.items() if port})
    return LocalSystem(
        model_dirs=_checked(_directories(arguments.model) if arguments.model else gateway.model_dirs),
        # The others have to know a port beforehand, so port 0 is chosen for the process.
        addresses={name: address for name, address in addresses.items() if not address.endswith(":0")},
        metrics_ports=metrics_ports,
        gpus=arguments.gpus,
        environment=_on_gpus(workers) if arguments.gpus else None,
        config=arguments.config,
        threads=arguments.threads,
        log_level=None,
    )


def _on_gpus(workers: Mapping[str, StageSettings]) -> dict[str, dict[str, str]]:
    """Have the workers fail where `auto` would fall back to the CPU, as for a number of a GPU that is not there.

    A device that was set stays. The vocoder's stays `auto` where this environment's ONNX Runtime can use no GPU at all.
    """
    modules = [name for name, settings in workers.items() if settings.device == "auto"]
    if not _has_onnx_cuda():
        modules = [name for name in modules if name != "vocoder_worker"]
    return {name: {f"{PREFIXES[name]}DEVICE": "cuda"} for name in modules}


def _has_onnx_cuda() -> bool:
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _directories(text: str) -> list[Path]:
    """Split at white space, unless the whole is a directory whose name has some."""
    return [Path(text)] if Path(text).is_dir() else [Path(part) for part in text.split()]


def _checked(model_dirs: list[Path]) -> list[Path]:
    for model_dir in model_dirs:
        if not (model_dir / "config.yaml").is_file():
            raise ValueError(f"{model_dir} is no checkpoint directory: it has no config.yaml")
    if len({model_dir.resolve() for model_dir in model_dirs}) < len(model_dirs):
        raise ValueError("a checkpoint directory is given twice")
    return model_dirs


def _metrics_ports(first: int | None, settings: Mapping[str, ServiceSettings]) -> dict[str, int]:
    """Return the gateway's port, and after it those of the workers in the order of the stages; 0 turns all off."""
    if first is None:
        return {name: one.metrics_port for name, one in settings.items()}
    return {name: first + number if first else 0 for number, name in enumerate(settings)}


def _check_distinct(setting: str, values: Mapping[str, str]) -> None:
    taken: dict[str, str] = {}
    for name, value in values.items():
        if value in taken and not value.endswith(":0"):
            raise ValueError(f"{taken[value]} and {name} have the same {setting} {value}; give each one of its own")
        taken[value] = name


def _status() -> int:
    entries = background.recorded()
    if not entries:
        print("nothing is running; `make up` starts the services")
        return 1
    print(background.table(entries))
    return 0 if all(entry.state == "serving" for entry in entries) else 1


def _first_port(text: str) -> int:
    """Read a port that has three more after it, or 0."""
    port = int(text)
    if not 0 <= port <= 65532:
        raise argparse.ArgumentTypeError("is 0 to 65532")
    return port


def _gpus(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    if not all(_GPU.fullmatch(part) for part in parts):
        raise argparse.ArgumentTypeError("is numbers or identifiers of GPUs with commas between, such as 0,1,2")
    return parts


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.local", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    up = actions.add_parser("up", help="start the services and wait until they serve")
    up.add_argument("--model", help="checkpoint directory, or several with spaces between: the first is the default")
    up.add_argument("--config", type=Path, help="TOML file with settings of the four processes")
    up.add_argument("--gateway", dest=GATEWAY, help="host:port that clients connect to")
    up.add_argument("--gpt", dest="gpt_worker", help="host:port of the default model's gpt worker")
    up.add_argument("--s2mel", dest="s2mel_worker", help="likewise of its s2mel worker")
    up.add_argument("--vocoder", dest="vocoder_worker", help="likewise of its vocoder worker")
    up.add_argument(
        "--metrics", type=_first_port, help="port of the gateway's metrics, the workers' follow it; 0 turns them off"
    )
    up.add_argument(
        "--gpus", type=_gpus, default=[], help="GPUs, one for each worker in turn, such as 0,1,2; must be there"
    )
    up.add_argument("--threads", type=int, help="CPU threads of each worker")
    up.add_argument("--timeout", type=float, default=900.0, help="seconds to wait; a full-size model needs some")
    actions.add_parser("down", help="drain and stop them")
    actions.add_parser("status", help="show them; exits with 1 unless all serve")
    return parser


if __name__ == "__main__":
    sys.exit(main())
