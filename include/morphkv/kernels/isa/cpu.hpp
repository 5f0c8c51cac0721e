// SPDX-License-Identifier: Apache-2.0
/// \file
/// The instruction sets, and which of them a processor and its operating system offer.
#ifndef MORPHKV_KERNELS_ISA_CPU_HPP
#define MORPHKV_KERNELS_ISA_CPU_HPP

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

#include "morphkv/core/config.hpp"

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels {

/// The versions of a kernel. On one CPU each can do all that those before it can; those of Arm and
/// of x86 are never on one CPU.
enum class Isa {
  portable,      ///< standard C++: the reference
  neon,          ///< 64-bit Arm
  neon_dotprod,  ///< and dot products of bytes
  avx2,          ///< AVX2, FMA, F16C, BMI, BMI2, LZCNT and POPCNT: x86-64-v3
  avx512,        ///< and AVX-512 F, BW, DQ and VL: x86-64-v4
  avx512_bf16,   ///< and dot products of bytes (VNNI) and of bfloat16
};

/// Whether a CPU whose best version is `best` can run `isa`.
[[nodiscard]] constexpr bool can_run(Isa best, Isa isa) noexcept {
  const bool other_cpu = isa == Isa::neon || isa == Isa::neon_dotprod;
  return isa <= best && (best < Isa::avx2 || !other_cpu);
}

[[nodiscard]] constexpr std::string_view to_string(Isa isa) noexcept {
  constexpr std::string_view texts[] = {
      // in the order of Isa
      "portable", "neon", "neon_dotprod", "avx2", "avx512", "avx512_bf16",
  };
  const auto index = static_cast<std::size_t>(isa);
  return index < std::size(texts) ? texts[index] : "unknown";
}

/// What an x86 processor says of itself: registers of its CPUID leaves (Intel SDM, volume 2A), and
/// XCR0, the register state that the operating system saves.
struct X86Features {
  std::uint32_t leaf1_ecx = 0;
  std::uint32_t leaf7_ebx = 0;
  std::uint32_t leaf7_ecx = 0;
  std::uint32_t leaf7_1_eax = 0;
  std::uint32_t extended1_ecx = 0;
  std::uint64_t xcr0 = 0;
};

/// The best version for a processor. Every feature that the compiler may use is tested: a virtual
/// machine may mask any of them, and an operating system may not save the wide registers.
[[nodiscard]] constexpr Isa best_isa_of(const X86Features& cpu) noexcept {
  const auto all = [](std::uint64_t bits, std::uint64_t wanted) {
    return (bits & wanted) == wanted;
  };
  constexpr std::uint32_t fma_popcnt_osxsave_avx_f16c =
      1U << 12U | 1U << 23U | 1U << 27U | 1U << 28U | 1U << 29U;
  constexpr std::uint32_t bmi_avx2_bmi2 = 1U << 3U | 1U << 5U | 1U << 8U;
  constexpr std::uint32_t lzcnt = 1U << 5U;
  constexpr std::uint32_t avx512_f_dq_bw_vl = 1U << 16U | 1U << 17U | 1U << 30U | 1U << 31U;
  constexpr std::uint32_t avx512_vnni = 1U << 11U;
  constexpr std::uint32_t avx512_bf16 = 1U << 5U;
  constexpr std::uint64_t ymm_state = 0x06;
  constexpr std::uint64_t zmm_state = 0xe6;
  const bool avx2 = all(cpu.leaf1_ecx, fma_popcnt_osxsave_avx_f16c) &&
                    all(cpu.leaf7_ebx, bmi_avx2_bmi2) && all(cpu.extended1_ecx, lzcnt) &&
                    all(cpu.xcr0, ymm_state);
  if (!avx2) return Isa::portable;
  if (!all(cpu.leaf7_ebx, avx512_f_dq_bw_vl) || !all(cpu.xcr0, zmm_state)) return Isa::avx2;
  const bool dots = all(cpu.leaf7_ecx, avx512_vnni) && all(cpu.leaf7_1_eax, avx512_bf16);
  return dots ? Isa::avx512_bf16 : Isa::avx512;
}

#if defined(__x86_64__) && defined(__GNUC__)
/// This machine's. Some microseconds in a virtual machine.
[[nodiscard]] inline X86Features x86_features() noexcept {
  X86Features cpu;
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(1, 0, &eax, &ebx, &ecx, &edx) != 0) cpu.leaf1_ecx = ecx;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0) {
    cpu.leaf7_ebx = ebx;
    cpu.leaf7_ecx = ecx;
    if (eax >= 1) {
      __cpuid_count(7, 1, eax, ebx, ecx, edx);
      cpu.leaf7_1_eax = eax;
    }
  }
  if (__get_cpuid(0x80000001U, &eax, &ebx, &ecx, &edx) != 0) cpu.extended1_ecx = ecx;
  if ((cpu.leaf1_ecx & 1U << 27U) != 0) {
    asm volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    cpu.xcr0 = std::uint64_t{edx} << 32U | eax;
  }
  return cpu;
}
#endif

#if defined(__aarch64__)
/// Whether this machine has dot products of bytes (FEAT_DotProd), as its operating system says, or
/// else as the unit's compiler was told.
[[nodiscard]] inline bool has_arm_dot_products() noexcept {
#if defined(__linux__)
  constexpr unsigned long asimddp = 1UL << 20U;
  return (getauxval(AT_HWCAP) & asimddp) != 0;
#elif defined(__APPLE__)
  int has = 0;
  std::size_t size = sizeof has;
  return sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, nullptr, 0) == 0 && has != 0;
#elif defined(__ARM_FEATURE_DOTPROD)
  return true;
#else
  return false;
#endif
}
#endif

}}}  // namespace morphkv::v0::kernels

#endif  // MORPHKV_KERNELS_ISA_CPU_HPP
