"""The core: everything of the accelerator that a soft reset resets."""

from __future__ import annotations

from typing import NamedTuple

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from weightstream.spec.machine import Machine
from weightstream.spec.registers import ErrorCode

from .activations.feed import Feed
from .activations.fetch import ColumnFetch
from .activations.pool import Pool
from .bus.axi import read_beat, read_request
from .bus.bursts import memory_range
from .bus.reader import LinearReader
from .bus.stream_register import StreamRegister
from .compute.drain import DRAIN_FIELDS
from .compute.mac import Mac
from .compute.output import OutputWriter
from .compute.parts import PartSum
from .compute.products import ProductCentre, start_window
from .compute.records import RecordLoader
from .control.configuration import ConfigurationLoader
from .control.drains import DrainControl
from .control.executor import Executor
from .control.groups import copies_of, row_groups_of
from .control.job import error_report, job_arguments
from .control.movers import InputMover, OutputMover
from .control.program import ProgramReader
from .control.round import symbol_latency
from .control.sequencer import RoundSequencer
from .decode.keys import RiceKeyDecoder
from .decode.ring import RingControl
from .decode.streams import StreamFetch
from .decode.words import WordDistributor
from .delay import delayed
from .lanes import LaneGroup

#: Clients of the read master, the most urgent first.
CLIENTS = ("program", "records", "keys", "inputs", "lanes")
#: Rounds that are counted, by the names of registers, and what the sequencer calls them.
COUNTED_ROUNDS = {
    "busy": "busy",
    "idle_queue": "idle_words",
    "idle_fetch": "idle_columns",
    "idle_drain": "idle_drain",
    "idle_other": "idle_keys",
}
#: Beats that the readers keep.
READER_DEPTH = {"program": 64, "records": 32, "keys": 32, "inputs": 64}


class Reader(NamedTuple):
    """The two ends of a reader: ranges, and their words, which come from a register."""

    command: stream.Interface
    words: stream.Interface


