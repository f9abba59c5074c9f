"""Vector code for the decoder, written as LLVM IR and called from numba.

With a 16-bit range and 14-bit frequencies, ``floor(R * cum / 2**14)`` is the high half of a 16 x 16 bit
product with ``4 * cum``: one instruction for many streams. LLVM lowers the vectors of 32 streams to what the
processor has.

All functions take addresses; the callers in `decode_numba` answer for the bounds.
"""

import os

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..spec.coder import SYMBOLS

#: Streams of one vector.
WIDTH = 32
#: 16-bit fields a vector of streams keeps: V, R, three words, bit offset in the first word.
STATE_FIELDS = 6
STATE_BYTES = STATE_FIELDS * 2 * WIDTH

_I = ir.IntType
_V1 = ir.VectorType(_I(1), WIDTH)
_V8 = ir.VectorType(_I(8), WIDTH)
_V16 = ir.VectorType(_I(16), WIDTH)
_V32 = ir.VectorType(_I(32), WIDTH)
_FIELD = 2 * WIDTH


def has_expand() -> bool:
    """Return whether the processor compiled for spreads words over a mask in one instruction (VBMI2)."""
    named = os.environ.get("NUMBA_CPU_NAME", "") or os.environ.get("NUMBA_CPU_FEATURES", "")
    if named:
        return "avx512vbmi2" in os.environ.get("NUMBA_CPU_FEATURES", "")
    return bool(llvmlite.binding.get_host_cpu_features().get("avx512vbmi2", False))


class _Build:
    """Short words for an IR builder."""

    def __init__(self, builder):
        self.b = builder

    def constant(self, vector, value):
        return ir.Constant(vector, [value] * vector.count)

    def pointer(self, address, offset, kind):
        return self.b.inttoptr(self.b.add(address, ir.Constant(_I(64), offset)), kind.as_pointer())

    def load(self, address, offset, kind, align=2):
        return self.b.load(self.pointer(address, offset, kind), align=align)

    def store(self, value, address, offset, align=2):
        self.b.store(value, self.pointer(address, offset, value.type), align=align)

    def call(self, name, result, arguments):
        kind = ir.FunctionType(result, [a.type for a in arguments])
        return self.b.call(self.b.module.declare_intrinsic(name, (), kind), arguments)

    def high_product(self, a, b):
        """High halves of products of 16-bit elements."""
        wide = ir.VectorType(_I(32), a.type.count)
        product = self.b.mul(self.b.zext(a, wide), self.b.zext(b, wide))
        return self.b.trunc(self.b.lshr(product, self.constant(wide, 16)), a.type)

    def greater(self, a, b):
        """Greater of unsigned elements."""
        return self.b.select(self.b.icmp_unsigned(">", a, b), a, b)

    def less(self, a, b):
        """Lesser of unsigned elements."""
        return self.b.select(self.b.icmp_unsigned("<", a, b), a, b)

    def tree(self, combine, values):
        """Combine values in pairs: in a chain each would wait for the one before."""
        while len(values) > 1:
            pairs = [combine(a, b) for a, b in zip(values[::2], values[1::2], strict=False)]
            values = pairs + (values[-1:] if len(values) % 2 else [])
        return values[0]

    def splat(self, value, vector):
        undefined = ir.Constant(vector, ir.Undefined)
        one = self.b.insert_element(undefined, value, ir.Constant(_I(32), 0))
        return self.b.shuffle_vector(one, undefined, self.constant(ir.VectorType(_I(32), vector.count), 0))

    def search(self, v, span, thresholds, count):
        """Find symbols by the last `count` thresholds of a table; return them, the new V, and the new R."""
        lows, highs = [self.constant(_V16, 0)], [span]
        steps = [self.constant(_V16, SYMBOLS - 1 - count)]
        for s in range(SYMBOLS - count, SYMBOLS):
            t = self.high_product(span, self.load(thresholds, s * _FIELD, _V16))
            reached = self.b.icmp_unsigned("<=", t, v)
            lows.append(self.b.select(reached, t, self.constant(_V16, 0)))
            highs.append(self.b.select(reached, span, t))
            steps.append(self.b.zext(reached, _V16))
        low = self.tree(self.greater, lows)
        high = self.tree(self.less, highs)
        return self.tree(self.b.add, steps), self.b.sub(v, low), self.b.sub(high, low)

    def normalise(self, v, span, first, second, offset, active):
        """Shift V and R left, V taking bits; return V, R, the bit offset, and a mask of who needs a word."""
        b = self.b
        smeared = span
        for d in (1, 2, 4, 8):
            smeared = b.or_(smeared, b.lshr(smeared, self.constant(_V16, d)))
        shift = self.call("llvm.ctpop.v32i16", _V16, [b.not_(smeared)])
        bits = self.call("llvm.fshl.v32i16", _V16, [first, second, offset])
        v = self.call("llvm.fshl.v32i16", _V16, [v, bits, shift])
        offset = b.add(offset, shift)
        need = b.icmp_unsigned(">=", offset, self.constant(_V16, 16))
        need = b.and_(b.bitcast(need, _I(WIDTH)), b.trunc(active, _I(WIDTH)))
        return v, b.shl(span, shift), b.and_(offset, self.constant(_V16, 15)), need

    def advance(self, state, v, span, active):
        """Normalise the streams of a state in memory; return who needs a word, as 64 bits."""
        first, second, offset = (self.load(state, i * _FIELD, _V16) for i in (2, 3, 5))
        v, span, offset, need = self.normalise(v, span, first, second, offset, active)
        for i, value in ((0, v), (1, span), (5, offset)):
            self.store(value, state, i * _FIELD)
        return self.b.zext(need, _I(64))

    def expand(self, words, kept, mask):
        """Spread words over the elements of a mask; the others keep what they are (VBMI2)."""
        arguments = [words, kept, self.b.bitcast(mask, _V1)]
        return self.call("llvm.x86.avx512.mask.expand.v32i16", _V16, arguments)


