// Which instruction sets this library holds kernels for, and which of them this processor has.
#include <cstring>

#include "kernel_table.h"

#if defined(DEEPSEEK_X86)
#include <cpuid.h>
#elif defined(DEEPSEEK_ARM_LINUX)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace deepseek {

#define DECLARE_ISA(isa)           \
  namespace isa {                  \
  extern const KernelTable kTable; \
  }
DECLARE_ISA(portable)
#if defined(DEEPSEEK_X86)
DECLARE_ISA(avx2)
DECLARE_ISA(avx_vnni)
DECLARE_ISA(avx512)
#elif defined(DEEPSEEK_ARM_LINUX)
DECLARE_ISA(dotprod)
DECLARE_ISA(i8mm)
#endif
#undef DECLARE_ISA

namespace {

bool always() { return true; }

#if defined(DEEPSEEK_X86)
bool has_avx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
// Compilers learned to ask for it late, so the processor is asked: leaf 7, subleaf 1, EAX bit 4.
bool has_avx_vnni() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return has_avx2() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & (1u << 4));
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}
#elif defined(DEEPSEEK_ARM_LINUX)
bool has_dotprod() { return getauxval(AT_HWCAP) & HWCAP_ASIMDDP; }
bool has_i8mm() { return has_dotprod() && (getauxval(AT_HWCAP2) & HWCAP2_I8MM); }
#endif

struct InstructionSet {
  const char* name;
  const KernelTable* kernels;
  bool (*usable)();
};

// Best first.
const InstructionSet kInstructionSets[] = {
#if defined(DEEPSEEK_X86)
    {"avx512", &avx512::kTable, has_avx512},
    {"avx_vnni", &avx_vnni::kTable, has_avx_vnni},
    {"avx2", &avx2::kTable, has_avx2},
#elif defined(DEEPSEEK_ARM_LINUX)
    {"i8mm", &i8mm::kTable, has_i8mm},
    {"dotprod", &dotprod::kTable, has_dotprod},
#endif
    {"portable", &portable::kTable, always},
};
constexpr int kCount = sizeof(kInstructionSets) / sizeof(kInstructionSets[0]);

}  // namespace

const char* isa_name(int n) { return n >= 0 && n < kCount ? kInstructionSets[n].name : nullptr; }

const KernelTable* find_kernels(const char* isa) {
  for (const InstructionSet& set : kInstructionSets) {
    if (!std::strcmp(isa, set.name)) return set.usable() ? set.kernels : nullptr;
  }
  return nullptr;
}

}  // namespace deepseek
