"""A worker process around the counting engine: `python -m tests.unit.stage.counting_worker --address HOST:PORT`."""

from __future__ import annotations

import sys

from pydantic_settings import SettingsConfigDict

from services.common.settings import load_settings
from services.common.stage.settings import StageSettings
from services.common.stage.worker import run_worker
from tests.unit.stage.counting_engine import CountingEngine


class CountingSettings(StageSettings):
    """Settings of no deployment."""

    model_config = SettingsConfigDict(env_prefix="TTS_COUNTING_", frozen=True)


if __name__ == "__main__":
    sys.exit(run_worker("counting", load_settings(CountingSettings), CountingEngine))
