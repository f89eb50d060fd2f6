"""`python -m bench.local up|down|status`: the four services in the background."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.local import background
from bench.local.process import StartError
from bench.local.progress import StatusLine
from bench.local.system import GATEWAY, LocalSystem


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
    model_dir: Path = arguments.model
    if not (model_dir / "config.yaml").is_file():
        return _fail(f"{model_dir} is no checkpoint directory: it has no config.yaml")
    entries = background.recorded()
    if entries and all(entry.state == "serving" for entry in entries):
        if entries[0].model_dir == str(model_dir.resolve()):
            print(background.table(entries))
            return 0
        return _fail(f"already up with {entries[0].model_dir}; `make down` first")
    background.stop()
    addresses = {
        GATEWAY: arguments.gateway,
        "gpt_worker": arguments.gpt,
        "s2mel_worker": arguments.s2mel,
        "vocoder_worker": arguments.vocoder,
    }
    # The gateway's port, and after it those of the workers in the order of the stages; 0 turns all of them off.
    first: int = arguments.metrics
    metrics_ports = {name: first + number if first else 0 for number, name in enumerate(addresses)}
    system = LocalSystem(model_dir, addresses=addresses, metrics_ports=metrics_ports, threads=arguments.threads)
    try:
        system.start(timeout_seconds=arguments.timeout, report=StatusLine())
    except StartError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 130
    background.record(system, model_dir)
    print(background.table(background.recorded()))
    return 0


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


def _fail(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.local", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    up = actions.add_parser("up", help="start the services and wait until they serve")
    up.add_argument("--model", type=Path, default=Path("models/mini"), help="checkpoint directory")
    up.add_argument("--gateway", default="127.0.0.1:50051", help="host:port that clients connect to")
    up.add_argument("--gpt", default="127.0.0.1:50061")
    up.add_argument("--s2mel", default="127.0.0.1:50062")
    up.add_argument("--vocoder", default="127.0.0.1:50063")
    up.add_argument(
        "--metrics",
        type=_first_port,
        default=9460,
        help="port of the gateway's metrics, the workers' follow it; 0 turns them off",
    )
    up.add_argument("--threads", type=int, help="CPU threads of each worker")
    up.add_argument("--timeout", type=float, default=900.0, help="seconds to wait; a full-size model needs some")
    actions.add_parser("down", help="drain and stop them")
    actions.add_parser("status", help="show them; exits with 1 unless all serve")
    return parser


if __name__ == "__main__":
    sys.exit(main())
