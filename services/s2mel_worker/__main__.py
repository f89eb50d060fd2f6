"""Run the s2mel worker: `python -m services.s2mel_worker`."""

from __future__ import annotations

import sys

from services.common.settings import load_settings
from services.common.stage.engine import Engine
from services.common.stage.worker import run_worker
from services.s2mel_worker.settings import S2MelWorkerSettings


def main() -> int:
    settings = load_settings(S2MelWorkerSettings)

    def load_engine() -> Engine:
        # Imported late: the libraries take seconds, and a bad setting should fail before that.
        from services.common.torch_engine import TorchEngine
        from services.s2mel_worker.engine import load_engine

        return TorchEngine(load_engine(settings), settings.memory_savers)

    return run_worker("s2mel", settings, load_engine)


if __name__ == "__main__":
    sys.exit(main())
