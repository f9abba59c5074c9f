// A verilated accelerator behind a UART, with a computer's end of the line, behind a C interface.
//
// What is verilated has a register behind each input (see clocked.py): what is set here is seen one clock on.

#include <cstdint>
#include <deque>
#include <memory>

#include "Vmodel.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace {

constexpr unsigned RESET_CYCLES = 4;
constexpr unsigned BITS = 8;

}  // namespace

class Model {
public:
    VerilatedContext context;
    Vmodel top{&context};
    uint64_t cycles = 0;
    std::deque<uint8_t> to_board, from_board;

    explicit Model(unsigned divisor) : divisor_(divisor) {
#if VM_TRACE
        context.traceEverOn(true);
#endif
        top.receive = 1;
        top.rst = 1;
        for (unsigned i = 0; i < RESET_CYCLES; ++i) edge();
        top.rst = 0;
        edge();
    }

    ~Model() {
        trace("");
        top.final();
    }

    void cycle() {
        send();
        edge();
        receive();
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
    const unsigned divisor_;
    // Bits on their way to the board, the next one lowest, and clocks that the one on the line still has.
    unsigned sent_ = 0, sent_bits_ = 0, sent_clocks_ = 0;
    // Bits that came from the board, and clocks to the middle of the next one.
    unsigned received_ = 0, received_bits_ = 0, received_clocks_ = 0;
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> vcd_;
#endif

    void send() {
        if (sent_clocks_) {
            --sent_clocks_;
            return;
        }
        if (!sent_bits_) {
            if (to_board.empty()) return;
            sent_ = to_board.front() << 1 | 1u << (BITS + 1);
            sent_bits_ = BITS + 2;
            to_board.pop_front();
        }
        top.receive = sent_ & 1;
        sent_ >>= 1;
        --sent_bits_;
        sent_clocks_ = divisor_ - 1;
    }

    void receive() {
        if (!received_bits_) {
            if (top.transmit) return;
            received_bits_ = BITS + 1;
            received_clocks_ = divisor_ + divisor_ / 2;
            received_ = 0;
        }
        if (--received_clocks_) return;
        received_clocks_ = divisor_;
        if (--received_bits_)
            received_ |= unsigned(top.transmit) << (BITS - received_bits_);
        else if (top.transmit)  // its stop bit
            from_board.push_back(received_);
    }

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

Model* ws_new(unsigned divisor) { return new Model(divisor); }

void ws_delete(Model* model) { delete model; }

void ws_send(Model* model, const uint8_t* bytes, uint64_t count) {
    model->to_board.insert(model->to_board.end(), bytes, bytes + count);
}

// Let cycles pass; return how many bytes wait to be taken.
uint64_t ws_run(Model* model, uint64_t cycles) {
    for (uint64_t i = 0; i < cycles; ++i) model->cycle();
    return model->from_board.size();
}

void ws_take(Model* model, uint8_t* bytes, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) {
        bytes[i] = model->from_board.front();
        model->from_board.pop_front();
    }
}

// Bytes that are not yet on their way to the board.
uint64_t ws_waiting(Model* model) { return model->to_board.size(); }

uint64_t ws_cycles(Model* model) { return model->cycles; }

int ws_interrupt(Model* model) { return model->top.irq; }

// Write waves from now on, until an empty path comes; return 0 if that cannot be.
int ws_trace(Model* model, const char* path) { return model->trace(path); }
}
