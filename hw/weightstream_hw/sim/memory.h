// AXI4 memory: in order, both directions sharing a bandwidth, with faults and pauses on request.
//
// It is clocked logic: it looks at what the accelerator shows before a rising edge (`look`), and says
// what it will show behind that edge (`drive`).

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <vector>

#include "Vmodel.h"

constexpr unsigned BUS_BYTES = sizeof(Vmodel::m_axi_rdata);
constexpr unsigned BUS_SIZE = BUS_BYTES == 4 ? 2 : BUS_BYTES == 8 ? 3 : 4;
constexpr unsigned INCR = 1;
constexpr unsigned PAGE = 4096;
// Credit that a beat costs, in 1/65536 bytes.
constexpr uint64_t BEAT = uint64_t(BUS_BYTES) << 16;

enum Response : int { OKAY = 0, SLVERR = 2, DECERR = 3 };
// A fault is numbered like the response that it causes; these two cause none: bursts that touch the
// range are not answered; no address at all is accepted.
enum Fault : int { SILENT = 4, DEAF = 5 };

struct Burst {
    uint64_t address, ready;
    unsigned beats, done;
    int response;
    bool silent;
};

// Bursts that were accepted and are not yet answered.
class Queue {
public:
    bool empty() const { return head_ == tail_; }
    bool full() const { return tail_ - head_ == DEPTH; }
    Burst& front() { return bursts_[head_ % DEPTH]; }
    void pop() { ++head_; }
    void push(const Burst& burst) { bursts_[tail_++ % DEPTH] = burst; }
    template <typename Action> void each(Action action) {
        for (unsigned i = head_; i != tail_; ++i) action(bursts_[i % DEPTH]);
    }

private:
    static constexpr unsigned DEPTH = 64;
    Burst bursts_[DEPTH];
    unsigned head_ = 0, tail_ = 0;
};

// A channel that was stalled must show the same on the next cycle.
template <typename... Fields> class Stall;

template <> class Stall<> {
public:
    bool same() const { return true; }
    void keep() {}
};

template <typename First, typename... Rest> class Stall<First, Rest...> : Stall<Rest...> {
public:
    // Whether the rule was kept.
    bool watch(bool valid, bool ready, const First& first, const Rest&... rest) {
        bool good = !stalled_ || (valid && same(first, rest...));
        stalled_ = valid && !ready;
        if (stalled_) keep(first, rest...);
        return good;
    }
    bool same(const First& first, const Rest&... rest) const {
        return !std::memcmp(&first_, &first, sizeof first) && Stall<Rest...>::same(rest...);
    }
    void keep(const First& first, const Rest&... rest) {
        first_ = first;
        Stall<Rest...>::keep(rest...);
    }

private:
    bool stalled_ = false;
    First first_{};
};

// The type of a port's value.
#define TYPE_OF(port) std::remove_reference_t<decltype(Vmodel::port)>

class Memory {
public:
    Memory(Vmodel& top, uint8_t* bytes, uint64_t size, uint64_t base)
        : top(top), bytes_(bytes), size_(size), base_(base) {}

    uint64_t latency = 40;
    // Bytes a cycle, times 65536.
    uint64_t bandwidth = 16 << 16;
    // Of 2^32 cycles, those in which a channel pauses; state of the random numbers.
    uint64_t pause = 0, random = 1;
    uint64_t read_beats = 0, write_beats = 0, read_bursts = 0, write_bursts = 0;
    // The first breach of the rules.
    char violation[160] = "";

    void reset() {
        reads_ = writes_ = answers_ = Queue();
        ar_ = {};
        aw_ = {};
        w_ = {};
        top.m_axi_rvalid = top.m_axi_bvalid = 0;
        top.m_axi_arready = top.m_axi_awready = top.m_axi_wready = 0;
    }

    void add_fault(int kind, uint64_t first, uint64_t last) {
        faults_.push_back({kind, first, last});
        deaf_ |= kind == DEAF;
    }

    // What waited for an answer gets it.
    void clear_faults(uint64_t now) {
        faults_.clear();
        deaf_ = false;
        auto wake = [&](Burst& burst) {
            if (burst.silent) burst.ready = now + latency;
            burst.silent = false;
        };
        reads_.each(wake);
        writes_.each(wake);
        answers_.each(wake);
    }

    // Take what the channels carry over the rising edge that comes.
    void look(uint64_t now) {
        now_ = now;
        bool ar = top.m_axi_arvalid && top.m_axi_arready, aw = top.m_axi_awvalid && top.m_axi_awready;
        w_taken_ = top.m_axi_wvalid && top.m_axi_wready;
        r_taken_ = top.m_axi_rvalid && top.m_axi_rready;
        b_taken_ = top.m_axi_bvalid && top.m_axi_bready;
        writer_waits_ = top.m_axi_wvalid;
        if (!ar_.watch(top.m_axi_arvalid, ar, top.m_axi_araddr, top.m_axi_arlen))
            violate("the read address changed while it was stalled", top.m_axi_araddr);
        if (!aw_.watch(top.m_axi_awvalid, aw, top.m_axi_awaddr, top.m_axi_awlen))
            violate("the write address changed while it was stalled", top.m_axi_awaddr);
        if (!w_.watch(top.m_axi_wvalid, w_taken_, top.m_axi_wdata, top.m_axi_wstrb, top.m_axi_wlast))
            violate("write data changed while they were stalled", 0);
        if (ar) {
            reads_.push(accept(top.m_axi_araddr, top.m_axi_arlen, top.m_axi_arsize, top.m_axi_arburst));
            ++read_bursts;
        }
        if (aw) {
            writes_.push(accept(top.m_axi_awaddr, top.m_axi_awlen, top.m_axi_awsize, top.m_axi_awburst));
            ++write_bursts;
        }
        if (w_taken_) write_beat();
        if (b_taken_) answers_.pop();
    }

