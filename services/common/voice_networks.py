"""Where the networks live that only a new voice needs: with the others, on the CPU, or nowhere between two voices."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from services.common.stage.settings import VoiceEncoders


class VoiceNetworks:
    """Some networks of a checkpoint, brought to where they are used and away again.

    Args:
        networks: Loaded; from now on they are wherever `place` says.
        place: ``device`` keeps them beside the others, ``cpu`` keeps them and computes on the CPU, ``released`` keeps
            nothing of them and reads them again from their file for every voice.
        device: Where the worker computes.
        restore: Reads the weights of released networks, which stand on the meta device, from the checkpoint.
    """

    def __init__(
        self, networks: Sequence[nn.Module], *, place: VoiceEncoders, device: torch.device, restore: Callable[[], None]
    ) -> None:
        self._networks = networks
        self._place = place
        self._device = torch.device("cpu") if place == "cpu" else device
        self._restore = restore
        self._lock = threading.RLock()
        self._users = 0
        self.returning_bytes = num_bytes(networks) if place == "released" else 0
        """What comes back to the device for a voice."""
        self._move("meta" if place == "released" else self._device)

    @property
    def is_on_device(self) -> bool:
        """Whether a voice is computed where the worker computes."""
        return self._place != "cpu"

    @contextmanager
    def at_hand(self) -> Iterator[torch.device]:
        """Have the networks ready, and learn where their inputs go; may be entered again inside.

        Raises:
            CheckpointError: The file of released networks is gone or another one.
        """
        with self._lock:
            self._users += 1
            try:
                if self._place == "released" and self._users == 1:
                    self._restore()
                    self._move(self._device)
                yield self._device
            finally:
                self._users -= 1
                if self._place == "released" and not self._users:
                    self._move("meta")

    def _move(self, place: torch.device | str) -> None:
        for network in self._networks:
            network.to(place)
        if self._device.type == "cuda" and str(place) == "meta":
            # Torch would keep the memory for itself, and a neighbour on the same GPU may need it.
            torch.cuda.empty_cache()


def num_bytes(networks: Iterable[nn.Module]) -> int:
    """What the weights of some networks take."""
    return sum(value.nbytes for network in networks for value in (*network.parameters(), *network.buffers()))
