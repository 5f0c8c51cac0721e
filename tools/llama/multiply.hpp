// SPDX-License-Identifier: Apache-2.0
/// \file
/// Activations times weights of 16 or 32 bits, on all threads.
#ifndef MORPHKV_TOOLS_LLAMA_MULTIPLY_HPP
#define MORPHKV_TOOLS_LLAMA_MULTIPLY_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "llama/weights.hpp"
#include "morphkv/kernels/dispatch.hpp"
#include "support/workers.hpp"

#if defined(MORPHKV_KERNELS_X86)
#include <immintrin.h>
#endif

namespace morphkv::llama::detail {

#if defined(MORPHKV_KERNELS_X86)

MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_FEATURES)
namespace avx512 {
using Vector = __m512;
constexpr std::size_t lanes = 16;
constexpr std::size_t tile_rows = 4;
constexpr std::size_t tile_tokens = 6;
inline Vector zero() { return _mm512_setzero_ps(); }
inline Vector load(const float* from) { return _mm512_loadu_ps(from); }
template <TensorType type>  // NOLINT(readability-identifier-naming)
inline Vector load_weights(const std::byte* from) {
  if constexpr (type == TensorType::f32) {
    return _mm512_loadu_ps(from);
  } else {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    if constexpr (type == TensorType::f16) return _mm512_cvtph_ps(bits);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
}
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
inline float sum(Vector v) { return _mm512_reduce_add_ps(v); }
#include "llama/multiply_tile.inl"  // NOLINT(readability-duplicate-include)
}  // namespace avx512
MORPHKV_TARGET_END

MORPHKV_TARGET_BEGIN(MORPHKV_AVX2_FEATURES)
namespace avx2 {
using Vector = __m256;
constexpr std::size_t lanes = 8;
constexpr std::size_t tile_rows = 4;
constexpr std::size_t tile_tokens = 2;
inline Vector zero() { return _mm256_setzero_ps(); }
inline Vector load(const float* from) { return _mm256_loadu_ps(from); }
template <TensorType type>  // NOLINT(readability-identifier-naming)
inline Vector load_weights(const std::byte* from) {
  if constexpr (type == TensorType::f32) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(from));
  } else {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    if constexpr (type == TensorType::f16) return _mm256_cvtph_ps(bits);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
}
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
inline float sum(Vector v) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
#include "llama/multiply_tile.inl"  // NOLINT(readability-duplicate-include)
}  // namespace avx2
MORPHKV_TARGET_END

#endif

namespace portable {
constexpr std::size_t lanes = 8;
struct Vector {
  float at[lanes];
};
constexpr std::size_t tile_rows = 2;
constexpr std::size_t tile_tokens = 2;
inline Vector zero() { return {}; }
inline Vector load(const float* from) {
  Vector v;
  std::copy_n(from, lanes, v.at);
  return v;
}
template <TensorType type>  // NOLINT(readability-identifier-naming)
inline Vector load_weights(const std::byte* from) {
  Vector v;
  support::to_float(type, from, lanes, v.at);
  return v;
}
inline Vector multiply_add(const Vector& a, const Vector& b, Vector c) {
  for (std::size_t i = 0; i < lanes; ++i) c.at[i] += a.at[i] * b.at[i];
  return c;
}
inline float sum(const Vector& v) {
  float total = 0;
  for (const float value : v.at) total += value;
  return total;
}
#include "llama/multiply_tile.inl"  // NOLINT(readability-duplicate-include)
}  // namespace portable

template <TensorType type>  // NOLINT(readability-identifier-naming)
void multiply_rows(const float* x, std::size_t tokens, const std::byte* w, std::size_t rows,
                   std::size_t columns, float* out, std::size_t out_stride) {
  switch (kernels::active_isa()) {
#if defined(MORPHKV_KERNELS_X86)
    case kernels::Isa::avx512_bf16:
    case kernels::Isa::avx512:
      return avx512::multiply_rows<type>(x, tokens, w, rows, columns, out, out_stride);
    case kernels::Isa::avx2:
      return avx2::multiply_rows<type>(x, tokens, w, rows, columns, out, out_stride);
#endif
    default:
      return portable::multiply_rows<type>(x, tokens, w, rows, columns, out, out_stride);
  }
}

inline void multiply_rows(TensorType type, const float* x, std::size_t tokens, const std::byte* w,
                          std::size_t rows, std::size_t columns, float* out,
                          std::size_t out_stride) {
  switch (type) {
    case TensorType::f32:
      return multiply_rows<TensorType::f32>(x, tokens, w, rows, columns, out, out_stride);
    case TensorType::f16:
      return multiply_rows<TensorType::f16>(x, tokens, w, rows, columns, out, out_stride);
    case TensorType::bf16:
      return multiply_rows<TensorType::bf16>(x, tokens, w, rows, columns, out, out_stride);
  }
}

}  // namespace morphkv::llama::detail

namespace morphkv::llama {

/// out = x w^T. \param x [tokens, w.columns()] \param out is resized to [tokens, w.rows()]
inline void multiply(const Matrix& x, const Weights& w, Matrix& out, support::Workers& workers) {
  constexpr std::size_t rows_per_job = 64;    // some 100 KB of weights
  constexpr std::size_t tokens_per_job = 96;  // their activations stay in the second-level cache
  const auto tokens = static_cast<std::size_t>(x.rows());
  out.resize(x.rows(), static_cast<Eigen::Index>(w.rows()));
  const std::size_t row_jobs = (w.rows() + rows_per_job - 1) / rows_per_job;
  const std::size_t token_jobs = (tokens + tokens_per_job - 1) / tokens_per_job;
  workers(row_jobs * token_jobs, [&](std::size_t job) {
    const std::size_t row = job % row_jobs * rows_per_job;
    const std::size_t token = job / row_jobs * tokens_per_job;
    detail::multiply_rows(w.type(), x.data() + token * w.columns(),
                          (std::min)(tokens_per_job, tokens - token), w.row(row),
                          (std::min)(rows_per_job, w.rows() - row), w.columns(),
                          out.data() + token * w.rows() + row, w.rows());
  });
}

}  // namespace morphkv::llama

#endif  // MORPHKV_TOOLS_LLAMA_MULTIPLY_HPP
