"""`python -m bench.weights DIR`: fetches the published IndexTTS-2 checkpoint and what it needs.

Nothing is fetched before its licence is accepted. The commits and checksums that were fetched are
written to DIR/weights.lock.json; where that file exists, exactly those are fetched and checked again,
so a copy of it pins another machine to the same bytes. Downloads resume, and go through
huggingface_hub's cache (HF_HOME, HF_ENDPOINT, HF_TOKEN).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bench.weights.errors import WeightsError
from bench.weights.fetching import fetch
from bench.weights.vocoder import export


def main() -> int:
    arguments = _parser().parse_args()
    try:
        fetch(
            arguments.directory,
            is_accepted=arguments.accept_licence,
            has_text_emotion=arguments.text_emotion,
        )
        if not arguments.no_export:
            export(arguments.directory)
    except WeightsError as error:
        print(f"weights: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; run it again to go on from here", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.weights",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--accept-licence", action="store_true", help="accept the terms without being asked")
    parser.add_argument("--text-emotion", action="store_true", help="also fetch the text-to-emotion model")
    parser.add_argument("--no-export", action="store_true", help="do not make vocoder.onnx")
    return parser


if __name__ == "__main__":
    sys.exit(main())
