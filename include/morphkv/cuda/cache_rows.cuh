// SPDX-License-Identifier: Apache-2.0
/// \file
/// Where the keys or values of a batch lie: strided, or in the pages of block tables.
#ifndef MORPHKV_CUDA_CACHE_ROWS_CUH
#define MORPHKV_CUDA_CACHE_ROWS_CUH

#include <cstddef>
#include <cstdint>

#include "morphkv/core/kv_view.hpp"

namespace morphkv { inline namespace v0 { namespace cuda {

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
    const std::size_t strides = sequence_stride | head_stride | stride | page_stride;
    return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && strides * sizeof(T) % 16 == 0;
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

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_CACHE_ROWS_CUH
