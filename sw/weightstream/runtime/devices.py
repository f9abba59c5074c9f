"""Targets: what `weightstream.open` opens."""

from __future__ import annotations

from typing import Any

from ..errors import TargetError
from .driver import Accelerator
from .numpy_device import NumpyDevice


def open_device(target: str, **options: Any) -> NumpyDevice | Accelerator:
    """Return the device of a target.

    Parameters
    ----------
    target : str
        ``numpy``: software. ``sim`` or ``sim:<preset>``: the accelerator's RTL, simulated; the preset is tiny
        (the default), ecp5_85f, pynq_z2 or kv260.
    options
        Of a simulated accelerator: `waves`, a file to write waves to; `latency` and `bandwidth` of its
        memory, in cycles and bytes a cycle; `pause` and `seed` of random pauses.

    Raises
    ------
    TargetError
        There is no such target, or what it needs is missing.
    """
    if target == "numpy":
        if options:
            raise TargetError(f"target 'numpy' takes no options, not {', '.join(options)}")
        return NumpyDevice()
    if target == "sim" or target.startswith("sim:"):
        from .sim_port import SimPort, machine_of_target

        return Accelerator(SimPort(machine_of_target(target), **options))
    raise TargetError(f"target must be 'numpy', 'sim' or 'sim:<preset>', not {target!r}")
