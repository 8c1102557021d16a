// Compiled once per instruction set, with ISA naming it.
#include "feed_forward.h"
#include "gqa_layer.h"
#include "kernel_table.h"
#include "mla_layer.h"

namespace deepseek::ISA {

extern const KernelTable kTable;
const KernelTable kTable = {
    .name = ISA_NAME,
    .linear = linear,
    .expand_rows = expand_rows,
    .feed_forward = feed_forward,
    .mixture = mixture,
    .gqa_layer = gqa_layer,
    .mla_layer = mla_layer,
    .gqa_attention = gqa_attention,
    .gqa_write = gqa_write,
    .gqa_read = gqa_read,
    .latent_write = latent_write,
    .latent_read = latent_read,
    .latent_attention = latent_attention,
    .expanded_attention = expanded_attention,
    .rms_norm = rms_norm,
    .rotate = rotate,
    .silu_multiply = silu_multiply,
};

}  // namespace deepseek::ISA
