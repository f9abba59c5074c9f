"""The driver: runs models on an accelerator, whatever connects it."""

from __future__ import annotations

import numpy as np

from ..errors import DeviceError, TargetError
from ..ir.values import finish, network_input, to_raw
from ..model import Model, load
from ..spec.machine import Machine
from ..spec.registers import BY_NAME, ID_MAGIC, ErrorCode, digest, machine_of
from .image import Image, build_image
from .port import Buffer, Port

#: Seconds that a job may take before the driver gives it up.
TIMEOUT = 60.0

_COUNTERS = (
    "cycles",
    "busy",
    "idle_queue",
    "idle_fetch",
    "idle_drain",
    "idle_other",
    "beats_read",
    "beats_written",
    "jobs",
)
_START, _DONE = 1, 1


class Accelerator:
    """An accelerator behind a port.

    Models are laid out for the machine and loaded once; then batches run.

    Parameters
    ----------
    port : Port
        The way to its registers and memory; the driver closes it.

    Raises
    ------
    TargetError
        What answers is no accelerator, or has other registers than this driver knows.

    Examples
    --------
    >>> import weightstream as ws
    >>> with ws.open("sim:tiny") as device:  # doctest: +SKIP
    ...     y = device.run("net.ws", x)
    """

    def __init__(self, port: Port):
        self.port = port
        self._loaded: dict[int, tuple[Model, Image, Buffer]] = {}
        self._check_identity()
        self.machine: Machine = machine_of(
            self.port.read32(BY_NAME["shape"].address), self.port.read32(BY_NAME["memory"].address)
        )
        self.port.write32(BY_NAME["gie"].address, 1)
        self.port.write32(BY_NAME["ier"].address, _DONE)
        self._last: dict[str, int] = dict.fromkeys(_COUNTERS, 0)

    def _check_identity(self) -> None:
        for name, expected, what in (
            ("identity", ID_MAGIC, "identity"),
            ("map", digest(), "register map"),
        ):
            found = self.port.read32(BY_NAME[name].address)
            if found != expected:
                raise TargetError(
                    f"the {what} of what answers is 0x{found:08X}, this driver knows 0x{expected:08X}: "
                    "load the overlay that belongs to this version of weightstream"
                )

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back all memory and close the port; calling it again does nothing."""
        for _, _, buffer in self._loaded.values():
            buffer.free()
        self._loaded.clear()
        self.port.close()

    def load(self, net: Model | str, batch: int = 1) -> Image:
        """Lay a model out for the machine if it is not, and put its image into memory.

        Parameters
        ----------
        net : Model or path
            The compressed network.
        batch : int
            The usual size of batches, which the layout is chosen for.

        Raises
        ------
        MachineError
            The machine cannot run it; the message says what is needed, and what there is.
        """
        model = net if isinstance(net, Model) else load(net)
        if id(model) not in self._loaded:
            fitting = (
                model if model.layout == self.machine.layout else model.relayout(self.machine, batch=batch)
            )
            image = build_image(fitting, self.machine)
            buffer = self.port.allocate(len(image.data))
            buffer.data[: len(image.data)] = np.frombuffer(image.data, np.uint8)
            buffer.flush()
            self._loaded[id(model)] = (model, image, buffer)
        return self._loaded[id(model)][1]

    def unload(self, model: Model) -> None:
        """Give back the memory of a model's image."""
        _, _, buffer = self._loaded.pop(id(model))
        buffer.free()

    def run(self, net: Model | str, x: np.ndarray, *, raw: bool = False) -> np.ndarray:
        """Run a batch.

        Parameters
        ----------
        net : Model or path
            The compressed network.
        x : ndarray, shape (batch, *input shape)
            Real values, which are quantised; or raw integers, which are taken as they are.
        raw : bool
            Return the integers of the last integer tensor.

        Returns
        -------
        ndarray, shape (batch, *output shape)
            float32; int8 or uint8 if `raw`.

        Raises
        ------
        InputError
            `x` is not what the network takes.
        MachineError
            The machine cannot run the network.
        DeviceError
            The job failed; the message says why.
        """
        model = net if isinstance(net, Model) else load(net)
        inputs = to_raw(network_input(model.network), x)
        image = self.load(model, batch=max(len(inputs), 1))
        buffer = self._loaded[id(model)][2]
        results = [
            self._job(image, buffer, inputs[start : start + image.max_batch])
            for start in range(0, len(inputs), image.max_batch)
        ]
        result = (
            np.concatenate(results) if results else np.zeros((0, *image.target.shape), image.target.dtype)
        )
        if not isinstance(net, Model):
            self.unload(model)
        return result if raw else finish(model.network, result)

    def _job(self, image: Image, program: Buffer, x: np.ndarray) -> np.ndarray:
        """Run one job and return its raw outputs."""
        data = image.pack_inputs(x)
        source = self.port.allocate(len(data))
        target = self.port.allocate(len(x) * image.output_pitch)
        try:
            source.data[: len(data)] = np.frombuffer(data, np.uint8)
            source.flush()
            self.start(program.address, source.address, target.address, len(x))
            self.wait()
            target.invalidate()
            return image.unpack_outputs(target.data[: len(x) * image.output_pitch].tobytes())
        finally:
            source.free()
            target.free()

    def start(self, image: int, source: int, target: int, batch: int) -> None:
        """Start a job on what is in memory."""
        for name, value in (("image", image), ("input", source), ("output", target)):
            self.port.write32(BY_NAME[name].address, value & 0xFFFFFFFF)
            self.port.write32(BY_NAME[name].address + 4, value >> 32)
        self.port.write32(BY_NAME["batch"].address, batch)
        self.port.write32(BY_NAME["ctrl"].address, _START)

    def wait(self, seconds: float = TIMEOUT) -> None:
        """Wait for the end of a job.

        Raises
        ------
        DeviceError
            The job failed, or is not over after so many seconds.
        """
        came = self.port.wait(seconds)
        self.port.write32(BY_NAME["isr"].address, self.port.read32(BY_NAME["isr"].address))
        code = self.port.read32(BY_NAME["error"].address)
        if code:
            at = self.read64("error_at")
            self.reset()
            known = ErrorCode(code) if code in list(ErrorCode) else None
            name = known.name if known else "unknown"
            sentence = known.sentence if known else "The accelerator reports an error that is not known."
            raise DeviceError(f"job failed with {name} ({code}) at 0x{at:x}: {sentence}", code)
        if not came:
            self.reset()
            raise DeviceError(f"no interrupt within {seconds:g} s; counters: {self.counters()}")

    def reset(self) -> None:
        """Give up the job and forget its error."""
        self.port.write32(BY_NAME["reset"].address, 1)

    def read64(self, name: str) -> int:
        """Return a register of 64 bits."""
        address = BY_NAME[name].address
        low = self.port.read32(address)
        return low | self.port.read32(address + 4) << 32

    def counters(self) -> dict[str, int]:
        """Return all counters, since the accelerator was configured."""
        return {name: self.read64(name) for name in _COUNTERS}

    def profile(self) -> dict[str, int]:
        """Return what the counters have counted since the last call."""
        now = self.counters()
        difference = {name: now[name] - self._last[name] for name in _COUNTERS}
        self._last = now
        return difference
