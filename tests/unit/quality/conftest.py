from __future__ import annotations

from pathlib import Path

import pytest

from bench.quality.material import Voice
from bench.quality.stages import Stages
from tests.unit.quality.walking_engines import walking_stages


@pytest.fixture
def stages() -> Stages:
    return walking_stages()


@pytest.fixture
def voice() -> Voice:
    return Voice("nobody", Path("nobody.wav"), {})
