"""The software device: inference from the streams in numpy, with numba where it is installed."""

import time

import numpy as np

from ..codec.backend import backend
from ..golden.compute.requantise import requantise
from ..golden.compute.thresholds import thresholds
from ..ir.network import Linear, Requantise
from ..ir.values import integer_output, network_input
from ..model import Model, load
from .device import Device, Net, Progress, ratio
from .profile import Profile

#: Items of a batch that are run together: bounds the memory for activations.
_BATCH = 1024


class NumpyDevice(Device):
    """Run models in software. Weights are decoded and multiplied as they come, and never kept.

    Examples
    --------
    >>> import weightstream as ws
    >>> with ws.open("numpy") as device:  # doctest: +SKIP
    ...     y = device.run("net.ws", x)
    """

    def __init__(self) -> None:
        super().__init__()
        self._paths: dict[str, Model] = {}
        self._runs, self._items, self._seconds = 0, 0, 0.0

    def load(self, net: Net, batch: int = 1) -> Model:
        """Read a network's file, if it is not read, and keep it until `unload`; return its model.

        Parameters
        ----------
        net : Model or path
            The compressed network.
        batch : int
            Has no meaning here.
        """
        if isinstance(net, Model):
            return net
        with self._lock:
            self._check_open()
            return self._paths.setdefault(str(net), self._model(net))

    def unload(self, net: Net) -> None:
        """Forget the model of a path."""
        if not isinstance(net, Model):
            self._paths.pop(str(net), None)

    def profile(self) -> Profile:
        """Return figures of what has run since the device was opened, or since the last call.

        Returns
        -------
        Profile
            A dict of ``jobs``, ``items``, ``seconds``, ``images_per_second``.
        """
        with self._lock:
            runs, items, seconds = self._runs, self._items, self._seconds
            self._runs, self._items, self._seconds = 0, 0, 0.0
        return Profile(jobs=runs, items=items, seconds=seconds, images_per_second=ratio(items, seconds))

    def _describe(self) -> list[tuple[str, object]]:
        networks = [(f"network {path}", repr(net)) for path, net in self._paths.items()]
        return [("software", _backend_name()), *networks]

    def __repr__(self) -> str:
        return f"<numpy device: {_backend_name()}{', closed' if self._closed else ''}>"

    def _model(self, net: Net) -> Model:
        if isinstance(net, Model):
            return net
        return self._paths.get(str(net)) or load(net)

    def _release(self) -> None:
        self._paths.clear()

    def _run(self, net: Net, model: Model, inputs: np.ndarray, progress: Progress) -> np.ndarray:
        begin = time.perf_counter()
        network = model.network
        source, target = network_input(network), integer_output(network)
        result = np.empty((len(inputs), *target.shape), target.dtype)
        for start in range(0, len(inputs), _BATCH):
            part = inputs[start : start + _BATCH]
            values = {source.name: part}
            for node in network.nodes:
                if isinstance(node, Linear):
                    values[node.output] = _linear(model, node, values[node.input])
            result[start : start + _BATCH] = values[target.name]
            progress(len(part))
        self._runs += 1
        self._items += len(inputs)
        self._seconds += time.perf_counter() - begin
        return result


def _backend_name() -> str:
    # Its modules are named after what runs their loops.
    return backend().codewords.__module__.rpartition("_")[2]


def _linear(model: Model, node: Linear, x: np.ndarray) -> np.ndarray:
    coded = node.coded
    assert coded is not None
    sums = model.decoder(node).multiply(coded.palette, x.reshape(len(x), -1).astype(np.int16))
    activation = node.activation
    y = requantise(sums, activation) if isinstance(activation, Requantise) else thresholds(sums, activation)
    target = model.network.tensor(node.output)
    return y.astype(target.dtype).reshape(len(x), *target.shape)
