"""The one thread that touches a fake board."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from ...errors import DeviceError, WeightstreamError
from .board import FakeBoard
from .errors import BoardError, Status

_T = TypeVar("_T")
#: Cycles between two looks for requests.
_CYCLES = 100
#: Seconds that the clock goes on running after a request.
_AWAKE = 0.5


class Runner:
    """Lets the clock of a board run, and does what other threads ask for in between.

    The clock runs as fast as it can be simulated. When nobody has asked for anything for half a second, it
    stands still.

    Parameters
    ----------
    board : FakeBoard
        The board; it is closed with the runner.
    """

    def __init__(self, board: FakeBoard):
        self._board = board
        self._requests: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._failure: WeightstreamError | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="weightstream-fake-board", daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Return what a function returns that uses the board.

        Raises
        ------
        BoardError
            The simulation has failed, now or earlier; or the board is switched off.
        Exception
            Whatever the function raises.
        """
        future: Future[_T] = Future()

        def execute() -> None:
            try:
                if self._failure is not None:
                    raise BoardError(Status.INTERNAL, f"the simulation has ended: {self._failure}")
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)

        self._requests.put(execute)
        if self._closed.is_set():
            self._refuse_all()
        return future.result()

    def close(self) -> None:
        """End the simulation; what is asked for from now on is refused. Calling it again does nothing."""
        if self._closed.is_set():
            return
        self._requests.put(None)
        self._thread.join()
        self._failure = DeviceError("the fake board is switched off")
        self._closed.set()
        self._refuse_all()
        self._board.close()

    def _refuse_all(self) -> None:
        """Answer what nobody else answers any more."""
        with contextlib.suppress(queue.Empty):
            while execute := self._requests.get_nowait():
                execute()

    def _work(self) -> None:
        awake = 0.0
        while True:
            try:
                execute = self._requests.get(block=time.monotonic() >= awake)
            except queue.Empty:
                self._step()
                continue
            if execute is None:
                return
            execute()
            awake = 0.0 if self._failure else time.monotonic() + _AWAKE

    def _step(self) -> None:
        try:
            self._board.step(_CYCLES)
        except WeightstreamError as error:
            self._failure = error
