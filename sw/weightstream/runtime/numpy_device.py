"""The software device: inference from the streams in numpy, with numba where it is installed."""

import numpy as np

from ..golden.compute.requantise import requantise
from ..golden.compute.thresholds import thresholds
from ..ir.network import Linear, Requantise
from ..ir.values import finish, integer_output, network_input, to_raw
from ..model import Model, load

#: Items of a batch that are run together: bounds the memory for activations.
_BATCH = 1024


class NumpyDevice:
    """Run models in software. Weights are decoded and multiplied as they come, and never kept.

    Examples
    --------
    >>> import weightstream as ws
    >>> with ws.open("numpy") as device:  # doctest: +SKIP
    ...     y = device.run("net.ws", x)
    """

    def __enter__(self) -> "NumpyDevice":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back what the device holds: nothing."""

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
        FormatError
            The model's streams are corrupt.
        """
        model = net if isinstance(net, Model) else load(net)
        network = model.network
        source, target = network_input(network), integer_output(network)
        inputs = to_raw(source, x)
        result = np.empty((len(inputs), *target.shape), target.dtype)
        for start in range(0, len(inputs), _BATCH):
            values = {source.name: inputs[start : start + _BATCH]}
            for node in network.nodes:
                if isinstance(node, Linear):
                    values[node.output] = _linear(model, node, values[node.input])
            result[start : start + _BATCH] = values[target.name]
        return result if raw else finish(network, result)


def _linear(model: Model, node: Linear, x: np.ndarray) -> np.ndarray:
    coded = node.coded
    assert coded is not None
    sums = model.decoder(node).multiply(coded.palette, x.reshape(len(x), -1).astype(np.int16))
    activation = node.activation
    y = requantise(sums, activation) if isinstance(activation, Requantise) else thresholds(sums, activation)
    target = model.network.tensor(node.output)
    return y.astype(target.dtype).reshape(len(x), *target.shape)
