// SPDX-License-Identifier: Apache-2.0
/// \file
/// Where the rows of a head's keys or values lie: in one piece, or in the pages of a block table.
#ifndef MORPHKV_CORE_KV_VIEW_HPP
#define MORPHKV_CORE_KV_VIEW_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "morphkv/core/config.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// A vector per token, of one head: KvView<const T> to read, KvView<T> to write too. Nothing is
/// owned.
///
/// Row t lies at data + t * stride; with a block table at
/// data + pages[t / page_rows] * page_stride + t % page_rows * stride.
template <class T>
struct KvView {
  T* data = nullptr;
  std::size_t stride = 0;               ///< elements between two rows of a piece
  const std::int32_t* pages = nullptr;  ///< the block table, or null: rows in one piece
  std::size_t page_rows = 0;            ///< rows of a page, at least 1; not used without a table
  std::size_t page_stride = 0;          ///< elements between the beginnings of two pages

  [[nodiscard]] T* page(std::size_t index) const noexcept {
    return data + static_cast<std::size_t>(pages[index]) * page_stride;
  }
  /// Row `token`. With a block table a division: KvCursor has none.
  [[nodiscard]] T* operator[](std::size_t token) const noexcept {
    if (pages == nullptr) return data + token * stride;
    return page(token / page_rows) + token % page_rows * stride;
  }

  // NOLINTNEXTLINE(google-explicit-constructor): write access includes read access
  [[nodiscard]] operator KvView<const T>() const noexcept requires(!std::is_const_v<T>) {
    return {data, stride, pages, page_rows, page_stride};
  }
};

/// Walks over rows in their order, piece by piece; it divides only where it begins. Pages that lie
/// one behind the other are one piece.
template <class T>
class KvCursor {
 public:
  explicit KvCursor(const KvView<const T>& rows, std::size_t token = 0) noexcept
      : rows_(rows), row_(rows.data + token * rows.stride) {
    if (rows.pages == nullptr) return;
    page_ = token / rows.page_rows;
    row_ = rows[token];
    left_ = rows.page_rows - token % rows.page_rows;
  }

  /// Advances over the rows that come next in one piece, at most `most` of them and at least one.
  /// \return how many; `first` receives the first one
  /// \pre so many rows are left
  std::size_t next(std::size_t most, const T*& first) noexcept {
    if (left_ == 0) {  // not before: a page after the last row may not be in the table
      row_ = rows_.page(++page_);
      left_ = rows_.page_rows;
    }
    while (left_ < most && rows_.page(page_ + 1) == row_ + left_ * rows_.stride) {
      ++page_;
      left_ += rows_.page_rows;
    }
    const std::size_t count = (std::min)(most, left_);
    first = row_;
    row_ += count * rows_.stride;
    left_ -= count;
    return count;
  }

 private:
  KvView<const T> rows_;
  const T* row_ = nullptr;
  std::size_t left_ = std::numeric_limits<std::size_t>::max();  ///< rows of the piece
  std::size_t page_ = 0;
};

/// Brings memory into the nearest cache, ready to be written: a caller that prefetches all of it
/// first and writes afterwards waits once, not once per piece. Any address is valid; nothing
/// changes.
inline void fetch_to_write(const void* data, std::size_t bytes) noexcept {
#if defined(__GNUC__) || defined(__clang__)
  constexpr std::size_t line = 64;
  const char* begin = static_cast<const char*>(data);
  for (std::size_t b = 0; b < bytes; b += line) __builtin_prefetch(begin + b, 1);
#else
  (void)data;
  (void)bytes;
#endif
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_KV_VIEW_HPP