def _addresses(count):
    return types.uint64(*[types.uint64] * count)


def _decode_shared(count):
    """Return `decode_shared` for tables of which at most the last `count` + 1 symbols are in use.

    Straight-line code: in a loop LLVM would move the widened range out of it, and no longer see that a
    product's high half is one instruction.
    """

    @intrinsic
    def decode_shared(_context, state, thresholds, active, symbols):
        def generate(_ctx, builder, _signature, arguments):
            state, thresholds, active, symbols = arguments
            x = _Build(builder)
            v = x.load(state, 0, _V16)
            span = x.load(state, _FIELD, _V16)
            symbol, v, span = x.search(v, span, thresholds, count)
            x.store(builder.trunc(symbol, _V8), symbols, 0, align=1)
            return x.advance(state, v, span, active)

        return _addresses(4), generate

    decode_shared.__doc__ = """Decode a symbol of 32 streams that use the same table.

    Arguments: addresses of the state and of the table's thresholds (16 x 32 x uint16: 4 * cum, repeated), a
    mask of the streams that have a row, the address for 32 symbols (uint8). Returns a mask of the streams
    that need a word.
    """
    return decode_shared


#: For ternary weights, for their pairs, for everything.
decode_shared_3 = _decode_shared(2)
decode_shared_9 = _decode_shared(8)
decode_shared_16 = _decode_shared(15)