class Core(wiring.Component):
    """Run jobs: read an image, decode its streams, multiply, write outputs.

    Timing
    ------
    Latency: a job takes what its layers take, which `weightstream.spec.cycles` estimates: see docs/blocks.
    Throughput: a symbol a clock and lane, each for ``columns`` batch items.
    Stall: IDLE rounds while queues, columns, keys or drains are not ready.

    Parameters
    ----------
    machine : Machine
        What is built.
    dsp : str
        One of `weightstream_hw.multipliers.MULTIPLIERS`.

    Attributes
    ----------
    start, done : In(1), Out(1)
        Begin a job; it is complete.
    job : In(job_arguments)
        Addresses, sizes, items; static during a job.
    requests, beat, beat_valid : Out, In
        To and from the read master, for `CLIENTS`.
    write_command, write_words, written : Out, Out, In
        To and from the write master.
    errors : Out, array of error_report
        What went wrong.
    rounds : Out, a bit for each of `COUNTED_ROUNDS`
        Pulses for counters.
    """

    #: Blocks that report errors.
    REPORTERS = 6

    def __init__(self, machine: Machine, dsp: str = "generic"):
        self.machine = machine
        self._dsp = dsp
        super().__init__(
            {
                "start": In(1),
                "done": Out(1),
                "job": In(job_arguments(machine)),
                "requests": Out(stream.Signature(read_request(machine))).array(len(CLIENTS)),
                "beat": In(read_beat(machine)),
                "beat_valid": In(len(CLIENTS)),
                "write_command": Out(stream.Signature(memory_range(machine))),
                "write_words": Out(stream.Signature(64)),
                "written": In(1),
                "errors": Out(error_report(machine)).array(self.REPORTERS),
                "rounds": Out(data.StructLayout(dict.fromkeys(COUNTED_ROUNDS, 1))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        machine = self.machine
        m.submodules.program = program = ProgramReader(machine)
        m.submodules.executor = executor = Executor(machine, program.descriptor)
        self._layer = layer = executor.descriptor
        m.submodules.configuration = configuration = ConfigurationLoader()
        m.submodules.sequencer = sequencer = RoundSequencer(machine)
        readers = self._readers(m)
        m.d.comb += [
            program.start.eq(self.start),
            program.image.eq(self.job.image),
            program.batch.eq(self.job.batch),
            program.layer_ready.eq(executor.layer_ready),
            program.config_done.eq(configuration.done),
            executor.start.eq(self.start),
            executor.batch.eq(self.job.batch),
            executor.layer_valid.eq(program.layer_valid),
            executor.following_address.eq(program.operation),
            executor.configured.eq(configuration.done),
            executor.pass_done.eq(sequencer.done),
            self.done.eq(executor.done),
            configuration.start.eq(executor.configure),
            configuration.count.eq(layer.config_words),
            sequencer.start.eq(executor.pass_start),
            sequencer.config.eq(configuration.write),
        ]
        self._static(m, sequencer)
        wiring.connect(m, program.command, readers["program"].command)
        wiring.connect(m, readers["program"].words, program.words)
        wiring.connect(m, program.config_words, configuration.words)
        wiring.connect(m, program.keys_command, readers["keys"].command)
        wiring.connect(m, program.records_command, readers["records"].command)

        m.submodules.pool = pool = Pool(machine)
        groups = self._groups(m, configuration, sequencer)
        self._streams(m, program, groups)
        keys = self._keys(m, readers["keys"], configuration, executor, sequencer, groups)
        self._columns(m, executor, sequencer, configuration, pool, groups)
        records = self._drains(m, readers["records"], executor, sequencer, groups)
        beyond = self._movers(m, readers["inputs"], executor, pool, groups)
        m.d.comb += [
            sequencer.streams_ready.eq(Cat(group.ready for group in groups).all()),
            sequencer.words_ready.eq(Cat(group.ok for group in groups).all()),
            executor.loaders_ready.eq(~keys.busy & ~records.busy),
            executor.streams_end.eq(Cat(group.at_end for group in groups).all()),
            *(self.rounds[name].eq(getattr(sequencer, own)) for name, own in COUNTED_ROUNDS.items()),
        ]
        corrupt = Cat(group.corrupt for group in groups).any()
        reports = (
            (program.error, program.error_code, program.error_address),
            (configuration.error, ErrorCode.CONFIGURATION, executor.operation),
            (keys.error, ErrorCode.KEYS, executor.operation),
            (corrupt, ErrorCode.STREAM_CORRUPT, executor.operation),
            (executor.error, executor.error_code, executor.operation),
            (beyond, ErrorCode.BUFFER, executor.operation),
        )
        for report, (valid, code, address) in zip(self.errors, reports, strict=True):
            m.d.comb += [report.valid.eq(valid), report.code.eq(code), report.address.eq(address)]
        return m

    def _static(self, m: Module, block) -> None:
        """Connect the ports of a block that are fields of the descriptor."""
        for name in block.signature.members:
            if hasattr(self._layer, name):
                m.d.comb += getattr(block, name).eq(getattr(self._layer, name))

    def _readers(self, m: Module) -> dict[str, Reader]:
        readers = {}
        for name, depth in READER_DEPTH.items():
            client = CLIENTS.index(name)
            m.submodules[f"{name}_reader"] = reader = LinearReader(self.machine, depth)
            wiring.connect(m, reader.request, wiring.flipped(self.requests[client]))
            m.d.comb += [reader.beat.eq(self.beat), reader.beat_valid.eq(self.beat_valid[client])]
            m.submodules[f"{name}_words"] = register = StreamRegister(64)
            wiring.connect(m, reader.words, register.i)
            readers[name] = Reader(reader.command, register.o)
        return readers

    def _groups(self, m: Module, configuration, sequencer) -> list[LaneGroup]:
        """Add the groups of lanes, and what tells them all the same."""
        machine = self.machine
        m.submodules.ring = ring = RingControl(machine)
        self._static(m, ring)
        m.d.comb += [
            ring.round.eq(sequencer.round),
            ring.slot.eq(sequencer.slot),
            ring.edge.eq(sequencer.edge),
        ]
        _, copies = copies_of(machine, self._layer.row_groups, m)
        # The last tile of a layer is drained while the next layer is configured.
        held = {name: Signal.like(getattr(self._layer, name), name=f"drain_{name}") for name in DRAIN_FIELDS}
        with m.If(sequencer.captured):
            m.d.sync += [signal.eq(getattr(self._layer, name)) for name, signal in held.items()]
        self._drain_split_groups = held["split_groups"]
        self._row_groups = row_groups_of(machine, self._layer.row_groups, m)
        groups = []
        for number in range(machine.groups):
            group = LaneGroup(machine, number, dsp=self._dsp)
            m.submodules[f"group{number}"] = group
            m.d.comb += [getattr(group, name).eq(signal) for name, signal in held.items()]
            m.d.comb += [
                group.control.eq(ring.lanes),
                group.edge.eq(ring.lane_edge.word_select(number, machine.group_lanes)),
                group.first_part.eq(~self._layer.split_groups | (copies[number] == 0)),
                group.config.eq(configuration.write),
                group.mac.eq(ring.mac),
                group.batch.eq(self.job.batch),
            ]
            if machine.multipliers and machine.group:
                m.d.comb += group.product_mode.eq(self._layer.product_tables)
            groups.append(group)
        return groups

    def _streams(self, m: Module, program: ProgramReader, groups: list[LaneGroup]) -> None:
        """Add what brings stream words to the lanes."""
        machine = self.machine
        client = CLIENTS.index("lanes")
        m.submodules.streams = streams = StreamFetch(machine)
        m.submodules.distributor = distributor = WordDistributor(machine)
        wiring.connect(m, program.lanes_command, streams.command)
        m.submodules.lane_table = table = StreamRegister(64)
        wiring.connect(m, program.lane_table, table.i)
        wiring.connect(m, table.o, streams.table)
        # Whether it is granted depends on all other clients.
        m.submodules.lanes_request = request = StreamRegister(read_request(machine))
        wiring.connect(m, streams.request, request.i)
        wiring.connect(m, request.o, wiring.flipped(self.requests[client]))
        m.d.comb += [
            streams.released.eq(distributor.released),
            distributor.tag.eq(streams.tag),
            distributor.tag_valid.eq(streams.tag_valid),
            distributor.beat.eq(self.beat),
            distributor.beat_valid.eq(self.beat_valid[client]),
        ]
        for lane in range(machine.lanes):
            number, index = divmod(lane, machine.group_lanes)
            word = distributor.words[index % machine.word_buses]
            m.d.comb += [
                streams.taken[lane].eq(groups[number].taken[index]),
                groups[number].words[index].valid.eq(distributor.listens(lane)),
                groups[number].words[index].data.eq(word.data),
                groups[number].words[index].last.eq(word.last),
                groups[number].words[index].final.eq(word.final),
            ]

    def _keys(self, m, reader, configuration, executor, sequencer, groups) -> RiceKeyDecoder:
        """Add what brings keys to the lanes."""
        machine = self.machine
        m.submodules.keys = keys = RiceKeyDecoder(machine)
        self._static(m, keys)
        wiring.connect(m, reader.words, keys.words)
        m.d.comb += [
            keys.config.eq(configuration.write),
            keys.start.eq(executor.loaders_start),
            keys.tile_take.eq(sequencer.take_keys),
            sequencer.keys_ready.eq(keys.tile_ready),
            sequencer.keys_bank.eq(keys.bank),
        ]
        for group, row_group in zip(groups, self._row_groups, strict=True):
            for index, key in enumerate(group.keys):
                write = keys.write
                m.d.comb += [
                    *(key[name].eq(write[name]) for name in ("bank", "slot", "key", "bits", "field")),
                    key.enable.eq(write.enable & (write.lane == index) & (write.row_group == row_group)),
                ]
        return keys

    def _columns(self, m, executor, sequencer, configuration, pool, groups) -> None:
        """Add what brings activations to the lanes."""
        machine = self.machine
        m.submodules.fetch = fetch = ColumnFetch(machine)
        m.submodules.feed = feed = Feed(machine)
        self._static(m, fetch)
        self._static(m, feed)
        wanted = Signal()
        with m.If(fetch.pass_start.ready):
            m.d.sync += wanted.eq(0)
        with m.If(executor.pass_start):
            m.d.sync += wanted.eq(1)
        m.d.comb += [
            fetch.batch.eq(self.job.batch),
            fetch.pass_start.valid.eq(wanted),
            fetch.pass_start.payload.eq(executor.pass_item),
            fetch.data.eq(pool.data),
            fetch.released.eq(feed.released),
            pool.fetch.eq(fetch.read),
            feed.patch.eq(fetch.patch),
            feed.filled.eq(fetch.filled),
            feed.word_filled.eq(fetch.word_filled),
            feed.slot.eq(sequencer.slot),
            feed.commit.eq(sequencer.commit),
            feed.advance.eq(sequencer.advance),
            feed.end_tile.eq(sequencer.end_tile),
            feed.end_pass.eq(sequencer.done),
            sequencer.columns_ready.eq(feed.ready),
        ]
        if machine.multipliers:
            for number, group in enumerate(groups):
                for column in range(machine.columns):
                    m.d.comb += group.x[column].eq(feed.x[number][column])
        if machine.group:
            m.submodules.centre = centre = ProductCentre(machine, self._dsp)
            # The products are written as early as their bank is free.
            window = start_window(machine, Mac.product_latency)
            early = symbol_latency(machine) - Feed.product_latency - window[-1]
            start = delayed(m, feed.centre_start, early, "centre_start", reset_less=False)
            x = [delayed(m, Cat(own), early, f"centre_x{column}") for column, own in enumerate(feed.centre_x)]
            m.d.comb += [
                centre.config.eq(configuration.write),
                centre.signed_input.eq(self._layer.signed_input),
                centre.start.eq(start),
                centre.palette.eq(sequencer.round.palette),
                centre.parity.eq(sequencer.round.parity),
            ]
            for column in range(machine.columns):
                m.d.comb += [byte.eq(x[column].word_select(i, 8)) for i, byte in enumerate(centre.x[column])]
                m.d.comb += [group.products[column].eq(centre.products[column]) for group in groups]

    def _drains(self, m, reader, executor, sequencer, groups) -> RecordLoader:
        """Add what brings sums out of the lanes."""
        m.submodules.records = records = RecordLoader(self.machine)
        m.submodules.drain_control = control = DrainControl(self.machine)
        self._static(m, records)
        wiring.connect(m, reader.words, records.words)
        m.d.comb += [
            records.start.eq(executor.loaders_start),
            records.tile_done.eq(control.tile_done),
            control.captured.eq(sequencer.captured),
            control.row.eq(sequencer.captured_row),
            control.item.eq(executor.pass_item),
            control.records_ready.eq(records.ready),
            control.records_bank.eq(records.bank),
            control.busy.eq(Cat(group.busy for group in groups).any()),
            sequencer.drain_ready.eq(control.ready),
            executor.drain_ready.eq(control.ready),
        ]
        for group, row_group in zip(groups, self._row_groups, strict=True):
            m.d.comb += [
                group.record.eq(records.write),
                group.record.enable.eq(records.write.enable & (records.write.row_group == row_group)),
                group.start.eq(control.start),
                group.row.eq(control.start_row),
                group.item.eq(control.start_item),
                group.bank.eq(control.start_bank),
            ]
        if groups[0].gathers:
            m.submodules.part_sum = parts = PartSum(self.machine)
            m.d.comb += [
                parts.split_groups.eq(self._drain_split_groups),
                groups[0].whole.eq(parts.total),
                *(parts.partials[number].eq(group.partial) for number, group in enumerate(groups)),
            ]
        return records

    def _movers(self, m, reader, executor, pool, groups) -> Value:
        """Add what writes and reads whole tensors; return whether one goes beyond its buffer."""
        m.submodules.writer = writer = OutputWriter(self.machine)
        m.submodules.load = load = InputMover(self.machine)
        m.submodules.store = store = OutputMover(self.machine)
        for number, group in enumerate(groups):
            wiring.connect(m, group.word, writer.words[number])
        wiring.connect(m, load.command, reader.command)
        wiring.connect(m, reader.words, load.words)
        for name, given, port in (
            ("command", store.command, self.write_command),
            ("words", store.words, self.write_words),
        ):
            m.submodules[f"store_{name}"] = register = StreamRegister(given.payload.shape())
            wiring.connect(m, given, register.i)
            wiring.connect(m, register.o, wiring.flipped(port))
        word = Signal.like(load.write.payload)
        job, layer = self.job, self._layer
        m.d.comb += [
            writer.write.ready.eq(1),
            load.write.ready.eq(~writer.write.valid),
            word.eq(Mux(writer.write.valid, writer.write.payload.as_value(), load.write.payload.as_value())),
            pool.write.valid.eq(writer.write.valid | load.write.valid),
            pool.write.address.eq(word.address),
            pool.write.data.eq(word.data),
            pool.write.mask.eq(word.mask),
            pool.store.valid.eq(store.read_valid),
            pool.store.payload.eq(store.read_address),
            store.read_ready.eq(pool.store.ready),
            store.read_data_valid.eq(pool.store_valid),
            store.read_data.eq(pool.data),
            store.written.eq(self.written),
            executor.moved.eq(load.done | store.done),
        ]
        for mover, start, address, size, base in (
            (load, executor.load, job.input, job.input_size, layer.output_base),
            (store, executor.store, job.output, job.output_size, layer.input_base),
        ):
            m.d.comb += [
                mover.start.eq(start),
                mover.address.eq(address),
                mover.size.eq(size),
                mover.base.eq(base),
                mover.batch.eq(job.batch),
                mover.item_words.eq(layer.item_words),
            ]
        return load.error | store.error
