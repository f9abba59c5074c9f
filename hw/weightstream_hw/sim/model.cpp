// The verilated accelerator with a clock, a processor's AXI4-Lite master and a memory, behind a C interface.
//
// What is verilated has a register behind each input (see clocked.py): this file sets what those
// registers load on the next rising edge, and reads outputs that have settled. One evaluation does it.

#include <cstdint>
#include <memory>

#include "Vmodel.h"
#include "memory.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace {

constexpr unsigned RESET_CYCLES = 4;
// Cycles that a register access may take.
constexpr unsigned REGISTER_CYCLES = 4096;

}  // namespace

class Model {
public:
    VerilatedContext context;
    Vmodel top{&context};
    Memory memory;
    uint64_t cycles = 0;

    Model(uint8_t* bytes, uint64_t size, uint64_t base) : memory(top, bytes, size, base) {
#if VM_TRACE
        context.traceEverOn(true);
#endif
        reset();
    }

    ~Model() {
        trace("");
        top.final();
    }

    void reset() {
        memory.reset();
        top.s_axi_awvalid = top.s_axi_wvalid = top.s_axi_arvalid = 0;
        top.s_axi_bready = top.s_axi_rready = 1;
        top.rst = 1;
        for (unsigned i = 0; i < RESET_CYCLES; ++i) edge();
        top.rst = 0;
        edge();
    }

    // Let the clock rise; then see what the next edge will take, and set the inputs behind that.
    void cycle() {
        edge();
        awtaken_ = top.s_axi_awvalid && top.s_axi_awready;
        wtaken_ = top.s_axi_wvalid && top.s_axi_wready;
        artaken_ = top.s_axi_arvalid && top.s_axi_arready;
        btaken_ = top.s_axi_bvalid && top.s_axi_bready;
        rtaken_ = top.s_axi_rvalid && top.s_axi_rready;
        memory.look(cycles);
        memory.drive();
    }

    int write32(uint32_t address, uint32_t data) {
        top.s_axi_awaddr = address;
        top.s_axi_wdata = data;
        top.s_axi_wstrb = 15;
        top.s_axi_awvalid = top.s_axi_wvalid = 1;
        for (unsigned i = 0; i < REGISTER_CYCLES; ++i) {
            cycle();
            if (awtaken_) top.s_axi_awvalid = 0;
            if (wtaken_) top.s_axi_wvalid = 0;
            if (btaken_) return top.s_axi_bresp;
        }
        return -1;
    }

    int read32(uint32_t address, uint32_t* data) {
        top.s_axi_araddr = address;
        top.s_axi_arvalid = 1;
        for (unsigned i = 0; i < REGISTER_CYCLES; ++i) {
            cycle();
            if (artaken_) top.s_axi_arvalid = 0;
            if (rtaken_) {
                *data = top.s_axi_rdata;
                return top.s_axi_rresp;
            }
        }
        return -1;
    }

    bool trace(const char* path) {
#if VM_TRACE
        if (vcd_) vcd_->close();
        vcd_.reset();
        if (!*path) return true;
        vcd_ = std::make_unique<VerilatedVcdC>();
        top.trace(vcd_.get(), 99);
        vcd_->open(path);
        return vcd_->isOpen();
#else
        return !*path;
#endif
    }

private:
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> vcd_;
#endif
    // What the register bus carries over the next rising edge.
    bool awtaken_ = false, wtaken_ = false, artaken_ = false, btaken_ = false, rtaken_ = false;

    void edge() {
        level(1);
        level(0);
        ++cycles;
    }

    void level(bool clock) {
        top.clk = clock;
        top.eval();
#if VM_TRACE
        if (vcd_) vcd_->dump(context.time());
#endif
        context.timeInc(1);
    }
};

extern "C" {

Model* ws_new(uint8_t* bytes, uint64_t size, uint64_t base) { return new Model(bytes, size, base); }

void ws_delete(Model* model) { delete model; }

unsigned ws_bus_bytes() { return BUS_BYTES; }

void ws_reset(Model* model) { model->reset(); }

// Latency in cycles; bandwidth in 1/65536 bytes a cycle; pauses in 2^-32 of all cycles.
void ws_memory(Model* model, uint64_t latency, uint64_t bandwidth, uint64_t pause, uint64_t seed) {
    model->memory.latency = latency;
    model->memory.bandwidth = bandwidth;
    model->memory.pause = pause;
    model->memory.random = seed * 0x9E3779B97F4A7C15 | 1;
}

void ws_fault(Model* model, int kind, uint64_t first, uint64_t last) {
    model->memory.add_fault(kind, first, last);
}

void ws_clear_faults(Model* model) { model->memory.clear_faults(model->cycles); }

// Return the response, or -1 if there is none.
int ws_write32(Model* model, uint32_t address, uint32_t data) { return model->write32(address, data); }

int ws_read32(Model* model, uint32_t address, uint32_t* data) { return model->read32(address, data); }

// Return 1 as soon as the interrupt is high, 0 when the cycles have passed.
int ws_run(Model* model, uint64_t cycles) {
    for (uint64_t i = 0; i < cycles && !model->top.irq; ++i) model->cycle();
    return model->top.irq;
}

void ws_step(Model* model, uint64_t cycles) {
    for (uint64_t i = 0; i < cycles; ++i) model->cycle();
}

// Cycles; beats read, written; bursts read, written.
void ws_counters(Model* model, uint64_t* counters) {
    counters[0] = model->cycles;
    counters[1] = model->memory.read_beats;
    counters[2] = model->memory.write_beats;
    counters[3] = model->memory.read_bursts;
    counters[4] = model->memory.write_bursts;
}

// The first breach of the bus's rules, or an empty text.
const char* ws_violation(Model* model) { return model->memory.violation; }

// Write waves from now on, until an empty path comes; return 0 if that cannot be.
int ws_trace(Model* model, const char* path) { return model->trace(path); }
}
