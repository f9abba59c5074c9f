"""An interrupt pin of an overlay, for code that is not asynchronous."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any

#: Seconds that finding the pin may take.
_SETUP = 10.0
_LOCK = threading.Lock()
_LOOP: asyncio.AbstractEventLoop | None = None


def _event_loop() -> asyncio.AbstractEventLoop:
    """Return the loop in which pynq waits for interrupts.

    pynq keeps its readers of UIO devices as long as the process lives, in the loop that ran when they were
    made. So this loop is never closed; and it runs in a thread, so that scripts, notebooks and threads wait
    in the same way.
    """
    global _LOOP
    with _LOCK:
        if _LOOP is None:
            _LOOP = asyncio.new_event_loop()
            threading.Thread(target=_LOOP.run_forever, name="weightstream-interrupt", daemon=True).start()
        return _LOOP


class InterruptLine:
    """An interrupt pin.

    Parameters
    ----------
    pynq : module
        The package.
    pin : str
        Full path of the pin in the block design.

    Raises
    ------
    Exception
        Whatever pynq raises if the pin or its UIO device is not there.
    """

    def __init__(self, pynq: Any, pin: str):
        self._loop = _event_loop()

        async def make() -> Any:
            return pynq.Interrupt(pin)

        self._interrupt = self._submit(make()).result(_SETUP)

    def _submit(self, work: Coroutine[Any, Any, Any]) -> concurrent.futures.Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def wait(self, seconds: float) -> bool:
        """Wait for the pin, at most so long; return whether it was seen up.

        One that was up earlier can be seen late: look at the accelerator too.
        """
        work = self._submit(asyncio.wait_for(self._interrupt.wait(), seconds))
        try:
            work.result()
        except (asyncio.TimeoutError, concurrent.futures.TimeoutError):
            return False
        finally:
            work.cancel()
        return True
