"""The activation memory answers every read with the bytes that were written."""

import numpy as np

from simulation import simulate
from weightstream.spec.machine import Machine
from weightstream_hw.activations.pool import Pool

SMALL = Machine(lanes=8, slots=8, columns=2, pool_bytes=1 << 11, patch_words=64)


def test_pool_reads_any_address_for_both_clients_while_it_is_written():
    pool = Pool(SMALL)
    answers = []

    async def testbench(ctx):
        rng = np.random.default_rng(13)
        memory = bytearray(SMALL.pool_bytes)
        later = []
        for clock in range(1500):
            written = int(rng.integers(0, len(memory) // 8))
            data, mask = int(rng.integers(0, 1 << 63)), int(rng.integers(0, 256))
            fetch, store = rng.random() < 0.4, rng.random() < 0.8
            addresses = [int(address) for address in rng.integers(0, len(memory) - 8, 2)]
            # A read in the clock of a write to the same word may see either.
            for i, address in enumerate(addresses):
                if address // 8 <= written <= (address + 7) // 8:
                    addresses[i] = (address + 1024) % 2040
            ctx.set(pool.fetch, {"valid": fetch, "address": addresses[0]})
            ctx.set(pool.store.valid, store)
            ctx.set(pool.store.payload, addresses[1])
            ctx.set(pool.write, {"valid": 1, "address": written, "data": data, "mask": mask})
            assert ctx.get(pool.store.ready) == (not fetch)
            address = addresses[0] if fetch else addresses[1]
            later.append((fetch, store, int.from_bytes(memory[address : address + 8], "little")))
            if clock >= pool.latency:
                was_fetch, was_store, expected = later[clock - pool.latency]
                assert ctx.get(pool.store_valid) == (was_store and not was_fetch)
                if was_fetch or was_store:
                    answers.append(ctx.get(pool.data) == expected)
            for i in range(8):
                if mask >> i & 1:
                    memory[8 * written + i] = data >> 8 * i & 255
            await ctx.tick()

    simulate(pool, testbench)
    assert len(answers) > 1000 and all(answers)
