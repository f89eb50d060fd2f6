"""Run the vocoder worker: `python -m services.vocoder_worker`."""

from __future__ import annotations

import sys

from services.common.settings import load_settings
from services.common.stage.engine import Engine
from services.common.stage.worker import run_worker
from services.vocoder_worker.settings import VocoderWorkerSettings


def main() -> int:
    settings = load_settings(VocoderWorkerSettings)

    def load_engine() -> Engine:
        # Imported late: the libraries take seconds, and a bad setting should fail before that.
        from services.vocoder_worker.engine import load_engine

        return load_engine(settings)

    return run_worker("vocoder", settings, load_engine)


if __name__ == "__main__":
    sys.exit(main())
