// Compiled once per instruction set, with ISA naming it.
#include "feed_forward.h"
#include "gqa_layer.h"
#include "kernel_table.h"
#include "linear.h"

namespace deepseek::ISA {

extern const KernelTable kTable;
const KernelTable kTable = {
    .name = ISA_NAME,
    .linear = linear,
    .expand_rows = expand_rows,
    .feed_forward = feed_forward,
    .mixture = mixture,
    .gqa_layer = gqa_layer,
};

}  // namespace deepseek::ISA
