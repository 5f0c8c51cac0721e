// SPDX-License-Identifier: Apache-2.0
//
// Which version runs where: a machine that lacks one feature of a version gets the one below it.
#include "morphkv/kernels/isa/cpu.hpp"

#include <gtest/gtest.h>

#include <iterator>
#include <string>

#include "morphkv/kernels/dispatch.hpp"

namespace morphkv::testing::cpu_test { namespace {

using kernels::best_isa_of;
using kernels::Isa;
using kernels::X86Features;

constexpr std::uint32_t every_bit = ~std::uint32_t{0};
constexpr X86Features everything{every_bit, every_bit, every_bit,
                                 every_bit, every_bit, ~std::uint64_t{0}};

/// A processor with everything but one bit of one register.
template <class Register>
X86Features without(Register X86Features::*name, unsigned bit) {
  X86Features cpu = everything;
  cpu.*name &= static_cast<Register>(~(Register{1} << bit));
  return cpu;
}

TEST(Cpu, WithEverythingTheBest) {
  EXPECT_EQ(best_isa_of(everything), Isa::avx512_bf16);
  EXPECT_EQ(best_isa_of({}), Isa::portable);
}

TEST(Cpu, EveryFeatureOfAvx2IsTested) {
  for (const unsigned bit : {12U, 23U, 27U, 28U, 29U}) {  // FMA, POPCNT, OSXSAVE, AVX, F16C
    EXPECT_EQ(best_isa_of(without(&X86Features::leaf1_ecx, bit)), Isa::portable) << bit;
  }
  for (const unsigned bit : {3U, 5U, 8U}) {  // BMI, AVX2, BMI2
    EXPECT_EQ(best_isa_of(without(&X86Features::leaf7_ebx, bit)), Isa::portable) << bit;
  }
  EXPECT_EQ(best_isa_of(without(&X86Features::extended1_ecx, 5)), Isa::portable);  // LZCNT
}

TEST(Cpu, EveryFeatureOfAvx512IsTested) {
  for (const unsigned bit : {16U, 17U, 30U, 31U}) {  // F, DQ, BW, VL
    EXPECT_EQ(best_isa_of(without(&X86Features::leaf7_ebx, bit)), Isa::avx2) << bit;
  }
  EXPECT_EQ(best_isa_of(without(&X86Features::leaf7_ecx, 11)), Isa::avx512);   // VNNI
  EXPECT_EQ(best_isa_of(without(&X86Features::leaf7_1_eax, 5)), Isa::avx512);  // BF16
}

TEST(Cpu, TheOperatingSystemMustSaveTheRegisters) {
  for (const unsigned bit : {1U, 2U}) {  // XMM and YMM state
    EXPECT_EQ(best_isa_of(without(&X86Features::xcr0, bit)), Isa::portable) << bit;
  }
  for (const unsigned bit : {5U, 6U, 7U}) {  // mask and ZMM state
    EXPECT_EQ(best_isa_of(without(&X86Features::xcr0, bit)), Isa::avx2) << bit;
  }
}

TEST(Cpu, RunsNoVersionOfAnotherKind) {
  using kernels::can_run;
  constexpr Isa all[] = {Isa::portable, Isa::neon,   Isa::neon_dotprod,
                         Isa::avx2,     Isa::avx512, Isa::avx512_bf16};
  const auto versions_of = [&](Isa best) {
    std::string names;
    for (const Isa isa : all) {
      if (can_run(best, isa)) names += std::string(to_string(isa)) + ' ';
    }
    return names;
  };
  EXPECT_EQ(versions_of(Isa::portable), "portable ");
  EXPECT_EQ(versions_of(Isa::neon), "portable neon ");
  EXPECT_EQ(versions_of(Isa::neon_dotprod), "portable neon neon_dotprod ");
  EXPECT_EQ(versions_of(Isa::avx2), "portable avx2 ");
  EXPECT_EQ(versions_of(Isa::avx512), "portable avx2 avx512 ");
  EXPECT_EQ(versions_of(Isa::avx512_bf16), "portable avx2 avx512 avx512_bf16 ");
  EXPECT_EQ(to_string(static_cast<Isa>(std::size(all))), "unknown");
}

// A limit that this machine has is what runs, one above is all that the machine has, and one of
// another kind of machine below is the portable version.
TEST(Cpu, ALimitIsKept) {
  const Isa best = kernels::best_isa();
  for (const Isa limit :
       {Isa::portable, Isa::neon, Isa::neon_dotprod, Isa::avx2, Isa::avx512, Isa::avx512_bf16}) {
    const Isa below = kernels::can_run(best, limit) ? limit : Isa::portable;
    EXPECT_EQ(kernels::limit_isa(limit), limit > best ? best : below) << to_string(limit);
    EXPECT_EQ(kernels::active_isa(), limit > best ? best : below) << to_string(limit);
  }
  kernels::limit_isa(best);
}

#if defined(__aarch64__) && defined(__linux__)
/// The register that names the instructions: Linux lets programs read it where it says so.
TEST(Cpu, ThisMachineAgreesWithItsRegister) {
  constexpr unsigned long registers_can_be_read = 1UL << 11U;
  if ((getauxval(AT_HWCAP) & registers_can_be_read) == 0) GTEST_SKIP() << "no such register";
  std::uint64_t instructions = 0;
  asm("mrs %0, ID_AA64ISAR0_EL1" : "=r"(instructions));
  const bool dot_products = (instructions >> 44U & 15U) != 0;
  EXPECT_EQ(kernels::has_arm_dot_products(), dot_products);
#if defined(MORPHKV_KERNELS_NEON)
  EXPECT_EQ(kernels::best_isa(), dot_products ? Isa::neon_dotprod : Isa::neon);
#endif
}
#endif

#if defined(__x86_64__) && defined(__GNUC__)
/// What the compiler's own run-time library says of features that it knows by name.
TEST(Cpu, ThisMachineAgreesWithTheCompiler) {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                    __builtin_cpu_supports("popcnt");
  const Isa best = best_isa_of(kernels::x86_features());
  EXPECT_TRUE(avx2 || best == Isa::portable);
  EXPECT_EQ(best >= Isa::avx512, best >= Isa::avx2 && __builtin_cpu_supports("avx512f") &&
                                     __builtin_cpu_supports("avx512bw") &&
                                     __builtin_cpu_supports("avx512dq") &&
                                     __builtin_cpu_supports("avx512vl"));
#if !defined(MORPHKV_PORTABLE_KERNELS)
  EXPECT_EQ(kernels::best_isa(), best);
#endif
}
#endif

}  // namespace
}  // namespace morphkv::testing::cpu_test
