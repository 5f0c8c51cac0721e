// SPDX-License-Identifier: Apache-2.0
/// \file
/// Keeps the memory busy while a kernel computes.
#ifndef MORPHKV_KERNELS_VECTOR_READ_AHEAD_HPP
#define MORPHKV_KERNELS_VECTOR_READ_AHEAD_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/dispatch.hpp"

#ifndef MORPHKV_READ_AHEAD_LINES
/// Cache lines between what a kernel reads and what it asks the memory for: 8 KB. Less does not
/// cover the latency of the memory, more pushes out of the nearest cache what is still to be read.
#define MORPHKV_READ_AHEAD_LINES 128
#endif

#if defined(MORPHKV_KERNELS_X86) || defined(MORPHKV_KERNELS_NEON)
namespace morphkv::inline v0::kernels::inline MORPHKV_KERNELS_BUILD {

/// The rows of keys, those of values, and what the caller reads next, in this order: the way that a
/// decode step goes, walked by prefetches some lines ahead of it. The lead does not shrink between
/// keys and values, nor in the softmax, so the memory never waits for the arithmetic.
template <Scalar T>
class ReadAhead {
 public:
  explicit ReadAhead(const DecodeAttention<T>& a) noexcept : attention_(a) { enter(); }

  /// Asks for the next `count` lines.
  [[gnu::always_inline]] inline void lines(std::size_t count) noexcept {
    if (count <= lines_left_) [[likely]] {
      fetch(count);
    } else {
      lines_across(count);
    }
  }

  /// Lines of one token's key.
  [[nodiscard]] static std::size_t token_lines(const DecodeAttention<T>& a) noexcept {
    return (a.head_dim * sizeof(T) + line - 1) / line;
  }

 private:
  static constexpr std::size_t line = 64;

  [[nodiscard]] static std::uintptr_t address(const void* pointer) noexcept {
    return reinterpret_cast<std::uintptr_t>(pointer);
  }
  [[gnu::always_inline]] static inline const void* pointer(std::uintptr_t address) noexcept {
    return reinterpret_cast<const void*>(address);  // NOLINT(performance-no-int-to-ptr)
  }

  [[gnu::always_inline]] inline void fetch(std::size_t count) noexcept {
    for (std::size_t i = 0; i < count; ++i) __builtin_prefetch(pointer(at_ + i * line));
    at_ += count * line;
    lines_left_ -= count;
  }

  /// Goes on to the next row or the next range.
  [[gnu::noinline]] void lines_across(std::size_t count) noexcept {
    while (count > 0) {
      if (lines_left_ == 0 && !next_row()) return;
      const std::size_t here = (std::min)(count, lines_left_);
      fetch(here);
      count -= here;
    }
  }

  bool next_row() noexcept {
    if (rows_left_ > 0) {
      at_ = row_ += stride_;
      --rows_left_;
      lines_left_ = row_lines_;
      return true;
    }
    if (range_ >= ranges) return false;
    ++range_;
    enter();
    return true;
  }

  /// Begins the range: its tokens one by one, or as one row if they lie close together.
  void enter() noexcept {
    std::size_t bytes = 0;
    std::size_t rows = 1;
    stride_ = 0;
    if (range_ < 2) {
      row_ = address(range_ == 0 ? attention_.keys : attention_.values);
      stride_ = attention_.stride * sizeof(T);
      bytes = attention_.head_dim * sizeof(T);
      rows = attention_.tokens;
      if (stride_ < bytes + line) {
        bytes = stride_ * rows;
        rows = 1;
      }
    } else if (range_ < ranges) {
      const ReadSoon& soon = attention_.next[range_ - 2];
      row_ = address(soon.data);
      bytes = soon.bytes;
    }
    at_ = row_;
    lines_left_ = row_lines_ = (bytes + line - 1) / line;
    rows_left_ = rows - 1;
  }

  static constexpr std::size_t ranges = 2 + std::size(decltype(DecodeAttention<T>::next){});

  const DecodeAttention<T>& attention_;
  // Numbers, because a prefetch may go past the end of an array, or begin nowhere.
  std::uintptr_t row_ = 0;
  std::uintptr_t at_ = 0;
  std::size_t stride_ = 0;
  std::size_t row_lines_ = 0;
  std::size_t lines_left_ = 0;  ///< of the row
  std::size_t rows_left_ = 0;   ///< of the range, after this one
  std::size_t range_ = 0;
};

}  // namespace morphkv::inline v0::kernels::inline MORPHKV_KERNELS_BUILD
#endif

#endif  // MORPHKV_KERNELS_VECTOR_READ_AHEAD_HPP
