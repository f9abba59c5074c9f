"""Targets: what `weightstream.open` opens."""

from __future__ import annotations

from typing import Any

from ..errors import TargetError
from .driver import TIMEOUT, Accelerator
from .numpy_device import NumpyDevice


def open_device(target: str, **options: Any) -> NumpyDevice | Accelerator:
    """Return the device of a target.

    Parameters
    ----------
    target : str
        ``numpy``: software. ``sim`` or ``sim:<preset>``: the accelerator's RTL, simulated; the preset is tiny
        (the default), ecp5_85f, ulx3s, pynq_z2 or kv260. ``pynq`` or ``pynq:<overlay path>``: the accelerator
        in an overlay of a PYNQ board, by default weightstream.bit. ``serial:<port>`` or
        ``serial:<port>@<baud>``: an accelerator behind a serial port.
    options
        Of every accelerator: `timeout`, seconds that a job may take. Of a simulated one: `waves`, a file to
        write waves to; `latency` and `bandwidth` of its memory, in cycles and bytes a cycle; `pause` and
        `seed` of random pauses. On a board: `download`, False if the overlay is loaded already;
        `interrupt`, False to poll. On a serial port: `patience`, seconds without a byte after which a
        request is sent again.

    Raises
    ------
    TargetError
        There is no such target, or what it needs is missing.
    """
    device = _open(target, options)
    device.target = target
    return device


def _open(target: str, options: dict[str, Any]) -> NumpyDevice | Accelerator:
    if target == "numpy":
        if options:
            raise TargetError(f"target 'numpy' takes no options, not {', '.join(options)}")
        return NumpyDevice()
    if target == "sim" or target.startswith("sim:"):
        from .sim_port import SimPort, machine_of_target

        timeout = options.pop("timeout", TIMEOUT)
        return Accelerator(SimPort(machine_of_target(target), **options), timeout=timeout)
    if target == "pynq" or target.startswith("pynq:"):
        from ..board.pynq_port import open_port

        timeout = options.pop("timeout", TIMEOUT)
        return Accelerator(open_port(target.partition(":")[2], **options), timeout=timeout)
    if target.startswith("serial:"):
        from .serial_port import open_port as open_serial

        timeout = options.pop("timeout", TIMEOUT)
        return Accelerator(open_serial(target.partition(":")[2], **options), timeout=timeout)
    raise TargetError(
        "target must be 'numpy', 'sim', 'sim:<preset>', 'pynq', 'pynq:<overlay path>' or 'serial:<port>', "
        f"not {target!r}"
    )
