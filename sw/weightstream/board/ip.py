"""The driver that PYNQ binds to accelerators: found by its entry point, imported by nobody else."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from ..model import Model
from ..runtime.driver import Accelerator
from .names import VLNV
from .pynq_port import PynqPort

_DefaultIP: Any = importlib.import_module("pynq").DefaultIP


class AcceleratorIP(_DefaultIP):
    """An accelerator in an overlay.

    Examples
    --------
    >>> overlay = pynq.Overlay("weightstream.bit")  # doctest: +SKIP
    >>> y = overlay.accelerator_0.run("net.ws", x)  # doctest: +SKIP
    """

    bindto = [VLNV]

    def __init__(self, description: dict[str, Any]):
        # The port makes the interrupt: here it would belong to whatever event loop runs now, if one does.
        super().__init__({**description, "interrupts": {}})
        self._core = description
        self._opened: Accelerator | None = None

    @property
    def accelerator(self) -> Accelerator:
        """The driver, which `weightstream.open` returns for other targets; opened when it is first used.

        Raises
        ------
        TargetError
            What answers is no accelerator that this driver knows.
        """
        if self._opened is None:
            self._opened = Accelerator(PynqPort(self._core, self.device))
        return self._opened

    def run(self, net: Model | str, x: np.ndarray, **options: Any) -> np.ndarray:
        """Run a batch: see `Accelerator.run`."""
        return self.accelerator.run(net, x, **options)

    def close(self) -> None:
        """Give back all memory; it is opened again when it is next used."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()
