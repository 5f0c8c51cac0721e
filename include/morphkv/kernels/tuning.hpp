// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the kernels' speed depends on and their results do not, per instruction set. A program
/// overrides a set by a macro, before it first includes morphkv and in all of its files alike:
///
///     #define MORPHKV_TUNING_AVX512 {.prefetch_bytes = 4096}
///
/// What it does not name has the value that is written below. The defaults were measured on
/// AMD Zen 3 and Zen 4 and Intel Cascade Lake; see docs/performance.md.
#ifndef MORPHKV_KERNELS_TUNING_HPP
#define MORPHKV_KERNELS_TUNING_HPP

#include <cstddef>

#include "morphkv/core/config.hpp"

#ifndef MORPHKV_TUNING_AVX2
#define MORPHKV_TUNING_AVX2 \
  { .registers = 16, .query_vectors = 2, .columns = 6 }
#endif
#ifndef MORPHKV_TUNING_AVX512
#define MORPHKV_TUNING_AVX512 \
  {}
#endif
#ifndef MORPHKV_TUNING_NEON
#define MORPHKV_TUNING_NEON \
  {}
#endif

namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels {

struct Tuning {
  /// Vector registers. Decode attention keeps as many partial sums as they hold.
  std::size_t registers = 32;
  /// Products of matrices: vectors of queries, and numbers of keys or values, that meet in
  /// registers. 1, 2 or 4 vectors.
  std::size_t query_vectors = 4;
  std::size_t columns = 4;
  /// Tokens whose values stay in the nearest cache while one pass of decode attention sums them for
  /// all heads of the group. A multiple of 32, at most 256: sums of integers must not overflow.
  std::size_t value_tokens = 64;
  /// Bytes between what decode attention reads and what it prefetches. Less does not cover the
  /// latency of the memory; more evicts from the nearest cache what is still to be read.
  std::size_t prefetch_bytes = 8192;
};

inline constexpr Tuning avx2_tuning MORPHKV_TUNING_AVX2;
inline constexpr Tuning avx512_tuning MORPHKV_TUNING_AVX512;
inline constexpr Tuning neon_tuning MORPHKV_TUNING_NEON;

}}}  // namespace morphkv::v0::kernels

#endif  // MORPHKV_KERNELS_TUNING_HPP
