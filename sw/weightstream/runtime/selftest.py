"""The self-test: what a device is, and whether it computes what the golden model computes."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..codec.matrix import Geometry, code_matrix
from ..errors import DeviceError, MachineError, WeightstreamError
from ..golden import network as golden
from ..golden.decode.matrix import decode_weights
from ..ir.network import Activation, Linear, Network, Requantise, Tensor, Thresholds
from ..model import Model, from_network
from ..spec.layout import Layout
from ..spec.machine import Machine
from ..spec.registers import digest
from .device import Device
from .devices import open_device
from .driver import CLOCK_HZ, Accelerator
from .port import Buffer

#: Bytes of the buffer that is tested: more than a page and a processor's first cache. Less, if there is less.
_MEMORY_BYTES, _LEAST_BYTES = 1 << 18, 1 << 12
#: Inputs, units in between, outputs: odd sizes, more than a page of weights.
_SIZES = (75, 66, 21)
_ITEMS = 5
_LAYOUT = Layout(1, 8)
_KINDS = ("int4", "int8", "ternary", "binary")


@dataclass(frozen=True)
class Step:
    """A line of the report.

    Parameters
    ----------
    name, text : str
        What was looked at, and what was seen.
    passed : bool
        False if that is not as it should be.
    """

    name: str
    text: str
    passed: bool = True

    def __str__(self) -> str:
        return f"{self.name:<12}{'' if self.passed else 'FAIL: '}{self.text}"


def selftest(target: str, *, seed: int = 1, **options: Any) -> Iterator[Step]:
    """Test a device, and yield the lines of a report; the last one says whether all were as they should be.

    Parameters
    ----------
    target : str
        What `weightstream.open` takes.
    seed : int
        Of weights, inputs and patterns.
    options
        As of `weightstream.open`.

    Examples
    --------
    >>> from weightstream.runtime.selftest import selftest
    >>> for step in selftest("numpy"):  # doctest: +SKIP
    ...     print(step)
    """
    failed = []
    for step in _steps(target, seed, options):
        if not step.passed:
            failed.append(step.name)
        yield step
    yield Step("result", ", ".join(failed), False) if failed else Step("result", "PASS")


def _steps(target: str, seed: int, options: dict[str, Any]) -> Iterator[Step]:
    from .. import __version__

    yield Step("self-test", f"weightstream {__version__}, seed {seed}")
    host = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    yield Step("host", f"{host}, numpy {np.__version__}")
    yield Step("target", target)
    try:
        device = open_device(target, **options)
    except Exception as error:
        yield Step("open", _words(error), False)
        return
    rng = np.random.default_rng(seed)
    with device:
        if isinstance(device, Accelerator):
            yield from _machine_steps(device)
            yield _tested("memory", lambda: _test_memory(device, rng))
            yield _tested("copy", lambda: _test_copy(device, rng))
        yield from _network_steps(device, rng)
        if isinstance(device, Accelerator):
            yield from _counter_steps(device)


def _tested(name: str, test: Callable[[], str]) -> Step:
    """Return the step of a test that returns what it has seen, or raises."""
    # Whatever a board raises belongs into the report.
    try:
        return Step(name, test())
    except Exception as error:
        return Step(name, _words(error), False)


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, WeightstreamError) else f"{type(error).__name__}: {text}"


# ---- the machine -----------------------------------------------------------------------------------


def _machine_steps(device: Accelerator) -> Iterator[Step]:
    machine = device.machine
    magic = device.control.read("identity").to_bytes(4, "little").decode("ascii", "replace")
    yield Step("identity", f"{magic!r}, registers 0x{digest():08X}, machine 0x{machine.digest:08X}: agree")
    yield Step("machine", str(machine))
    values = [f"{field.name} {getattr(machine, field.name)}" for field in fields(Machine)[3:]]
    yield Step("", ", ".join(values[: len(values) // 2]))
    yield Step("", ", ".join(values[len(values) // 2 :]))


def _counter_steps(device: Accelerator) -> Iterator[Step]:
    lost, polling = device.control.interrupts_lost, getattr(device.port, "polling", "")
    text = f"{lost} jobs ended without it: is it connected?" if lost else "came for each job"
    if polling:
        text = f"not used: {polling}"
    yield Step("interrupt", text, not lost and not getattr(device.port, "interrupt_failed", False))
    try:
        profile = device.profile()
    except Exception as error:
        yield Step("counters", _words(error), False)
        return
    counters = [f"{name} {value}" for name, value in profile.items() if isinstance(value, int)]
    yield Step("counters", ", ".join(counters))
    rates = [f"{name} {value:.4g}" for name, value in profile.items() if isinstance(value, float)]
    yield Step("rates", f"{', '.join(rates)}; by the second: at {CLOCK_HZ / 1e6:g} MHz")


@contextmanager
def _large_buffer(device: Accelerator) -> Iterator[tuple[int, Buffer]]:
    """Allocate the largest buffer that there is, up to a limit; yield its size, too."""
    size = _MEMORY_BYTES
    with ExitStack() as stack:
        while True:
            try:
                buffer = stack.enter_context(device.buffer(size))
                break
            except DeviceError:
                if size <= _LEAST_BYTES:
                    raise
                size //= 2
        yield size, buffer


def _test_memory(device: Accelerator, rng: np.random.Generator) -> str:
    """Write patterns to a buffer, through the caches and back."""
    with _large_buffer(device) as (size, buffer):
        words = np.arange(size // 4, dtype="<u4") * 4 + np.uint32(buffer.address & 0xFFFFFFFF)
        patterns = {
            "addresses": words.view(np.uint8),
            "inverted addresses": (~words).view(np.uint8),
            "random bytes": rng.integers(0, 256, size).astype(np.uint8),
            "zeros": np.zeros(size, np.uint8),
        }
        for name, pattern in patterns.items():
            buffer.data[:size] = pattern
            buffer.flush()
            buffer.invalidate()
            wrong = np.flatnonzero(buffer.data[:size] != pattern)
            if len(wrong):
                raise DeviceError(
                    f"{len(wrong)} of {size} bytes do not keep {name}, "
                    f"the first at 0x{buffer.address + int(wrong[0]):x}"
                )
        return f"{size} bytes at 0x{buffer.address:x} keep {len(patterns)} patterns"


def _test_copy(device: Accelerator, rng: np.random.Generator) -> str:
    """Let the accelerator load inputs and store them again: a network without layers."""
    tensor = Tensor(name="x", shape=(255,))
    model = Model(Network(tensors=(tensor,), nodes=(), inputs=("x",), outputs=("x",)), b"")
    x = rng.integers(0, 256, (4, *tensor.shape)).astype(np.uint8)
    with device.loaded(model):
        wrong = int(np.count_nonzero(device.run(model, x, raw=True) != x))
    if wrong:
        raise DeviceError(f"{wrong} of {x.size} bytes change on their way through the accelerator")
    return f"{x.size} bytes go through the accelerator unchanged"


# ---- networks --------------------------------------------------------------------------------------


def _network_steps(device: Device, rng: np.random.Generator) -> Iterator[Step]:
    machine = device.machine if isinstance(device, Accelerator) else None
    layout = _LAYOUT if machine is None else machine.layout
    # float32 rounding is the other path through the requantiser, if there is one.
    rounding = "float32" if machine is None or machine.float_rounding else "even"
    hows = [rounding] if machine is not None and not machine.thresholds else [rounding, "thresholds"]
    for kind in _KINDS:
        for how in hows:
            model = _random_model(rng, kind, how, layout)
            yield _tested(kind, lambda model=model, how=how: f"{how}, {_test_network(device, model, rng)}")
    if machine is not None:
        other = _random_model(rng, "int4", "even", _LAYOUT)
        yield _tested("relayout", lambda: f"even, {_test_network(device, other, rng)}")


def _test_network(device: Device, model: Model, rng: np.random.Generator) -> str:
    """Run a network that fits, or is refused; its outputs must be the golden ones."""
    source = model.network.tensor("t0")
    x = rng.integers(source.low, source.high + 1, (_ITEMS, *source.shape)).astype(source.dtype)
    expected = golden.run(model.network, x, decode=decode_weights)
    before = device.counters()["cycles"] if isinstance(device, Accelerator) else 0
    try:
        with device.loaded(model, len(x)):
            wrong = int(np.count_nonzero(device.run(model, x, raw=True) != expected))
    except MachineError as error:
        return f"not for this machine, and refused: {error}"
    if wrong:
        raise DeviceError(f"{wrong} of {expected.size} outputs are not those of the golden model")
    text = f"{'-'.join(map(str, _SIZES))}, {len(x)} items: equals the golden model"
    if isinstance(device, Accelerator):
        text += f", {device.counters()['cycles'] - before} cycles"
    return text


def _random_model(rng: np.random.Generator, kind: str, how: str, layout: Layout) -> Model:
    """Return a dense network of random weights of a kind; `how` sums become outputs."""
    tensors = tuple(
        Tensor(name=f"t{i}", shape=(size,), dtype=("int8", "uint8")[i % 2]) for i, size in enumerate(_SIZES)
    )
    nodes = []
    for i, (source, target) in enumerate(zip(tensors, tensors[1:], strict=False)):
        weights = _random_weights(rng, kind, (target.size, source.size))
        geometry = Geometry(rows=target.size, channels=source.size)
        coded, _ = code_matrix(weights, geometry, layout=layout)
        spread = 60 * float(weights.std()) * source.size**0.5
        activation = _random_activation(rng, how if i else "up", spread, target)
        node = Linear(
            name=f"layer{i}",
            input=source.name,
            output=target.name,
            geometry=geometry,
            activation=activation,
            coded=coded,
        )
        nodes.append(node)
    network = Network(
        tensors=tensors, nodes=tuple(nodes), inputs=(tensors[0].name,), outputs=(tensors[-1].name,)
    )
    return from_network(network)


def _random_weights(rng: np.random.Generator, kind: str, shape: tuple[int, int]) -> np.ndarray:
    weights = {
        "int4": lambda: np.clip(rng.normal(0, 2, shape).round(), -8, 7),
        "int8": lambda: np.clip(rng.normal(0, 30, shape).round(), -128, 127),
        "ternary": lambda: rng.integers(-1, 2, shape),
        "binary": lambda: 2 * rng.integers(0, 2, shape) - 1,
    }[kind]()
    return weights.astype(np.int8)


def _random_activation(rng: np.random.Generator, how: str, spread: float, target: Tensor) -> Activation:
    """Return thresholds or a rounding for sums of a standard deviation; outputs make use of their range."""
    rows = target.size
    if how == "thresholds":
        values = np.sort(rng.normal(0, spread, (rows, 7)), axis=1).astype(np.int32)
        return Thresholds(values=values, base=3, step=1)
    # A standard deviation of sums becomes 50 steps.
    shift = 24 + int(np.log2(spread / 50))
    return Requantise(
        bias=rng.normal(0, spread, rows).astype(np.int32),
        multiplier=rng.integers(1 << 23, 1 << 24, rows).astype(np.int32),
        shift=np.full(rows, shift, np.uint8),
        zero_point=(target.low + target.high) // 2,
        low=target.low,
        high=target.high,
        rounding=how,
    )
