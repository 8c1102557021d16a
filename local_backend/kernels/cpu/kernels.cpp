// Compiled once per instruction set, with ISA naming it.
#include "kernel_table.h"
#include "linear.h"

namespace deepseek::ISA {

extern const KernelTable kTable;
const KernelTable kTable = {
    ISA_NAME,
    linear,
    expand_rows,
};

}  // namespace deepseek::ISA
