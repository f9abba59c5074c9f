"""What all devices have in common: `run`, `run_async`, progress, closing."""

from __future__ import annotations

import asyncio
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakSet

import numpy as np

from ..errors import DeviceError
from ..ir.values import finish, network_input, to_raw
from ..model import Model, load
from ..report.tables import Part, Table, as_html, as_text
from .profile import Profile

#: A network: a model, or the path of its file.
Net = Model | str | os.PathLike[str]
#: Called with the number of items after each part of a batch.
Progress = Callable[[int], None]
_Device = TypeVar("_Device", bound="Device")


class Job:
    """A run that goes on in the background: what `Device.run_async` returns. It can be awaited, too.

    Attributes
    ----------
    total, done_items : int
        Items of the batch; those that are done.
    """

    def __init__(self, total: int, progress: Progress | None):
        self.total = total
        self.done_items = 0
        self._progress = progress
        self._cancelled = threading.Event()
        self._future: futures.Future[np.ndarray] = futures.Future()

    def done(self) -> bool:
        """Whether it is over, well or not."""
        return self._future.done()

    def cancel(self) -> None:
        """Give it up before its next part begins; `result` then raises a `DeviceError`."""
        self._cancelled.set()

    def result(self, timeout: float | None = None) -> np.ndarray:
        """Wait for the end, and return what `Device.run` returns, or raise what it raises.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait; by default as long as it takes. Each part ends within the device's own timeout.

        Raises
        ------
        TimeoutError
            It is not over by then; it goes on.
        """
        finished, _ = futures.wait([self._future], timeout)
        if not finished:
            raise TimeoutError(
                f"the job is not over after {timeout:g} s: {self.done_items} of {self.total} items are done"
            )
        return self._future.result()

    def __await__(self) -> Generator[Any, None, np.ndarray]:
        return asyncio.wrap_future(self._future).__await__()

    def __repr__(self) -> str:
        return f"<job: {self.done_items} of {self.total} items{', over' if self.done() else ''}>"

    def _advance(self, items: int) -> None:
        self.done_items += items
        if self._progress is not None:
            self._progress(items)
        if self.done_items < self.total:
            self._check()

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise DeviceError(f"the job was given up: {self.done_items} of {self.total} items are done")

    def _execute(self, run: Callable[[Progress], np.ndarray]) -> None:
        try:
            self._check()
            result = run(self._advance)
        except BaseException as error:
            self._future.set_exception(error)
        else:
            self._future.set_result(result)


class Device(ABC):
    """Runs models. One job at a time: what several threads ask for is done one after the other.

    Printed, or as the value of a notebook's cell, a device says what it is, holds and has counted.

    Attributes
    ----------
    target : str
        What `weightstream.open` was asked for; empty if it was not.
    """

    target = ""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._worker: futures.ThreadPoolExecutor | None = None
        self._jobs: WeakSet[Job] = WeakSet()
        self._closed = False

    def __enter__(self: _Device) -> _Device:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up background jobs, and give back all that the device holds; again, it does nothing."""
        self._closed = True
        for job in list(self._jobs):
            job.cancel()
        if self._worker is not None:
            self._worker.shutdown()
        with self._lock:
            self._release()

    def run(
        self, net: Net, x: np.ndarray, *, raw: bool = False, progress: Progress | None = None
    ) -> np.ndarray:
        """Run a batch of any size; a device that takes less at once runs it in parts.

        Parameters
        ----------
        net : Model or path
            The compressed network. A model, and a path that `load` has loaded, stay on the device; a path
            alone is read for this run.
        x : ndarray, shape (batch, *input shape)
            Real values, which are quantised; or raw integers, which are taken as they are.
        raw : bool
            Return the integers of the last integer tensor.
        progress : callable, optional
            Called with the number of items after each part of the batch.

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
        MachineError
            The device cannot run the network; the message says what is needed, and what there is.
        DeviceError
            The device failed; the message says why.
        """
        with self._lock:
            self._check_open()
            model = self._model(net)
            inputs = to_raw(network_input(model.network), x)
            result = self._run(net, model, inputs, progress or _no_progress)
        return result if raw else finish(model.network, result)

    def run_async(
        self, net: Net, x: np.ndarray, *, raw: bool = False, progress: Progress | None = None
    ) -> Job:
        """Run a batch in the background; parameters as in `run`, `progress` is called by another thread.

        Returns
        -------
        Job
            A handle with the methods `result`, `done` and `cancel`. Jobs run in the order of their calls.

        Examples
        --------
        >>> job = device.run_async(net, x)  # doctest: +SKIP
        >>> y = job.result(timeout=10)  # doctest: +SKIP
        """
        self._check_open()
        job = Job(len(x) if np.ndim(x) else 1, progress)
        self._jobs.add(job)
        if self._worker is None:
            self._worker = futures.ThreadPoolExecutor(1, "weightstream")
        self._worker.submit(job._execute, lambda advance: self.run(net, x, raw=raw, progress=advance))
        return job

    @abstractmethod
    def load(self, net: Net, batch: int = 1) -> object:
        """Make a network ready to run, and keep it so until `unload`.

        Parameters
        ----------
        net : Model or path
            The compressed network.
        batch : int
            The usual size of batches.
        """

    @abstractmethod
    def unload(self, net: Net) -> None:
        """Give back what is held for a network; of one that is not loaded, nothing."""

    @contextmanager
    def loaded(self, net: Net, batch: int = 1) -> Iterator[Any]:
        """Load a network for as long as the context lasts; its value is what `load` returns."""
        try:
            yield self.load(net, batch)
        finally:
            self.unload(net)

    @abstractmethod
    def profile(self) -> Profile:
        """Return figures of what has run since the device was opened, or since the last call."""

    def __str__(self) -> str:
        return as_text(self._parts())

    def _repr_html_(self) -> str:
        return as_html(self._parts())

    def _parts(self) -> list[Part]:
        """Return what is shown of the device; it does not wait for a job that is under way."""
        if self._closed:
            return [self._facts("closed")]
        if not self._lock.acquire(blocking=False):
            return [self._facts("at work on a job")]
        try:
            return [self._facts("ready"), *self._figures()]
        except Exception as error:  # whatever a board raises, what is known of it is shown
            return [self._facts("its counters cannot be read"), str(error)]
        finally:
            self._lock.release()

    def _facts(self, state: str) -> Table:
        rows = [*self._describe(), ("state", state)]
        return Table("", ("target", self.target or type(self).__name__), rows)

    @abstractmethod
    def _describe(self) -> list[tuple[str, object]]:
        """Return names and values of what the device is and holds."""

    def _figures(self) -> list[Part]:
        """Return tables of what the device has counted."""
        return []

    @abstractmethod
    def _run(self, net: Net, model: Model, inputs: np.ndarray, progress: Progress) -> np.ndarray:
        """Run a batch of raw inputs, and return its raw outputs."""

    def _model(self, net: Net) -> Model:
        """Return the model of a network."""
        return net if isinstance(net, Model) else load(net)

    @abstractmethod
    def _release(self) -> None:
        """Give back all that is held; called by each `close`."""

    def _check_open(self) -> None:
        if self._closed:
            raise DeviceError("the device is closed: open it again")


def _no_progress(_items: int) -> None:
    pass


def ratio(part: float, whole: float) -> float:
    """Return a quotient for a report: 0 where nothing was counted."""
    return part / whole if whole else 0.0
