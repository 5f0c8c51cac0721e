// SPDX-License-Identifier: Apache-2.0
/// \file
/// Compile-time configuration. Every macro of the library begins with MORPHKV_, and a user may
/// define those below before the first include.
///
/// - MORPHKV_NO_EXCEPTIONS: an error of configuration prints its message and aborts. It is set by
///   itself under -fno-exceptions.
/// - MORPHKV_ASSERT(condition): checks a precondition; `assert` by default: nothing under NDEBUG.
#ifndef MORPHKV_CORE_CONFIG_HPP
#define MORPHKV_CORE_CONFIG_HPP

#include <cassert>

#if !defined(MORPHKV_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define MORPHKV_NO_EXCEPTIONS
#endif

#ifndef MORPHKV_ASSERT
#define MORPHKV_ASSERT(condition) assert(condition)
#endif

// MORPHKV_ABI: the inline namespace of the library's names. Two translation units with different
// flags compile different code from one inline function; the name keeps the two apart, so that a
// linker never takes one for the other, and a program runs on the processor that its narrow units
// were compiled for.
#if defined(__CUDACC__)
#define MORPHKV_ABI v0
#elif defined(__AVX512BF16__)
#define MORPHKV_ABI v0_avx512_bf16
#elif defined(__AVX512BW__)
#define MORPHKV_ABI v0_avx512
#elif defined(__AVX512F__)
#define MORPHKV_ABI v0_avx512f
#elif defined(__AVX2__)
#define MORPHKV_ABI v0_avx2
#elif defined(__AVX__)
#define MORPHKV_ABI v0_avx
#elif defined(__SSE4_2__)
#define MORPHKV_ABI v0_sse4
#elif defined(__ARM_FEATURE_SVE)
#define MORPHKV_ABI v0_sve
#elif defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC) && defined(__ARM_FEATURE_DOTPROD)
#define MORPHKV_ABI v0_fp16_dotprod
#elif defined(__ARM_FEATURE_FP16_VECTOR_ARITHMETIC)
#define MORPHKV_ABI v0_fp16
#elif defined(__ARM_FEATURE_DOTPROD)
#define MORPHKV_ABI v0_dotprod
#else
#define MORPHKV_ABI v0
#endif

#if defined(__GNUC__) || defined(__clang__)
#define MORPHKV_ALWAYS_INLINE [[gnu::always_inline]]
#define MORPHKV_NOINLINE [[gnu::noinline]]
#else
#define MORPHKV_ALWAYS_INLINE
#define MORPHKV_NOINLINE
#endif

// MORPHKV_HOST_DEVICE: before a function that device code may call too. MORPHKV_CALLS_FUNCTION:
// before the template of such a function that calls one it is given, which may be of the host.
#if defined(__CUDACC__)
#define MORPHKV_HOST_DEVICE __host__ __device__
#define MORPHKV_CALLS_FUNCTION _Pragma("nv_exec_check_disable")
#else
#define MORPHKV_HOST_DEVICE
#define MORPHKV_CALLS_FUNCTION
#endif

#endif  // MORPHKV_CORE_CONFIG_HPP
