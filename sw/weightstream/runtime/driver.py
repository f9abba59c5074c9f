"""The driver: runs models on an accelerator, whatever connects it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

import numpy as np

from ..errors import DeviceError
from ..model import Model
from ..report.tables import Part
from ..spec.machine import Machine
from ..spec.registers import digest
from .control import COUNTERS, Control
from .device import Device, Net, Progress, ratio
from .image import Image, build_image
from .port import Buffer, Port
from .profile import Profile

#: Seconds that a job may take before the driver gives it up.
TIMEOUT = 60.0
#: Clock that figures are given for, unless another one is named.
CLOCK_HZ = 100e6

_ALIGNMENT = 16
#: Networks that stay on the device though nobody asked `load` for it.
_KEPT = 4

_log = logging.getLogger("weightstream")


class _Loaded(NamedTuple):
    """A network in the accelerator's memory; `kept`: until `unload`."""

    model: Model
    image: Image
    buffer: Buffer
    kept: bool


class Accelerator(Device):
    """An accelerator behind a port.

    Models are laid out for the machine and loaded once; then batches run. What the driver notices by the way,
    such as a network that has to be laid out anew, goes to the logger ``weightstream``.

    Parameters
    ----------
    port : Port
        The way to its registers and memory; the driver closes it.
    timeout : float
        Seconds that a job may take.

    Attributes
    ----------
    machine : Machine
        What the accelerator was built with.
    control : Control
        Its registers.

    Raises
    ------
    TargetError
        What answers is no accelerator, or was built with what this driver does not know.
    ValueError
        The timeout is not positive.

    Examples
    --------
    >>> import weightstream as ws
    >>> with ws.open("sim:tiny") as device:  # doctest: +SKIP
    ...     y = device.run("net.ws", x)
    """

    def __init__(self, port: Port, *, timeout: float = TIMEOUT):
        super().__init__()
        if not timeout > 0:
            raise ValueError(f"timeout must be positive, not {timeout!r}")
        self.port = port
        self.timeout = timeout
        self._loaded: dict[int, _Loaded] = {}
        self._paths: dict[str, Model] = {}
        try:
            self.control = Control(port)
            self._last = self.control.counters()
        except BaseException:
            port.close()
            raise
        self.machine: Machine = self.control.machine
        self._items = 0
        #: Image bits and weights of the networks that ran since the last profile.
        self._ran: set[tuple[int, int]] = set()

    def __repr__(self) -> str:
        return f"<accelerator: {self.machine}{', closed' if self._closed else ''}>"

    # ---- networks and buffers --------------------------------------------------------------------

    def load(self, net: Net, batch: int = 1) -> Image:
        """Put the image of a network into memory, and keep it there until `unload`.

        A network that is laid out for other lanes and slots is laid out anew; that takes a while.

        Parameters
        ----------
        net : Model or path
            The compressed network.
        batch : int
            The usual size of batches, which a new layout is chosen for.

        Returns
        -------
        Image
            What was loaded; it knows the largest batch of one job.

        Raises
        ------
        MachineError
            The machine cannot run it; the message says what is needed, and what there is.
        DeviceError
            There is no memory for it.
        """
        with self._lock:
            self._check_open()
            model = self._model(net)
            image = self._load(model, batch, kept=True).image
            if not isinstance(net, Model):
                self._paths[str(net)] = model
            return image

    def unload(self, net: Net) -> None:
        """Give back the memory of a network; of one that is not loaded, nothing."""
        with self._lock:
            model = net if isinstance(net, Model) else self._paths.pop(str(net), None)
            if model is not None and (loaded := self._loaded.pop(id(model), None)):
                loaded.buffer.free()

    def _model(self, net: Net) -> Model:
        return (not isinstance(net, Model) and self._paths.get(str(net))) or super()._model(net)

    def _load(self, model: Model, batch: int, *, kept: bool) -> _Loaded:
        loaded = self._loaded.get(id(model))
        if loaded is None:
            image = build_image(self._fitting(model, batch), self.machine)
            if not kept:
                self._drop_oldest()
            buffer = self._allocate(len(image.data), "an image")
            try:
                _fill(buffer, image.data)
            except BaseException:
                buffer.free()
                raise
            loaded = _Loaded(model, image, buffer, kept)
        elif kept:
            loaded = loaded._replace(kept=True)
        self._loaded[id(model)] = loaded
        return loaded

    def _fitting(self, model: Model, batch: int) -> Model:
        """Return a model in the machine's layout."""
        layout = self.machine.layout
        if model.layout == layout or not model.matrices():
            return model
        _log.info(
            "%r is laid out for %s, this machine has %s lanes x slots: it is laid out anew. "
            "Once and for all: weightstream relayout --lanes %d --slots %d",
            model,
            model.layout or "several layouts",
            layout,
            layout.lanes,
            layout.slots,
        )
        return model.relayout(self.machine, batch=batch)

    def _drop_oldest(self) -> None:
        """Make room among the networks that `run` has loaded by itself."""
        own = [loaded.model for loaded in self._loaded.values() if not loaded.kept]
        for model in own[: max(len(own) - _KEPT + 1, 0)]:
            self.unload(model)

    @contextmanager
    def buffer(self, size: int) -> Iterator[Buffer]:
        """Allocate memory that the accelerator can reach, for as long as the context lasts.

        Raises
        ------
        DeviceError
            There is no such memory, or the device is closed.
        """
        with self._lock:
            self._check_open()
            buffer = self._allocate(size, "a buffer")
        try:
            yield buffer
        finally:
            buffer.free()

    def _allocate(self, size: int, what: str) -> Buffer:
        """Return a buffer that the accelerator can reach."""
        # What boards raise when their memory is used up differs from board to board.
        try:
            buffer = self.port.allocate(size)
        except (MemoryError, OSError, RuntimeError, DeviceError) as error:
            held = sum(len(loaded.image.data) for loaded in self._loaded.values())
            raise DeviceError(
                f"no memory for {what} of {size} bytes: {error or type(error).__name__}; "
                f"{len(self._loaded)} loaded networks hold {held} bytes: unload gives them back"
            ) from error
        end, bits = buffer.address + size, self.machine.address_bits
        if buffer.address % _ALIGNMENT or buffer.address < 0 or end > 1 << bits:
            buffer.free()
            raise DeviceError(
                f"{what} of {size} bytes lies at 0x{buffer.address:x}: the accelerator reaches multiples of "
                f"{_ALIGNMENT} below 0x{1 << bits:x}"
            )
        return buffer

    def _release(self) -> None:
        with ExitStack() as stack:
            stack.callback(self.port.close)
            for loaded in self._loaded.values():
                stack.callback(loaded.buffer.free)
            self._loaded.clear()
            self._paths.clear()
            # The port may be what is broken: then nothing can be done.
            with suppress(Exception):
                self.control.quieten()

    # ---- jobs ------------------------------------------------------------------------------------

    def _run(self, net: Net, model: Model, inputs: np.ndarray, progress: Progress) -> np.ndarray:
        alone = not isinstance(net, Model) and str(net) not in self._paths
        loaded = self._load(model, max(len(inputs), 1), kept=False)
        try:
            result = self._run_parts(loaded, inputs, progress)
        finally:
            if alone:
                self.unload(model)
        weights = sum(coded.geometry.rows * coded.geometry.columns for coded in model.matrices().values())
        self._ran.add((8 * len(loaded.image.data), weights))
        return result

    @contextmanager
    def _job_buffers(self, image: Image, most: int) -> Iterator[tuple[int, Buffer, Buffer]]:
        """Allocate inputs and outputs of at most so many items; of fewer, if there is no memory for them."""
        with ExitStack() as stack:
            while True:
                with ExitStack() as attempt:
                    try:
                        source = attempt.enter_context(self.buffer(most * image.input_pitch))
                        target = attempt.enter_context(self.buffer(most * image.output_pitch))
                    except DeviceError:
                        if most == 1:
                            raise
                        most //= 2
                        continue
                    stack.push(attempt.pop_all())
                    break
            yield most, source, target

    def _run_parts(self, loaded: _Loaded, inputs: np.ndarray, progress: Progress) -> np.ndarray:
        """Run a batch in jobs of what the machine takes at once."""
        image = loaded.image
        result = np.empty((len(inputs), *image.target.shape), image.target.dtype)
        if not len(inputs):
            return result
        with self._job_buffers(image, min(image.max_batch, len(inputs))) as (most, source, target):
            source_bytes, target_bytes = most * image.input_pitch, most * image.output_pitch
            # No line of a cache may be written back over what the accelerator writes.
            target.data[:target_bytes] = 0
            target.flush()
            self.control.ranges = {
                name: _range(buffer, size)
                for name, buffer, size in (
                    ("image", loaded.buffer, len(image.data)),
                    ("input", source, source_bytes),
                    ("output", target, target_bytes),
                )
            }
            try:
                for at in range(0, len(inputs), most):
                    part = inputs[at : at + most]
                    _fill(source, image.pack_inputs(part))
                    inputs_at = _range(source, len(part) * image.input_pitch)
                    outputs_at = _range(target, len(part) * image.output_pitch)
                    self._job(loaded.buffer.address, inputs_at, outputs_at, len(part))
                    target.invalidate()
                    outputs = target.data[: len(outputs_at)].tobytes()
                    result[at : at + most] = image.unpack_outputs(outputs)
                    self._items += len(part)
                    progress(len(part))
            finally:
                self.control.ranges = {}
        return result

    def _job(self, image: int, source: range, target: range, batch: int) -> None:
        """Run one job; whatever ends it, the accelerator then touches no memory any more."""
        try:
            self.control.start(image, source, target, batch)
            self.control.wait(self.timeout)
        except DeviceError:
            raise  # it was reset
        except BaseException:
            with suppress(Exception):
                self.control.reset()
            raise

    # ---- figures ---------------------------------------------------------------------------------

    def counters(self) -> dict[str, int]:
        """Return all counters, since the accelerator was configured.

        Raises
        ------
        DeviceError
            The device is closed.
        """
        with self._lock:
            self._check_open()
            return self.control.counters()

    def profile(self, clock_hz: float = CLOCK_HZ) -> Profile:
        """Return what was counted since the device was opened, or since the last call.

        Parameters
        ----------
        clock_hz : float
            Clock of the accelerator, for what is given by the second.

        Returns
        -------
        Profile
            A dict of the counters, which docs/registers.md explains: ``cycles``, ``busy``, ``idle_queue``,
            ``idle_fetch``, ``idle_drain``, ``idle_other``, ``beats_read``, ``beats_written``, ``jobs``. And
            ``items``; ``bytes_read``, ``bytes_written``; ``symbols_per_clock``, of all streams, with a row or
            without; ``stalled``, the share of rounds that did not decode;
            ``bits_per_weight``, of the images that ran, 0 if none did; ``clocks_per_image``;
            ``images_per_second``, ``bytes_per_second`` at the given clock.

        Raises
        ------
        ValueError
            The clock is not positive.
        DeviceError
            The device is closed.
        """
        if not clock_hz > 0:
            raise ValueError(f"clock_hz must be positive, not {clock_hz!r}")
        with self._lock:
            now = self.counters()
            counted = {name: now[name] - self._last[name] for name in COUNTERS}
            items, ran = self._items, self._ran
            self._last, self._items, self._ran = now, 0, set()
        machine, cycles = self.machine, counted["cycles"]
        rounds = sum(count for name, count in counted.items() if name.startswith(("busy", "idle")))
        moved = {name: counted[f"beats_{name}"] * machine.bus_bytes for name in ("read", "written")}
        return Profile(
            **counted,
            items=items,
            bytes_read=moved["read"],
            bytes_written=moved["written"],
            symbols_per_clock=ratio(counted["busy"] * machine.lanes * machine.slots, cycles),
            stalled=ratio(rounds - counted["busy"], rounds),
            bits_per_weight=ratio(sum(bits for bits, _ in ran), sum(weights for _, weights in ran)),
            clocks_per_image=ratio(cycles, items),
            images_per_second=ratio(items * clock_hz, cycles),
            bytes_per_second=ratio(sum(moved.values()) * clock_hz, cycles),
        )

    def _describe(self) -> list[tuple[str, object]]:
        machine = self.machine
        rows: list[tuple[str, object]] = [
            ("machine", machine),
            ("memory", f"{machine.bus_bits} bits a beat; {machine.pool_bytes:,} bytes for activations"),
            ("identity", f"registers 0x{digest():08X}, machine 0x{machine.digest:08X}"),
        ]
        for loaded in list(self._loaded.values()):
            kept = "loaded" if loaded.kept else "loaded by run"
            size, batch = len(loaded.image.data), loaded.image.max_batch
            rows.append((f"network, {kept}", f"{loaded.model!r}: {size:,} bytes, {batch} items a job"))
        return rows

    def _figures(self) -> list[Part]:
        return [Profile(self.control.counters()).table("counted since it was configured")]


def _range(buffer: Buffer, size: int) -> range:
    """Return the addresses of so many bytes from the start of a buffer on."""
    return range(buffer.address, buffer.address + size)


def _fill(buffer: Buffer, data: bytes) -> None:
    """Write to the start of a buffer, for the accelerator to see."""
    buffer.data[: len(data)] = np.frombuffer(data, np.uint8)
    buffer.flush()
