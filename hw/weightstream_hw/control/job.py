"""Jobs: from a start to the interrupt, also when something goes wrong."""

from amaranth import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine
from weightstream.spec.registers import ErrorCode


def job_arguments(machine: Machine) -> data.StructLayout:
    """Return the layout of what a job is told, by the names of its registers; static while it runs."""
    address = machine.address_bits
    return data.StructLayout(
        {"image": address, "input": address, "input_size": 32, "output": address, "output_size": 32}
        | {"batch": 16}
    )


def error_report(machine: Machine) -> data.StructLayout:
    """Return the layout of an error: pulse, code, address."""
    return data.StructLayout({"valid": 1, "code": 8, "address": machine.address_bits})


class JobControl(wiring.Component):
    """Start jobs, stop them at the first error, and keep that error until a soft reset.

    Behind a job everything but the bus masters is reset; they finish or swallow what is under way. An error
    does the same at once, and then the job is done. A memory that never answers would keep them: after
    `PATIENCE` clocks the job is done without them, and the next one waits until they are idle.

    While an error is kept, a job that is started is done at once, and nothing of it runs. A soft reset gives
    a job up without `done`, also one that is failing; what fails in its clock is forgotten.

    Timing
    ------
    Latency: 1 clock from `start` to `core_start`.
    Throughput: one job at a time.
    Stall: none.

    Parameters
    ----------
    machine : Machine
        Width of addresses.
    reporters : int
        Blocks that report errors; of simultaneous ones the first counts.

    Attributes
    ----------
    start, accepted, done, idle : In(1), Out(1)
        A job is asked for, was taken, is over; none is running. `start` is held until `accepted`.
    soft_reset : In(1)
        Forget the error, stop what is running.
    core_start, core_done, core_reset : Out(1), In(1), Out(1)
        To what runs the job.
    flush, masters_idle : Out(1), In(1)
        To the bus masters.
    progress, watchdog : In(1), In(32)
        Something moves; clocks without it after which a job is given up, 0 for never.
    errors : array of In(error_report)
        From the blocks.
    error_code, error_address : Out
        Of the first error since the last soft reset; code 0 if there was none.
    """

    #: Clocks that a job that failed waits for the bus.
    PATIENCE = 4096

    def __init__(self, machine: Machine, reporters: int):
        self.machine = machine
        super().__init__(
            {
                "start": In(1),
                "accepted": Out(1),
                "done": Out(1),
                "idle": Out(1),
                "soft_reset": In(1),
                "core_start": Out(1),
                "core_done": In(1),
                "core_reset": Out(1),
                "flush": Out(1),
                "masters_idle": In(1),
                "progress": In(1),
                "watchdog": In(32),
                "errors": In(error_report(machine)).array(reporters),
                "error_code": Out(8),
                "error_address": Out(machine.address_bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        quiet = Signal(32)
        patience = Signal(range(self.PATIENCE))
        m.d.sync += [self.core_start.eq(0), self.done.eq(0)]
        failed = Signal()
        m.d.comb += failed.eq(self.error_code != ErrorCode.NONE)
        with m.FSM():
            with m.State("rest"):
                m.d.comb += [self.idle.eq(1), self.accepted.eq(self.start & ~self.soft_reset)]
                with m.If(self.soft_reset):
                    m.next = "quiesce"
                with m.Elif(self.start & failed):
                    m.d.sync += self.done.eq(1)
                with m.Elif(self.start):
                    m.d.sync += [self.core_start.eq(1), quiet.eq(0)]
                    m.next = "run"
            with m.State("run"):
                m.d.sync += [quiet.eq(quiet + 1), patience.eq(self.PATIENCE - 1)]
                with m.If(self.progress):
                    m.d.sync += quiet.eq(0)
                # What an image made the readers ask for beyond its end is not left to the next job.
                with m.If(self.core_done):
                    m.d.sync += self.done.eq(1)
                    m.next = "quiesce"
                with m.Elif((self.watchdog != 0) & (quiet == self.watchdog)):
                    m.d.sync += [self.error_code.eq(ErrorCode.WATCHDOG), self.error_address.eq(0)]
                    m.next = "abort"
                for report in reversed(list(self.errors)):
                    with m.If(report.valid):
                        m.d.sync += [
                            self.error_code.eq(report.code),
                            self.error_address.eq(report.address),
                            self.done.eq(0),
                        ]
                        m.next = "abort"
                with m.If(self.soft_reset):
                    m.next = "quiesce"
            with m.State("abort"):
                m.d.comb += [self.flush.eq(1), self.core_reset.eq(1)]
                m.d.sync += patience.eq(patience - 1)
                with m.If(self.soft_reset):
                    m.next = "quiesce"
                with m.Elif(self.masters_idle | (patience == 0)):
                    m.d.sync += self.done.eq(1)
                    m.next = "quiesce"
            with m.State("quiesce"):
                m.d.comb += [self.flush.eq(1), self.core_reset.eq(1)]
                with m.If(self.masters_idle):
                    m.next = "rest"
        with m.If(self.soft_reset):
            m.d.sync += [self.error_code.eq(ErrorCode.NONE), self.error_address.eq(0)]
        return m
