"""The front end: reads an image's header and program, ahead of what is executed."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.image import (
    DESCRIPTOR,
    DESCRIPTOR_WORDS,
    HEADER_BYTES,
    KEYS_NONE,
    MAGIC,
    OP_END,
    OP_MATRIX,
    VERSION,
)
from weightstream.spec.machine import Machine
from weightstream.spec.operations import refusals
from weightstream.spec.registers import ErrorCode

from ..bus.bursts import memory_range
from ..decode.streams import lanes_command
from .descriptor import DescriptorRegister

#: The last 64-bit word of a descriptor that an operand of the product of tiles and their rows is in.
_LAST_OPERAND = max(
    field.word // 2 for field in DESCRIPTOR if field.name in ("rows", "tiles", "tile_rows", "last_edge")
)


class ProgramReader(wiring.Component):
    """Read operations one ahead of the one that runs, and set off what they need from memory.

    An operation is a descriptor; for a matrix its lane table and its configuration follow. As soon as a
    descriptor is read, the readers of lanes, records and keys start on it, so that their queues are full when
    it is its turn.

    Timing
    ------
    Latency: two bursts from `start` to the first descriptor.
    Throughput: a word of the program a clock.
    Stall: behind a descriptor, until it is taken and its configuration was read.

    Errors
    ------
    A job without items, a header that is not that of an image for this machine, and a descriptor of which
    `weightstream.spec.operations.refusals` says so end the job before anything that they ask for is read.

    Parameters
    ----------
    machine : Machine
        What descriptors are checked against.

    Attributes
    ----------
    start : In(1)
        Begin a job.
    image, batch : In
        Address of the image, items of the batch; static during a job.
    command, words : Out, In(stream)
        Of the program's reader.
    lanes_command, lane_table : Out(stream)
        To the stream fetch.
    keys_command, records_command : Out(stream)
        To the readers of keys and records.
    layer_valid, layer_ready : Out(1), In(1)
        `descriptor` is complete, and was taken.
    config_words : Out(stream)
        The configuration of the layer that was taken.
    config_done : In(1)
        It was read.
    operation : Out
        Address of the descriptor that was read last.
    error, error_code, error_address : Out
        Pulse, code, that address.
    """

    def __init__(self, machine: Machine):
        self.machine = machine
        #: The descriptor that was read last.
        self.descriptor = DescriptorRegister("next")
        address = machine.address_bits
        super().__init__(
            {
                "start": In(1),
                "image": In(address),
                "batch": In(16),
                "command": Out(stream.Signature(memory_range(machine))),
                "words": In(stream.Signature(64)),
                "lanes_command": Out(stream.Signature(lanes_command(machine))),
                "lane_table": Out(stream.Signature(64)),
                "keys_command": Out(stream.Signature(memory_range(machine))),
                "records_command": Out(stream.Signature(memory_range(machine))),
                "layer_valid": Out(1),
                "layer_ready": In(1),
                "config_words": Out(stream.Signature(64)),
                "config_done": In(1),
                "operation": Out(address),
                "error": Out(1),
                "error_code": Out(8),
                "error_address": Out(address),
            }
        )

    def elaborate(self, platform):
        m = Module()
        d = self.descriptor
        word = self.words.payload
        count = Signal(7)
        program_offset, program_words, left = Signal(32), Signal(24), Signal(17)
        passes = Signal(16)
        at = Signal(self.machine.address_bits)
        refused = self._refused(m, begin=count == _LAST_OPERAND + 1)
        m.d.sync += self.error.eq(0)
        m.d.comb += [
            self.error_address.eq(self.operation),
            self.command.payload.repeats.eq(0),
            self.keys_command.payload.address.eq(self.image + d.keys_offset),
            self.keys_command.payload.words.eq(d.keys_words),
            self.keys_command.payload.repeats.eq(passes),
            self.records_command.payload.address.eq(self.image + d.records_offset),
            self.records_command.payload.words.eq(d.records_words),
            self.records_command.payload.repeats.eq(passes),
            self.lanes_command.payload.image.eq(self.image),
            self.lanes_command.payload.stored_lanes.eq(d.stored_lanes),
            self.lanes_command.payload.repeats.eq(passes),
            self.lane_table.payload.eq(word),
            self.config_words.payload.eq(word),
        ]
        # A clock late, as nobody looks right behind a word.
        taken = Signal()
        m.d.sync += taken.eq(self.words.valid & self.words.ready)
        with m.If(taken):
            m.d.sync += at.eq(at + 8)

        def fail(code: ErrorCode):
            m.d.sync += [self.error.eq(1), self.error_code.eq(code)]
            m.next = "failed"

        with m.FSM():
            with m.State("rest"):
                with m.If(self.start):
                    m.d.sync += [count.eq(0), at.eq(self.image), self.operation.eq(self.image)]
                    m.next = "ask for header"
                    with m.If(self.batch == 0):
                        fail(ErrorCode.BATCH)
            with m.State("ask for header"):
                m.d.comb += [
                    self.command.valid.eq(1),
                    self.command.payload.address.eq(self.image),
                    self.command.payload.words.eq(HEADER_BYTES // 8),
                ]
                with m.If(self.command.ready):
                    m.next = "header"
            with m.State("header"):
                m.d.comb += self.words.ready.eq(1)
                with m.If(self.words.valid):
                    m.d.sync += count.eq(count + 1)
                    with m.Switch(count):
                        with m.Case(0):
                            with m.If(word[:32] != MAGIC):
                                fail(ErrorCode.MAGIC)
                            with m.Elif(word[32:] != VERSION):
                                fail(ErrorCode.VERSION)
                        with m.Case(1):
                            with m.If(word[:32] != self.machine.digest):
                                fail(ErrorCode.DIGEST)
                        with m.Case(2):
                            m.d.sync += [program_offset.eq(word[:32]), program_words.eq(word[32:])]
                        with m.Case(HEADER_BYTES // 8 - 1):
                            m.next = "ask for program"
            with m.State("ask for program"):
                m.d.comb += [
                    self.command.valid.eq(1),
                    self.command.payload.address.eq(self.image + program_offset),
                    self.command.payload.words.eq(program_words),
                ]
                with m.If(self.command.ready):
                    m.d.sync += [at.eq(self.image + program_offset), count.eq(0)]
                    m.next = "descriptor"
            with m.State("descriptor"):
                m.d.comb += self.words.ready.eq(1)
                with m.If(count == 0):
                    m.d.sync += self.operation.eq(at)
                with m.If(self.words.valid):
                    d.load_word(count, word, m, m.d.sync)
                    m.d.sync += count.eq(count + 1)
                    with m.If(count == DESCRIPTOR_WORDS // 2 - 1):
                        m.next = "check"
            with m.State("check"):
                m.d.sync += [count.eq(0), passes.eq(0), left.eq(self.batch)]
                m.next = "offer"
                with m.If(d.op == OP_MATRIX):
                    m.next = "passes"
                with m.If(refused):
                    fail(ErrorCode.DESCRIPTOR)
            # passes - 1 = how often a pass's positions fit into the items that the first pass leaves
            with m.State("passes"):
                with m.If(left <= d.positions):
                    m.next = "lanes"
                with m.Else():
                    m.d.sync += [left.eq(left - d.positions), passes.eq(passes + 1)]
            with m.State("lanes"):
                m.d.comb += self.lanes_command.valid.eq(1)
                with m.If(self.lanes_command.ready):
                    m.next = "lane table"
            with m.State("lane table"):
                m.d.comb += [
                    self.lane_table.valid.eq(self.words.valid),
                    self.words.ready.eq(self.lane_table.ready),
                ]
                with m.If(self.words.valid & self.lane_table.ready):
                    m.d.sync += count.eq(count + 1)
                    with m.If(count == d.stored_lanes - 1):
                        m.next = "records"
            with m.State("records"):
                m.d.comb += self.records_command.valid.eq(1)
                with m.If(self.records_command.ready):
                    m.next = "keys"
            with m.State("keys"):
                m.d.comb += self.keys_command.valid.eq(d.key_mode != KEYS_NONE)
                with m.If(self.keys_command.ready | (d.key_mode == KEYS_NONE)):
                    m.next = "offer"
            with m.State("offer"):
                m.d.comb += self.layer_valid.eq(1)
                with m.If(self.layer_ready):
                    m.d.sync += count.eq(0)
                    with m.Switch(d.op):
                        with m.Case(OP_END):
                            m.next = "rest"
                        with m.Case(OP_MATRIX):
                            m.next = "configuration"
                        with m.Default():
                            m.next = "descriptor"
            with m.State("configuration"):
                m.d.comb += [
                    self.config_words.valid.eq(self.words.valid),
                    self.words.ready.eq(self.config_words.ready),
                ]
                with m.If(self.config_done):
                    m.next = "descriptor"
            with m.State("failed"):
                pass
        return m

    def _refused(self, m: Module, begin: Value) -> Value:
        """Return whether the descriptor is refused, right once its last word was read.

        The fields lie in its first words. Behind them there are as many clocks as this takes: `begin` is when
        the operands of the product are there, then a bit a clock, then a register behind each condition.
        """
        d = self.descriptor
        full_rows, rest = Signal(signed(34), reset_less=True), Signal(33, reset_less=True)
        bits = Signal.like(d.tile_rows, name="bits")
        with m.If(begin):
            m.d.sync += [full_rows.eq(d.rows - d.last_edge), rest.eq(d.tiles - 1), bits.eq(d.tile_rows)]
        with m.Else():
            m.d.sync += [
                full_rows.eq(full_rows - Mux(bits[0], rest, 0)),
                rest.eq(rest << 1),
                bits.eq(bits >> 1),
            ]
        assert len(bits) <= DESCRIPTOR_WORDS // 2 - _LAST_OPERAND - 3

        conditions = refusals(d, self.machine, full_rows)
        known = Signal()
        m.d.sync += known.eq(Cat(d.op == op for op in (OP_END, *conditions)).any())
        reasons = []
        for op, own in conditions.items():
            reason = Signal(len(own), name=f"refused_{op}", reset_less=True)
            m.d.sync += reason.eq(Cat(own))
            reasons.append((d.op == op) & reason.any())
        return ~known | Cat(reasons).any()
