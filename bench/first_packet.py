"""Time to the first packet for several lengths of packets, asked for in turn on one running system.

python -m bench.first_packet
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from triptych import Client

from bench import report
from bench.local import LocalSystem

CHUNK_MS = (0, 20, 40, 100)
TEXT = "The quick brown fox jumps over the lazy dog."
REPORT = Path("var/reports/first_packet.json")


def first_packet_ms(client: Client, chunk_ms: int) -> float:
    """Milliseconds until a stream's first packet is here; the rest is cancelled."""
    started = monotonic()
    with client.synthesize_stream(TEXT, seed=1, chunk_ms=chunk_ms) as stream:
        next(iter(stream))
        return 1000 * (monotonic() - started)


def measure(model: Path, rounds: int) -> dict[int, list[float]]:
    """Ask for every length in turn, `rounds` times, after one call that warms the system up."""
    found: dict[int, list[float]] = {chunk_ms: [] for chunk_ms in CHUNK_MS}
    with LocalSystem(model, threads=1) as system, Client(system.address) as client:
        client.synthesize(TEXT, seed=1)
        for _ in range(rounds):
            for chunk_ms, times in found.items():
                times.append(first_packet_ms(client, chunk_ms))
    return found


def figures(found: dict[int, list[float]]) -> report.Figures:
    base = statistics.median(found[0])
    made: report.Figures = {}
    for chunk_ms, times in found.items():
        median = statistics.median(times)
        made[f"first_packet_ms_{chunk_ms}"] = {"value": round(median, 1), "unit": "ms"}
        made[f"ratio_to_as_rendered_{chunk_ms}"] = {"value": round(median / base, 3), "unit": ""}
    return made


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.first_packet", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/mini"))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--busy", action="store_true", help="measure beside other load")
    options = parser.parse_args(arguments)
    share = report.foreign_share()
    if share > report.MAX_FOREIGN_SHARE and not options.busy:
        print(f"other processes take {share:.0%} of the CPU; --busy measures all the same", file=sys.stderr)
        return 1
    found = measure(options.model, options.rounds)
    print(f"{'chunk_ms':>8} {'median':>10} {'least':>10} {'most':>10} {'ratio':>7}")
    base = statistics.median(found[0])
    for chunk_ms, times in found.items():
        median = statistics.median(times)
        print(f"{chunk_ms:8} {median:7.0f} ms {min(times):7.0f} ms {max(times):7.0f} ms {median / base:7.3f}")
    command = shlex.join(["python", "-m", "bench.first_packet", *arguments])
    report.write(REPORT, "first_packet", command, report.machine(share), figures(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
