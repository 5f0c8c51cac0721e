// SPDX-License-Identifier: Apache-2.0
/// \file
/// Keys and values of a batch: where their rows lie, strided or in the pages of block tables, and
/// their elements, 16 bytes at a time.
#ifndef MORPHKV_CUDA_CACHE_ROWS_CUH
#define MORPHKV_CUDA_CACHE_ROWS_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <concepts>
#include <cstddef>
#include <cstdint>

#include "morphkv/core/kv_view.hpp"

namespace morphkv { inline namespace MORPHKV_ABI { namespace cuda {

// PyTorch defines __CUDA_NO_HALF_CONVERSIONS__, which takes the types' own conversions away.
[[nodiscard]] __device__ inline float to_float(float x) { return x; }
[[nodiscard]] __device__ inline float to_float(__half x) { return __half2float(x); }
[[nodiscard]] __device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline void assign(float& to, float x) { to = x; }
__device__ inline void assign(__half& to, float x) { to = __float2half_rn(x); }
__device__ inline void assign(__nv_bfloat16& to, float x) { to = __float2bfloat16_rn(x); }

/// Whether some memory, and what is a multiple of `strides` elements after it, lies on 16 bytes.
template <class T>
[[nodiscard]] bool lies_on_16_bytes(const T* data, std::size_t strides = 0) noexcept {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && strides * sizeof(T) % 16 == 0;
}

/// The keys, or the values, of one layer of a batch. Strides count elements and may be in any
/// order; each row lies on 16 bytes. Nothing is owned.
///
/// Slot s of head h of sequence i lies at data + i * sequence_stride + h * head_stride + s *
/// stride. With block tables, at data + page * page_stride + h * head_stride + s % page_rows *
/// stride, where page = pages[i * table_stride + h * head_table_stride + s / page_rows].
template <class T>
struct CacheRows {
  T* data = nullptr;
  std::size_t sequence_stride = 0;
  std::size_t head_stride = 0;
  std::size_t stride = 0;
  const std::int32_t* pages = nullptr;  ///< on the device; null: no block tables
  std::uint32_t page_rows = 0;          ///< slots of a page
  std::size_t page_stride = 0;
  std::size_t table_stride = 0;       ///< entries between the tables of two sequences
  std::size_t head_table_stride = 0;  ///< and of two heads; 0 where heads share one

  /// The rows of one head.
  [[nodiscard]] __host__ __device__ KvView<T> head(std::size_t sequence, std::size_t head) const {
    T* begin = data + head * head_stride;
    if (pages == nullptr) return {begin + sequence * sequence_stride, stride, nullptr, 0, 0};
    return {begin, stride, pages + sequence * table_stride + head * head_table_stride, page_rows,
            page_stride};
  }

  /// Whether every row lies on 16 bytes.
  [[nodiscard]] bool is_aligned() const noexcept {
    return lies_on_16_bytes(data, sequence_stride | head_stride | stride | page_stride);
  }
};

/// Row `slot` of a head: KvView::operator[], with a division of 32 bits.
template <class T>
[[nodiscard]] __device__ T* row_of(const KvView<T>& rows, std::uint32_t slot) {
  if (rows.pages == nullptr) return rows.data + slot * rows.stride;
  const auto page_rows = static_cast<std::uint32_t>(rows.page_rows);
  const std::uint32_t index = slot / page_rows;
  return rows.data + static_cast<std::size_t>(rows.pages[index]) * rows.page_stride +
         (slot - index * page_rows) * rows.stride;
}

/// Rows to read, one of which, the newest, may not have been written to the cache yet.
template <class T>
struct RowsToRead {
  KvView<T> rows{};
  const T* newest = nullptr;  ///< row `slot`
  std::uint32_t slot = ~std::uint32_t{0};
};
template <class T>
[[nodiscard]] __device__ const T* row_of(const RowsToRead<T>& rows, std::uint32_t slot) {
  return slot == rows.slot ? rows.newest : row_of(rows.rows, slot);
}

/// What a cache on the device stores.
template <class T>
concept Element =
    std::same_as<T, float> || std::same_as<T, __half> || std::same_as<T, __nv_bfloat16>;

/// How a warp reads rows of head_dim elements: `lanes` lanes share a row, each of them holds
/// `elements` neighbours, and a warp reads `rows` rows at once.
template <Element T, int head_dim>
struct RowLanes {
  static_assert(head_dim == 64 || head_dim == 128 || head_dim == 256);
  static constexpr int vector = 16 / static_cast<int>(sizeof(T));
  static constexpr int elements = vector > head_dim / 32 ? vector : head_dim / 32;
  static constexpr int lanes = head_dim / elements;
  static constexpr int rows = 32 / lanes;
};

/// Neighbours in registers.
template <Element T, int count>
struct Elements {
  static constexpr int words = count * static_cast<int>(sizeof(T)) / 16;
  uint4 word[words];

  /// \pre `from` lies on 16 bytes. Past the first-level cache, which such data would only flush,
  /// and by the coherent path: the block itself may have written the row.
  __device__ void load(const T* from) {
#pragma unroll
    for (int w = 0; w < words; ++w) word[w] = __ldcg(reinterpret_cast<const uint4*>(from) + w);
  }

  __device__ void widen(float (&out)[count]) const {
#pragma unroll
    for (int w = 0; w < words; ++w) {
      widen_word(word[w].x, out, 4 * w);
      widen_word(word[w].y, out, 4 * w + 1);
      widen_word(word[w].z, out, 4 * w + 2);
      widen_word(word[w].w, out, 4 * w + 3);
    }
  }

 private:
  static __device__ void widen_word(std::uint32_t bits, float (&out)[count], int word) {
    if constexpr (std::same_as<T, float>) {
      out[word] = __uint_as_float(bits);
    } else if constexpr (std::same_as<T, __nv_bfloat16>) {
      out[2 * word] = __uint_as_float(bits << 16U);
      out[2 * word + 1] = __uint_as_float(bits & 0xffff0000U);
    } else {
      out[2 * word] = __half2float(__ushort_as_half(static_cast<unsigned short>(bits & 0xffffU)));
      out[2 * word + 1] = __half2float(__ushort_as_half(static_cast<unsigned short>(bits >> 16U)));
    }
  }
};

/// Copies a row of `count` elements, by a warp. \pre both lie on 16 bytes
template <Element T>
__device__ void copy_row(const T* from, T* to, std::uint32_t count) {
  const std::uint32_t words = count * sizeof(T) / 16;
  for (std::uint32_t w = threadIdx.x % 32; w < words; w += 32) {
    reinterpret_cast<uint4*>(to)[w] = __ldcg(reinterpret_cast<const uint4*>(from) + w);
  }
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_CACHE_ROWS_CUH
