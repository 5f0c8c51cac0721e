// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which version of a kernel runs: chosen once, at run time, from what the CPU can do. No compiler
/// flag is asked of the user: every version carries its own target attributes.
///
/// | macro | effect |
/// |---|---|
/// | MORPHKV_PORTABLE_KERNELS | leaves out all but standard C++ |
/// | MORPHKV_SEPARATE_KERNELS | does not compile the kernels here |
/// | MORPHKV_KERNELS_IMPLEMENTATION | compiles them here for all others, in one file of the program |
///
/// They are defined before the first include. The units of a program compile in about half the time
/// if they define MORPHKV_SEPARATE_KERNELS. One file of the program is then
///
///     #define MORPHKV_KERNELS_IMPLEMENTATION
///     #include <morphkv/morphkv.hpp>
///
/// with the same compiler flags for the processor (-march), or the linker will not find them.
#ifndef MORPHKV_KERNELS_DISPATCH_HPP
#define MORPHKV_KERNELS_DISPATCH_HPP

#include <atomic>

#include "morphkv/kernels/isa/cpu.hpp"

#if !defined(MORPHKV_PORTABLE_KERNELS) && defined(__GNUC__) && !defined(_MSC_VER) && \
    !defined(__CUDACC__)
#if defined(__x86_64__)
#define MORPHKV_KERNELS_X86 1
#elif defined(__aarch64__) && defined(__ARM_NEON) && !defined(__AARCH64EB__)
#define MORPHKV_KERNELS_NEON 1
#endif
#endif

// Units with and without the instruction sets compile different code from one kernel: the name of
// an inline namespace keeps the two apart, as MORPHKV_ABI does for different flags.
#if defined(MORPHKV_KERNELS_X86) || defined(MORPHKV_KERNELS_NEON)
#define MORPHKV_BUILD with_isas
#else
#define MORPHKV_BUILD portable_only
#endif

// Where one unit compiles the kernels for all, the others do not read them. Kernels are templates,
// also those of one type, so that both can declare them:
// MORPHKV_KERNEL_BODY(f(a));  after the declaration of a template: what the chosen version returns
// MORPHKV_KERNEL_INSTANCE     before the declaration for one type
#if defined(MORPHKV_KERNELS_IMPLEMENTATION)
#define MORPHKV_KERNEL_INSTANCE template
#elif defined(MORPHKV_SEPARATE_KERNELS)
#define MORPHKV_KERNEL_INSTANCE extern template
#define MORPHKV_KERNELS_ELSEWHERE 1
#endif
#ifdef MORPHKV_KERNELS_ELSEWHERE
#define MORPHKV_KERNEL_BODY(...)
#else
#define MORPHKV_KERNEL_BODY(...)     \
  { MORPHKV_DISPATCH(__VA_ARGS__); } \
  static_assert(true)
#endif

#define MORPHKV_PRAGMA(...) _Pragma(#__VA_ARGS__)

// All functions between MORPHKV_TARGET_BEGIN(features) and MORPHKV_TARGET_END may use the features.
// GCC warns of the undefined vectors and of the masks inside its own intrinsics, at our lines.
#if defined(__clang__)
#define MORPHKV_TARGET_BEGIN(features) \
  MORPHKV_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define MORPHKV_TARGET_END MORPHKV_PRAGMA(clang attribute pop)
#define MORPHKV_UNROLL MORPHKV_PRAGMA(clang loop unroll(full))
#elif defined(__GNUC__)
#define MORPHKV_TARGET_BEGIN(features)                       \
  MORPHKV_PRAGMA(GCC push_options)                           \
  MORPHKV_PRAGMA(GCC target(features))                       \
  MORPHKV_PRAGMA(GCC diagnostic push)                        \
  MORPHKV_PRAGMA(GCC diagnostic ignored "-Wsign-conversion") \
  MORPHKV_PRAGMA(GCC diagnostic ignored "-Wuninitialized")   \
  MORPHKV_PRAGMA(GCC diagnostic ignored "-Wmaybe-uninitialized")
#define MORPHKV_TARGET_END MORPHKV_PRAGMA(GCC diagnostic pop) MORPHKV_PRAGMA(GCC pop_options)
#define MORPHKV_UNROLL MORPHKV_PRAGMA(GCC unroll 32)
#else
#define MORPHKV_UNROLL
#endif