@intrinsic
def decode_run(_context, state, tables, columns, count, active, words, room, symbols):
    """Decode columns of 32 streams of one lane, their state in registers; for one vector alone, needs VBMI2.

    Arguments: addresses of the state, of the tables (as in `decode_shared`), of the columns' tables (uint16);
    the number of columns; the mask of streams that have a row; the address and number of the lane's words;
    the address for symbols. No stream may hold a third word. Stops before fewer than 32 words are left.
    Returns the columns decoded, and above them, from bit 32 on, the words taken.
    """

    def generate(_ctx, builder, _signature, arguments):
        state, tables, columns, count, active, words, room, symbols = arguments
        x = _Build(builder)
        fields = (0, 1, 2, 3, 5)
        zero, one = ir.Constant(_I(64), 0), ir.Constant(_I(64), 1)
        before = builder.block
        test, body, done = (builder.append_basic_block(name) for name in ("test", "body", "done"))
        initial = [x.load(state, i * _FIELD, _V16) for i in fields]
        builder.branch(test)
        builder.position_at_end(test)
        m, taken = builder.phi(_I(64)), builder.phi(_I(64))
        now = [builder.phi(_V16) for _ in fields]
        enough = builder.icmp_unsigned("<=", builder.add(taken, ir.Constant(_I(64), WIDTH)), room)
        builder.cbranch(builder.and_(builder.icmp_unsigned("<", m, count), enough), body, done)
        builder.position_at_end(body)
        v, span, first, second, offset = now
        number = builder.zext(x.load(builder.add(columns, builder.shl(m, one)), 0, _I(16)), _I(64))
        table = builder.add(tables, builder.mul(number, ir.Constant(_I(64), SYMBOLS * _FIELD)))
        symbol, v, span = x.search(v, span, table, SYMBOLS - 1)
        where = builder.add(symbols, builder.mul(m, ir.Constant(_I(64), WIDTH)))
        x.store(builder.trunc(symbol, _V8), where, 0, align=1)
        v, span, offset, need = x.normalise(v, span, first, second, offset, active)
        following = x.load(builder.add(words, builder.shl(taken, one)), 0, _V16)
        after = [v, span, builder.select(builder.bitcast(need, _V1), second, first)]
        after += [x.expand(following, second, need), offset]
        added = builder.zext(x.call("llvm.ctpop.i32", _I(32), [need]), _I(64))
        steps = (builder.add(m, one), builder.add(taken, added))
        builder.branch(test)
        for phi, start, next_ in zip((m, taken, *now), (zero, zero, *initial), (*steps, *after), strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(next_, body)
        builder.position_at_end(done)
        for i, value in zip(fields, now, strict=True):
            x.store(value, state, i * _FIELD)
        return builder.or_(m, builder.shl(taken, ir.Constant(_I(64), 32)))

    return _addresses(8), generate


@intrinsic
def decode_own(_context, state, table, scratch, bounds):
    """Find the symbol of one stream, by all 16 thresholds of its own table at once.

    Arguments: addresses of the stream's V (its R is a field further), of the table (16 x uint16, 4 * cum), of
    34 bytes to work in, and of the stream's place in the low bounds (its high bound is a field further).
    Returns the symbol.
    """

    def generate(_ctx, builder, _signature, arguments):
        state, table, scratch, bounds = arguments
        x = _Build(builder)
        vector = ir.VectorType(_I(16), SYMBOLS)
        v = x.load(state, 0, _I(16))
        span = x.load(state, _FIELD, _I(16))
        t = x.high_product(x.splat(span, vector), x.load(table, 0, vector))
        reached = builder.icmp_unsigned("<=", t, x.splat(v, vector))
        mask = builder.zext(builder.bitcast(reached, _I(SYMBOLS)), _I(32))
        leading = builder.ctlz(mask, ir.Constant(_I(1), 1))
        symbol = builder.zext(builder.sub(ir.Constant(_I(32), 31), leading), _I(64))
        # The products are the bounds: the symbol picks two neighbours; behind the last one stands the range.
        x.store(t, scratch, 0)
        x.store(span, scratch, 2 * SYMBOLS)
        where = builder.add(scratch, builder.shl(symbol, ir.Constant(_I(64), 1)))
        x.store(x.load(where, 0, _I(16)), bounds, 0)
        x.store(x.load(where, 2, _I(16)), bounds, _FIELD)
        return symbol

    return _addresses(4), generate


@intrinsic
def advance(_context, state, lows, highs, active):
    """Take the bounds of 32 symbols (addresses of uint16) into the states; return who needs a word."""

    def generate(_ctx, builder, _signature, arguments):
        state, lows, highs, active = arguments
        x = _Build(builder)
        low = x.load(lows, 0, _V16)
        v = builder.sub(x.load(state, 0, _V16), low)
        return x.advance(state, v, builder.sub(x.load(highs, 0, _V16), low), active)

    return _addresses(4), generate


@intrinsic
def spread_words(_context, state, need, pending, words):
    """Give each stream of the mask `need` a word: its pending third one, or the next of `words`.

    Needs VBMI2, and 32 words that can be read. Returns how many words were taken.
    """

    def generate(_ctx, builder, _signature, arguments):
        state, need, pending, words = arguments
        x = _Build(builder)
        need = builder.trunc(need, _I(WIDTH))
        pending = builder.trunc(pending, _I(WIDTH))
        fresh = builder.and_(need, builder.not_(pending))
        old = builder.bitcast(builder.and_(need, pending), _V1)
        first, second, third = (x.load(state, i * _FIELD, _V16) for i in (2, 3, 4))
        x.store(builder.select(builder.bitcast(need, _V1), second, first), state, 2 * _FIELD)
        second = builder.select(old, third, second)
        x.store(x.expand(x.load(words, 0, _V16), second, fresh), state, 3 * _FIELD)
        return builder.zext(x.call("llvm.ctpop.i32", _I(32), [fresh]), _I(64))

    return _addresses(4), generate


@intrinsic
def look_up(_context, symbols, palette, first, add, out):
    """Write, or add if `add`, the palette's values (16 x uint8) of 32 symbols to 32 bytes at `out`."""

    def generate(_ctx, builder, _signature, arguments):
        symbols, palette, first, add, out = arguments
        x = _Build(builder)
        symbol = x.load(symbols, 0, _V8, align=1)
        base = x.splat(builder.load(x.pointer(builder.add(palette, first), 0, _I(8)), align=1), _V8)
        before = builder.block
        test = builder.append_basic_block("test")
        body = builder.append_basic_block("body")
        done = builder.append_basic_block("done")
        start = builder.add(first, ir.Constant(_I(64), 1))
        builder.branch(test)
        builder.position_at_end(test)
        s = builder.phi(_I(64))
        value = builder.phi(_V8)
        builder.cbranch(builder.icmp_unsigned("<", s, ir.Constant(_I(64), 16)), body, done)
        builder.position_at_end(body)
        entry = x.splat(builder.load(x.pointer(builder.add(palette, s), 0, _I(8)), align=1), _V8)
        same = builder.icmp_unsigned("==", symbol, x.splat(builder.trunc(s, _I(8)), _V8))
        value_next = builder.select(same, entry, value)
        s_next = builder.add(s, ir.Constant(_I(64), 1))
        builder.branch(test)
        s.add_incoming(start, before)
        s.add_incoming(s_next, body)
        value.add_incoming(base, before)
        value.add_incoming(value_next, body)
        builder.position_at_end(done)
        present = x.load(out, 0, _V8, align=1)
        adding = builder.icmp_unsigned("!=", add, ir.Constant(_I(64), 0))
        present = builder.select(adding, present, x.constant(_V8, 0))
        x.store(builder.add(value, present), out, 0, align=1)
        return ir.Constant(_I(64), 0)

    return _addresses(5), generate


@intrinsic
def multiply_add(_context, columns, pitch, pairs, inputs, sums):
    """Add to 32 sums (int32) products of columns of weights (32 x int8, `pitch` apart) with inputs (int16).

    Columns are taken in pairs: LLVM makes one multiply-accumulate instruction of a pair's products.
    """

    def generate(_ctx, builder, _signature, arguments):
        columns, pitch, pairs, inputs, sums = arguments
        x = _Build(builder)
        both, both16, both32 = (ir.VectorType(_I(bits), 2 * WIDTH) for bits in (8, 16, 32))

        def numbers(values):
            return ir.Constant(ir.VectorType(_I(32), len(values)), values)

        before = builder.block
        test = builder.append_basic_block("test")
        body = builder.append_basic_block("body")
        done = builder.append_basic_block("done")
        initial = x.load(sums, 0, _V32, align=4)
        builder.branch(test)
        builder.position_at_end(test)
        n, column, entry = (builder.phi(_I(64)) for _ in range(3))
        total = builder.phi(_V32)
        builder.cbranch(builder.icmp_unsigned("<", n, pairs), body, done)
        builder.position_at_end(body)
        even = x.load(column, 0, _V8, align=1)
        second = builder.add(column, pitch)
        odd = x.load(second, 0, _V8, align=1)
        mixed = builder.shuffle_vector(
            even, odd, numbers([i + h * WIDTH for i in range(WIDTH) for h in (0, 1)])
        )
        weights = builder.sext(builder.sext(mixed, both16), both32)
        pair = x.splat(x.load(entry, 0, _I(32)), _V32)
        products = builder.mul(weights, builder.sext(builder.bitcast(pair, both16), both32))
        low = builder.shuffle_vector(products, products, numbers(list(range(0, 2 * WIDTH, 2))))
        high = builder.shuffle_vector(products, products, numbers(list(range(1, 2 * WIDTH, 2))))
        total_next = builder.add(total, builder.add(low, high))
        n_next = builder.add(n, ir.Constant(_I(64), 1))
        column_next = builder.add(second, pitch)
        entry_next = builder.add(entry, ir.Constant(_I(64), 4))
        builder.branch(test)
        for phi, start, following in (
            (n, ir.Constant(_I(64), 0), n_next),
            (column, columns, column_next),
            (entry, inputs, entry_next),
            (total, initial, total_next),
        ):
            phi.add_incoming(start, before)
            phi.add_incoming(following, body)
        builder.position_at_end(done)
        x.store(total, sums, 0, align=4)
        return ir.Constant(_I(64), 0)

    return _addresses(5), generate


@intrinsic
def transpose(_context, source, source_pitch, target, offsets):
    """Transpose 32 x 32 bytes.

    Row i is read at ``source + i * source_pitch``; column c is written at ``target + offsets[c]`` (an address
    of 32 x int64), 32 bytes each.
    """

    def generate(_ctx, builder, _signature, arguments):
        source, pitch, target, offsets = arguments
        x = _Build(builder)
        rows = []
        for _ in range(WIDTH):
            rows.append(x.load(source, 0, _V8, align=1))
            source = builder.add(source, pitch)
        index = ir.VectorType(_I(32), WIDTH)
        for log in range(5):
            block = 1 << log
            # Exchange the off-diagonal blocks of block x block bytes within each pair of rows.
            upper = [i if not i & block else i - block + WIDTH for i in range(WIDTH)]
            lower = [i + block if not i & block else i + WIDTH for i in range(WIDTH)]
            mixed = list(rows)
            for i in range(WIDTH):
                if not i & block:
                    a, c = rows[i], rows[i + block]
                    mixed[i] = builder.shuffle_vector(a, c, ir.Constant(index, upper))
                    mixed[i + block] = builder.shuffle_vector(a, c, ir.Constant(index, lower))
            rows = mixed
        for i, row in enumerate(rows):
            offset = x.load(offsets, 8 * i, _I(64), align=8)
            x.store(row, builder.add(target, offset), 0, align=1)
        return ir.Constant(_I(64), 0)

    return _addresses(4), generate


@intrinsic
def lowest_bit(_context, mask):
    """Return the number of the lowest set bit of a mask that is not zero."""

    def generate(_ctx, builder, _signature, arguments):
        return builder.cttz(arguments[0], ir.Constant(_I(1), 1))

    return _addresses(1), generate


@intrinsic
def leading_zeros(_context, value):
    """Return the leading zeros of a 64-bit number that is not zero."""

    def generate(_ctx, builder, _signature, arguments):
        return builder.ctlz(arguments[0], ir.Constant(_I(1), 1))

    return _addresses(1), generate
