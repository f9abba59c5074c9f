"""The front end: reads an image's header and program, ahead of what is executed."""

from amaranth import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.coder import MAX_DISTANCE
from weightstream.spec.image import (
    DESCRIPTOR_WORDS,
    HEADER_BYTES,
    KEYS_NONE,
    MAGIC,
    OP_END,
    OP_LOAD,
    OP_MATRIX,
    OP_STORE,
    VERSION,
)
from weightstream.spec.machine import Machine
from weightstream.spec.registers import ErrorCode

from ..bus.bursts import memory_range
from ..decode.streams import lanes_command
from .descriptor import DescriptorRegister


class ProgramReader(wiring.Component):
    """Read operations one ahead of the one that runs, and set off what they need from memory.

    An operation is a descriptor; for a matrix its lane table and its configuration follow. As soon as a
    descriptor is read, the readers of lanes, records and keys start on it, so that their queues are full when
    it is its turn.

    Timing
    ------
    Latency: two bursts from `start` to the first descriptor.
    Throughput: a word of the program a clock.
    Stall: behind a descriptor, until `layer` is taken and its configuration was read.

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
        with m.If(self.words.valid & self.words.ready):
            m.d.sync += at.eq(at + 8)

        def fail(code: ErrorCode):
            m.d.sync += [self.error.eq(1), self.error_code.eq(code)]
            m.next = "failed"

        with m.FSM():
            with m.State("rest"):
                with m.If(self.start):
                    m.d.sync += [count.eq(0), at.eq(self.image), self.operation.eq(self.image)]
                    m.next = "ask for header"
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
                with m.Switch(d.op):
                    with m.Case(OP_END, OP_LOAD, OP_STORE):
                        m.next = "offer"
                    with m.Case(OP_MATRIX):
                        with m.If(self._impossible(d)):
                            fail(ErrorCode.DESCRIPTOR)
                        with m.Else():
                            m.next = "passes"
                    with m.Default():
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

    def _impossible(self, d: DescriptorRegister):
        """Return whether a matrix descriptor asks for what the machine does not have, or for nothing."""
        machine = self.machine
        empty = Cat(
            d.rows == 0,
            d.tiles == 0,
            d.part_symbols == 0,
            d.positions == 0,
            d.tile_rows == 0,
            d.row_groups == 0,
            d.stored_lanes == 0,
            d.chunk_words == 0,
            d.part_words == 0,
            d.column_period == 0,
        )
        shared = (d.clone_log2 != 0) | (d.split_log2 != 0) | d.split_groups | (d.row_groups != machine.groups)
        beyond = Cat(
            d.stored_lanes > machine.lanes,
            d.row_groups > machine.groups,
            d.passes >= machine.passes,
            (d.clone_log2 + d.split_log2) > (machine.slots - 1).bit_length(),
            d.column_period > machine.column_classes,
            d.chunk_words > machine.patch_words,
            d.input_base >= machine.pool_bytes,
            d.output_base >= machine.pool_bytes,
            d.last_full > machine.slots,
            d.distance > MAX_DISTANCE,
            d.product_tables & shared,
            d.product_tables & ((1 << d.group_log2) > machine.group),
            ~d.product_tables & ((d.group_log2 != 0) | (not machine.multipliers)),
            d.use_thresholds & (not machine.thresholds),
        )
        return empty.any() | beyond.any()
