"""The registers of an accelerator: who answers, how jobs begin and end, and what is wrong if they do not."""

from __future__ import annotations

import logging
import time

from ..errors import DeviceError, InputError, LayoutError, TargetError
from ..spec.image import MAX_BATCH
from ..spec.machine import Machine
from ..spec.registers import BY_NAME, ID_MAGIC, ErrorCode, digest, machine_of
from .port import Port

#: Registers that count, each of 64 bits.
COUNTERS = (
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
_START, _DONE, _IDLE = 1, 1, 1 << 2
#: Seconds between looks at `isr`, in case the interrupt does not come; after an interrupt of something else.
_LOOK, _PAUSE = 0.1, 1e-3
#: Looks at `ctrl` that the bus masters have to end their bursts, some thousand clocks.
_IDLE_LOOKS = 256
_ADVICE = "load the overlay that belongs to this version of weightstream"

_log = logging.getLogger("weightstream")


class Control:
    """The control of an accelerator, by its registers.

    Parameters
    ----------
    port : Port
        The way to them.

    Attributes
    ----------
    machine : Machine
        What the accelerator was built with.
    ranges : dict of range
        Addresses in use and a name for each, for messages.
    interrupts_lost : int
        Jobs whose end was seen in a register, because the interrupt did not come.

    Raises
    ------
    TargetError
        What answers is no accelerator, or was built with what this driver does not know.
    """

    def __init__(self, port: Port):
        self._port = port
        self.ranges: dict[str, range] = {}
        self.interrupts_lost = 0
        self.machine: Machine = self._identify()
        if not self.is_idle:
            self.reset()
        self.write("gie", 1)
        self.write("ier", _DONE)

    def _identify(self) -> Machine:
        """Return the machine that answers; nothing is written before it is known."""
        for name, expected, what in (
            ("identity", ID_MAGIC, "identity"),
            ("map", digest(), "register map"),
        ):
            found = self.read(name)
            if found != expected:
                raise TargetError(
                    f"the {what} of what answers is 0x{found:08X}, this driver knows 0x{expected:08X}: "
                    f"{_ADVICE}"
                )
        shape, memory, found = (self.read(name) for name in ("shape", "memory", "machine"))
        registers = f"registers shape 0x{shape:08X} and memory 0x{memory:08X}"
        try:
            machine = machine_of(shape, memory)
        except LayoutError as error:
            raise TargetError(
                f"the {registers} describe a machine that cannot be: {error}: {_ADVICE}"
            ) from error
        if found != machine.digest:
            raise TargetError(
                f"the machine digest of what answers is 0x{found:08X}, but its {registers} describe "
                f"{machine}, digest 0x{machine.digest:08X}: it has parameters that this driver does not "
                f"know: {_ADVICE}"
            )
        return machine

    # ---- jobs ------------------------------------------------------------------------------------

    def start(self, image: int, source: range, target: range, batch: int) -> None:
        """Start a job.

        Parameters
        ----------
        image : int
            Address of the image.
        source, target : range
            Addresses of the inputs, and of where the outputs go: the accelerator refuses to go beyond.
        batch : int
            Items, at least 1.

        Raises
        ------
        InputError
            The batch has no items, or too many.
        DeviceError
            Another job is under way, or memory still owes an answer to the one before.
        """
        if not 1 <= batch <= MAX_BATCH:
            raise InputError(f"the items of a job must be in [1, {MAX_BATCH}], not {batch}")
        if not self.is_idle and not self.reset():
            raise DeviceError(f"no job can start: the accelerator does not become idle. {self.diagnosis()}")
        for name, value in (("image", image), ("input", source.start), ("output", target.start)):
            self._port.write32(BY_NAME[name].address, value & 0xFFFFFFFF)
            self._port.write32(BY_NAME[name].address + 4, value >> 32)
        for name, value in (("input_size", len(source)), ("output_size", len(target)), ("batch", batch)):
            self.write(name, value)
        # An end that nobody waited for must not be taken for the end of this job.
        self._clear_events()
        self.write("ctrl", _START)

    def wait(self, seconds: float) -> None:
        """Wait for the end of a job.

        Raises
        ------
        DeviceError
            The job failed, or is not over after so many seconds; the accelerator was reset.
        """
        ended = self._wait_for_end(seconds)
        if code := self.read("error"):
            text = self._error_text(code)
            self.reset()
            raise DeviceError(text, code)
        if not ended:
            text = self.diagnosis()
            self.reset()
            raise DeviceError(f"the job is not over after {seconds:g} s. {text}")

    def _wait_for_end(self, seconds: float) -> bool:
        """Wait until `isr` says that a job has ended; return whether it did."""
        left = seconds
        while left > 0:
            look = min(left, _LOOK)
            came = self._port.wait(look)
            if self.read("isr") & _DONE:
                if not came and not self._port.wait(_PAUSE):
                    self._count_lost_interrupt()
                self._clear_events()
                return True
            if came:  # something else interrupted: no time has passed
                look = min(look, _PAUSE)
                time.sleep(look)
            left -= look
        return False

    def _count_lost_interrupt(self) -> None:
        if not self.interrupts_lost:
            _log.warning(
                "a job has ended, but its interrupt did not come: jobs take up to %g s longer. "
                "Is the accelerator's interrupt connected?",
                _LOOK,
            )
        self.interrupts_lost += 1

    def _clear_events(self) -> None:
        # Writing 1 inverts a bit: only those that are set.
        if events := self.read("isr"):
            self.write("isr", events)

    def reset(self) -> bool:
        """Give up the job and forget its error; return whether the accelerator is idle then.

        It is not if memory still owes it an answer.
        """
        self.write("reset", 1)
        return any(self.is_idle for _ in range(_IDLE_LOOKS))

    def quieten(self) -> None:
        """Leave an accelerator that touches no memory and does not interrupt."""
        if not self.is_idle:
            self.reset()
        self.write("gie", 0)

    # ---- registers -------------------------------------------------------------------------------

    def read(self, name: str) -> int:
        """Return a register of 32 bits."""
        return self._port.read32(BY_NAME[name].address)

    def read64(self, name: str) -> int:
        """Return a register of 64 bits."""
        address = BY_NAME[name].address
        low = self._port.read32(address)
        return low | self._port.read32(address + 4) << 32

    def write(self, name: str, value: int) -> None:
        """Write a register of 32 bits."""
        self._port.write32(BY_NAME[name].address, value)

    def counters(self) -> dict[str, int]:
        """Return all counters."""
        return {name: self.read64(name) for name in COUNTERS}

    @property
    def is_idle(self) -> bool:
        """Whether no job is under way."""
        return bool(self.read("ctrl") & _IDLE)

    # ---- words -----------------------------------------------------------------------------------

    def diagnosis(self) -> str:
        """Return what an accelerator does that does not do what it was asked for."""
        before = self.counters()
        self._port.wait(_PAUSE)
        after = self.counters()
        moving = [name for name in COUNTERS if name not in ("cycles", "jobs") and after[name] != before[name]]
        works = not {"busy", "beats_read", "beats_written"}.isdisjoint(moving)
        if self.is_idle:
            words = "The accelerator is idle: it did not take the job up, or did not tell of its end."
        elif works:
            words = f"The accelerator is at work ({', '.join(moving)} go up): it may need a larger timeout."
        elif moving:
            words = f"The accelerator is in the middle of a job, but only waits ({', '.join(moving)} go up)."
        else:
            words = "The accelerator is in the middle of a job, but nothing moves: does its memory answer?"
        return f"{words} {self._state_text()}"

    def _error_text(self, code: int) -> str:
        """Return what is known of a job that failed."""
        name, sentence = _error_words(code)
        at = self.read64("error_at")
        places = [f" ({what} + 0x{at - where.start:x})" for what, where in self.ranges.items() if at in where]
        where = f"0x{at:x}{''.join(places)}"
        return f"job failed with {name} ({code}) at {where}: {sentence} {self._state_text()}"

    def _state_text(self) -> str:
        """Return all registers that tell of a job, and the counters."""
        words = [f"{name} 0x{self.read(name):x}" for name in ("ctrl", "gie", "ier", "isr")]
        words += [f"{name} 0x{self.read64(name):x}" for name in ("image", "input", "output")]
        words += [f"{name} {self.read(name)}" for name in ("input_size", "output_size", "batch", "watchdog")]
        code = self.read("error")
        words.append(f"error {code} ({_error_words(code)[0]})")
        counters = [f"{name} {count}" for name, count in self.counters().items()]
        return f"Registers: {', '.join(words)}. Counters: {', '.join(counters)}."


def _error_words(code: int) -> tuple[str, str]:
    """Return the name of an error code and a sentence."""
    if code not in list(ErrorCode):
        return "unknown", "The accelerator reports an error that this driver does not know."
    return ErrorCode(code).name, ErrorCode(code).sentence
