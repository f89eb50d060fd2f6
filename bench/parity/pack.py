"""Golden pack: a tiny checkpoint with stored inputs, intermediates and outputs of every stage.

Reads any pack of the form that `manifest.json` states; knows nothing of the models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from services.common.checkpoint import CheckpointConfig, CheckpointFiles, load_config

Array = np.ndarray[Any, Any]
"""Any numpy array; the manifest states its shape and dtype."""

Producer = Callable[["Pack"], Mapping[str, Array]]
"""Computes some of the `mid.*` and `out.*` tensors of one stage of a pack, by name."""


@dataclass(frozen=True)
class Expectation:
    """One stored tensor that an implementation must reproduce."""

    stage: str
    name: str
    shape: tuple[int, ...]
    tol_abs: float
    """Largest allowed absolute difference of any element."""
    tol_rel: float
    """Largest allowed 2-norm of the difference over the 2-norm of the reference."""
    exact: bool


class Pack:
    """A golden pack directory: checkpoint, manifest and stored tensors."""

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self.manifest: dict[str, Any] = json.loads((self.directory / "manifest.json").read_text("utf-8"))
        self._loaded: dict[str, dict[str, Array]] = {}

    @property
    def name(self) -> str:
        return str(self.manifest["pack"])

    @property
    def settings(self) -> dict[str, Any]:
        """Parameters of the runs: emotion vector, alphas, penalties, steps, texts."""
        return dict(self.manifest["settings"])

    @cached_property
    def config(self) -> CheckpointConfig:
        return load_config(self.directory)

    @cached_property
    def files(self) -> CheckpointFiles:
        return CheckpointFiles.locate(self.directory, self.config)

    @property
    def stages(self) -> list[str]:
        return list(self.manifest["stages"])

    def tensor(self, stage: str, name: str) -> Array:
        """Return the stored tensor `name` ("in.*", "mid.*" or "out.*") of `stage`."""
        entry = self._entries(stage)[name]
        file = str(entry["file"])
        if file not in self._loaded:
            self._loaded[file] = load_file(self.directory / file)
        return self._loaded[file][entry["key"]]

    def inputs(self, stage: str) -> dict[str, Array]:
        """Return every `in.*` tensor of `stage`, keyed without the prefix."""
        names = [name for name in self._entries(stage) if name.startswith("in.")]
        return {name.removeprefix("in."): self.tensor(stage, name) for name in names}

    def expectations(self, stage: str) -> list[Expectation]:
        """Return what an implementation must reproduce of `stage`, in the manifest's order."""
        return [
            Expectation(
                stage=stage,
                name=name,
                shape=tuple(entry["shape"]),
                tol_abs=float(entry["tol_abs"]),
                tol_rel=float(entry["tol_rel"]),
                exact=bool(entry.get("exact", False)),
            )
            for name, entry in self._entries(stage).items()
            if not name.startswith("in.")
        ]

    def _entries(self, stage: str) -> dict[str, dict[str, Any]]:
        entries: dict[str, dict[str, Any]] = self.manifest["stages"][stage]["tensors"]
        return entries
