"""The executor: runs the operations of a program one after another."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.image import OP_END, OP_LOAD, OP_MATRIX, OP_STORE
from weightstream.spec.machine import Machine
from weightstream.spec.registers import ErrorCode

from .descriptor import DescriptorRegister
from .round import symbol_latency


class Executor(wiring.Component):
    """Run operations: load inputs, run the passes of a matrix, store outputs.

    Timing
    ------
    Latency: the first pass of a matrix starts when its configuration is in the lanes and the outputs of the
    operation before are in the activation memory.
    Throughput: from `pass_done` to the next pass ``flush + 2`` clocks, in which the last symbols leave the
    lanes.
    Stall: waits for what it starts.

    Parameters
    ----------
    machine : Machine
        Slots.
    following : DescriptorRegister
        The operation that the program reader offers.

    Attributes
    ----------
    start, done : In(1), Out(1)
        Begin a job; it is complete.
    batch : In(16)
        Items of the job, static.
    following_address, operation : In, Out(address_bits)
        Address of the descriptor that is offered, and of the one that runs.
    layer_valid, layer_ready : In(1), Out(1)
        Handshake with the program reader.
    configure, configured : Out(1), In(1)
        Load ``descriptor.config_words`` words of configuration; they are loaded.
    load, store, moved : Out(1), Out(1), In(1)
        Move the batch into the activation memory, or out of it; it is moved.
    pass_start, pass_done : Out(1), In(1)
        Begin a pass over all rows for the items from `item` on; its last round was decided on.
    item, pass_item : Out(17)
        First item of the next pass, and of the pass that runs or ran last.
    drain_ready : In(1)
        All outputs are in the activation memory.
    loaders_start, loaders_ready : Out(1), In(1)
        Load keys and records of a pass; those that were asked for were all read.
    streams_end : In(1)
        The words of all lanes were taken.
    error, error_code : Out
        Pulse and code.
    """

    def __init__(self, machine: Machine, following: DescriptorRegister):
        self._following = following
        #: Clocks from the last round of a pass until its last word was taken.
        self.flush = symbol_latency(machine) + 2 * machine.slots + 8
        #: The operation that runs.
        self.descriptor = DescriptorRegister("layer")
        inputs = ("start", "layer_valid", "configured", "moved", "pass_done")
        inputs += ("drain_ready", "loaders_ready", "streams_end")
        outputs = ("done", "layer_ready", "configure", "load", "store")
        outputs += ("pass_start", "loaders_start", "error")
        super().__init__(
            {name: In(1) for name in inputs}
            | {name: Out(1) for name in outputs}
            | {"following_address": In(machine.address_bits), "operation": Out(machine.address_bits)}
            | {"batch": In(16), "item": Out(17), "pass_item": Out(17), "error_code": Out(8)}
        )

    def elaborate(self, platform):
        m = Module()
        d = self.descriptor
        wait = Signal(range(self.flush + 1))
        waited = Signal()
        m.d.sync += waited.eq(wait == 0)
        # The loaders were started for the pass behind the one that runs; they answer a start 1 clock later.
        loaded, settled = Signal(), Signal()
        # Whether there is a pass behind this one: some clocks late, which nobody looks at.
        more = Signal()
        m.d.sync += more.eq(self.item < self.batch)
        begin_pass = [
            self.pass_start.eq(1),
            self.pass_item.eq(self.item),
            self.item.eq(self.item + d.positions),
            settled.eq(0),
        ]
        pulses = (self.done, self.configure, self.load, self.store, self.pass_start, self.loaders_start)
        m.d.sync += [pulse.eq(0) for pulse in (*pulses, self.error)]
        with m.FSM():
            with m.State("rest"):
                with m.If(self.start):
                    m.next = "take"
            with m.State("take"):
                m.d.comb += self.layer_ready.eq(1)
                with m.If(self.layer_valid):
                    m.d.sync += [*d.copy_from(self._following), self.operation.eq(self.following_address)]
                    m.next = "begin"
            with m.State("begin"):
                m.d.sync += self.item.eq(0)
                with m.Switch(d.op):
                    with m.Case(OP_LOAD):
                        with m.If(self.drain_ready):
                            m.d.sync += self.load.eq(1)
                            m.next = "move"
                    with m.Case(OP_STORE):
                        with m.If(self.drain_ready):
                            m.d.sync += self.store.eq(1)
                            m.next = "move"
                    with m.Case(OP_MATRIX):
                        m.d.sync += self.configure.eq(1)
                        m.next = "configure"
                    with m.Case(OP_END):
                        m.d.sync += self.done.eq(1)
                        m.next = "rest"
            with m.State("move"):
                with m.If(self.moved):
                    m.next = "take"
            with m.State("configure"):
                with m.If(self.configured):
                    m.next = "outputs"
            # What a pass reads, the drains of the layer before have written.
            with m.State("outputs"):
                with m.If(self.drain_ready & self.loaders_ready):
                    m.d.sync += [*begin_pass, self.loaders_start.eq(1), loaded.eq(0)]
                    m.next = "pass"
            # Keys and records of the next pass are loaded while the last tiles of this one run.
            with m.State("pass"):
                m.d.sync += [wait.eq(self.flush - 1), settled.eq(1)]
                with m.If(settled & self.loaders_ready & ~loaded & more):
                    m.d.sync += [self.loaders_start.eq(1), loaded.eq(1)]
                with m.If(self.pass_done):
                    m.next = "flush"
            with m.State("flush"):
                with m.If(wait != 0):
                    m.d.sync += wait.eq(wait - 1)
                # The loaders look at the descriptor until they are through with its last pass.
                with m.If(waited & (self.loaders_ready | loaded)):
                    m.d.sync += loaded.eq(0)
                    with m.If(~self.streams_end):
                        m.d.sync += [self.error.eq(1), self.error_code.eq(ErrorCode.STREAM_LENGTH)]
                    with m.If(~more):
                        m.next = "take"
                    with m.Else():
                        m.d.sync += [*begin_pass, self.loaders_start.eq(~loaded)]
                        m.next = "pass"
        return m