#define MORPHKV_AVX2_FEATURES "avx,avx2,fma,f16c,bmi,bmi2,lzcnt,popcnt"
#define MORPHKV_AVX512_FEATURES MORPHKV_AVX2_FEATURES ",avx512f,avx512bw,avx512dq,avx512vl"
#define MORPHKV_AVX512_BF16_FEATURES MORPHKV_AVX512_FEATURES ",avx512vnni,avx512bf16"

// Functions that use dot products inline those that do not, so they must have all features of the
// unit. GCC's assembler knows the instructions from Armv8.2 on, and a unit's version has no macro:
// GCC leaves dot products out where the unit is for a processor with later features, but without
// them, as the A64FX. There neon_dotprod is neon.
#if defined(MORPHKV_KERNELS_NEON)
#if defined(__clang__)
#define MORPHKV_NEON_DOTPROD_FEATURES "dotprod"
#elif defined(__ARM_FEATURE_DOTPROD)
#define MORPHKV_NEON_DOTPROD_FEATURES "+dotprod"
#elif !defined(__ARM_FEATURE_FP16_SCALAR_ARITHMETIC) && !defined(__ARM_FEATURE_SVE) && \
    !defined(__ARM_FEATURE_COMPLEX)
#if defined(__ARM_FEATURE_CRYPTO)
#define MORPHKV_NEON_DOTPROD_FEATURES "arch=armv8.2-a+dotprod+crypto"
#else
#define MORPHKV_NEON_DOTPROD_FEATURES "arch=armv8.2-a+dotprod"
#endif
#endif
#endif

/// The functions of a vocabulary of vectors: always inlined.
#define MORPHKV_VECTOR_WORD MORPHKV_ALWAYS_INLINE inline

namespace morphkv { namespace shared_by_builds {

/// The version in use; a negative number until the first kernel runs. Constant initialisation: no
/// guard stands in the way of a kernel, and no order of initialisation matters.
inline constinit std::atomic<int> chosen_isa{-1};

}}  // namespace morphkv::shared_by_builds

namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels::inline MORPHKV_BUILD {

/// The best version for this CPU and this compiler.
[[nodiscard]] inline Isa best_isa() noexcept {
#if defined(MORPHKV_KERNELS_NEON)
  static const Isa best = has_arm_dot_products() ? Isa::neon_dotprod : Isa::neon;
  return best;
#elif defined(MORPHKV_KERNELS_X86)
  static const Isa best = best_isa_of(x86_features());  // CPUID takes long in a virtual machine
  return best;
#else
  return Isa::portable;
#endif
}

/// Lets kernels use nothing beyond `limit`, nor beyond the CPU: for tests and benchmarks. Results
/// on other threads are of one version or of the other. \return what is in use from now on
inline Isa limit_isa(Isa limit) noexcept {
  const Isa best = best_isa();
  const Isa lower = can_run(best, limit) ? limit : Isa::portable;
  const Isa chosen = limit > best ? best : lower;
  shared_by_builds::chosen_isa.store(static_cast<int>(chosen), std::memory_order_relaxed);
  return chosen;
}

/// The version in use. One load.
[[nodiscard]] inline Isa active_isa() noexcept {
  const int chosen = shared_by_builds::chosen_isa.load(std::memory_order_relaxed);
  if (chosen >= 0) [[likely]]
    return static_cast<Isa>(chosen);
  return limit_isa(best_isa());
}

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD

// MORPHKV_DISPATCH(function(arguments)): returns what the chosen version of the function returns.
#if defined(MORPHKV_KERNELS_X86)
#define MORPHKV_DISPATCH(...)          \
  switch (active_isa()) {              \
    case Isa::avx512_bf16:             \
      return avx512_bf16::__VA_ARGS__; \
    case Isa::avx512:                  \
      return avx512::__VA_ARGS__;      \
    case Isa::avx2:                    \
      return avx2::__VA_ARGS__;        \
    default:                           \
      return portable::__VA_ARGS__;    \
  }
#elif defined(MORPHKV_KERNELS_NEON)
#define MORPHKV_DISPATCH(...)           \
  switch (active_isa()) {               \
    case Isa::neon_dotprod:             \
      return neon_dotprod::__VA_ARGS__; \
    case Isa::neon:                     \
      return neon::__VA_ARGS__;         \
    default:                            \
      return portable::__VA_ARGS__;     \
  }
#else
#define MORPHKV_DISPATCH(...) return portable::__VA_ARGS__
#endif

#endif  // MORPHKV_KERNELS_DISPATCH_HPP