    // Set the inputs for the cycle behind that edge.
    void drive() {
        credit_ = std::min(credit_ + bandwidth, 2 * BEAT + bandwidth);
        if (w_taken_) credit_ -= BEAT;

        if (r_taken_) top.m_axi_rvalid = 0;
        bool read = !top.m_axi_rvalid && !reads_.empty() && due(reads_.front()) && !paused();
        bool write = !writes_.empty() && !answers_.full() && !paused();
        // A beat of each, if there is credit for both; else they take turns.
        if (read && write && writer_waits_ && credit_ < 2 * BEAT) {
            (writes_first_ ? read : write) = false;
            if (credit_ >= BEAT) writes_first_ = !writes_first_;
        }
        if (read && credit_ >= BEAT) {
            credit_ -= BEAT;
            read_beat();
        }
        top.m_axi_wready = write && credit_ >= BEAT;

        if (b_taken_) top.m_axi_bvalid = 0;
        if (!top.m_axi_bvalid && !answers_.empty() && due(answers_.front()) && !paused()) {
            top.m_axi_bresp = answers_.front().response;
            top.m_axi_bvalid = 1;
        }
        top.m_axi_arready = !deaf_ && !reads_.full() && !paused();
        top.m_axi_awready = !deaf_ && !writes_.full() && !paused();
    }

private:
    struct Range {
        int kind;
        uint64_t first, last;
    };

    Vmodel& top;
    uint8_t* bytes_;
    uint64_t size_, base_;
    uint64_t now_ = 0, credit_ = 0;
    std::vector<Range> faults_;
    Queue reads_, writes_, answers_;
    Stall<TYPE_OF(m_axi_araddr), TYPE_OF(m_axi_arlen)> ar_;
    Stall<TYPE_OF(m_axi_awaddr), TYPE_OF(m_axi_awlen)> aw_;
    Stall<TYPE_OF(m_axi_wdata), TYPE_OF(m_axi_wstrb), TYPE_OF(m_axi_wlast)> w_;
    bool deaf_ = false, writes_first_ = false, writer_waits_ = false;
    bool r_taken_ = false, w_taken_ = false, b_taken_ = false;

    void violate(const char* what, uint64_t address) {
        if (!*violation)
            std::snprintf(violation, sizeof violation, "cycle %llu: %s (address 0x%llx)",
                          (unsigned long long)now_, what, (unsigned long long)address);
    }

    // Whether an answer may show on the next cycle.
    bool due(const Burst& burst) const { return !burst.silent && burst.ready <= now_ + 1; }

    bool paused() {
        if (!pause) return false;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        return (random >> 16 & 0xFFFFFFFF) < pause;
    }

    Burst accept(uint64_t address, unsigned length, unsigned size, unsigned type) {
        unsigned beats = length + 1;
        uint64_t bytes = uint64_t(beats) * BUS_BYTES;
        if (size != BUS_SIZE) violate("a beat is not as wide as the bus", address);
        if (type != INCR) violate("a burst is not of type INCR", address);
        if (address % BUS_BYTES) violate("a burst is not aligned to the bus", address);
        if (address % PAGE + bytes > PAGE) violate("a burst crosses 4 KiB", address);
        bool silent = false;
        for (const Range& range : faults_)
            silent |= range.kind == SILENT && address <= range.last && address + bytes > range.first;
        return {address, now_ + latency, beats, 0, OKAY, silent};
    }

    int response(uint64_t address) const {
        uint64_t offset = address - base_;
        int worst = offset < size_ && size_ - offset >= BUS_BYTES ? OKAY : DECERR;
        for (const Range& range : faults_)
            if (range.kind <= DECERR && address <= range.last && address + BUS_BYTES > range.first)
                worst = std::max(worst, range.kind);
        return worst;
    }

    void read_beat() {
        Burst& burst = reads_.front();
        uint64_t address = burst.address + uint64_t(burst.done++) * BUS_BYTES;
        top.m_axi_rresp = response(address);
        if (top.m_axi_rresp == OKAY)
            std::memcpy(&top.m_axi_rdata, bytes_ + (address - base_), BUS_BYTES);
        else  // what comes with an error is not data
            std::memset(&top.m_axi_rdata, 0xA5, BUS_BYTES);
        top.m_axi_rlast = burst.done == burst.beats;
        top.m_axi_rvalid = 1;
        ++read_beats;
        if (top.m_axi_rlast) reads_.pop();
    }

    void write_beat() {
        Burst& burst = writes_.front();
        uint64_t address = burst.address + uint64_t(burst.done++) * BUS_BYTES;
        bool last = burst.done == burst.beats;
        if (bool(top.m_axi_wlast) != last) violate("wlast is not on the last beat of a burst", address);
        int result = response(address);
        burst.response = std::max(burst.response, result);
        if (result == OKAY) {
            const auto* data = reinterpret_cast<const uint8_t*>(&top.m_axi_wdata);
            for (unsigned i = 0; i < BUS_BYTES; ++i)
                if (top.m_axi_wstrb >> i & 1) bytes_[address - base_ + i] = data[i];
        }
        ++write_beats;
        if (last) {
            burst.ready = now_ + latency;
            answers_.push(burst);
            writes_.pop();
        }
    }
};
