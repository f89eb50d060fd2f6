"""Run the gpt worker: `python -m services.gpt_worker`."""

from __future__ import annotations

import sys

from services.common.settings import load_settings
from services.common.stage.engine import Engine
from services.common.stage.worker import run_worker
from services.gpt_worker.settings import GptWorkerSettings


def main() -> int:
    settings = load_settings(GptWorkerSettings)

    def load_engine() -> Engine:
        # Imported late: the libraries take seconds, and a bad setting should fail before that.
        from services.common.torch_engine import TorchEngine
        from services.gpt_worker.loading import load_engine

        return TorchEngine(load_engine(settings), settings.memory_savers)

    return run_worker("gpt", settings, load_engine)


if __name__ == "__main__":
    sys.exit(main())
