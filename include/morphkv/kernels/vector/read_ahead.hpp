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

#if defined(MORPHKV_KERNELS_X86) || defined(MORPHKV_KERNELS_NEON)
namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels::inline MORPHKV_BUILD {

/// The rows of keys, those of values, by their table if there is one, and what the caller reads
/// next, in this order: the way that a decode step goes, walked by prefetches some lines ahead of
/// it. The lead does not shrink between keys and values, nor in the softmax, so the memory never
/// waits for the arithmetic.
template <Storable T>
class ReadAhead {
 public:
  explicit ReadAhead(const DecodeAttention<T>& a) noexcept : attention_(a) { enter(); }

  /// Asks for the next `count` lines.
  MORPHKV_ALWAYS_INLINE inline void lines(std::size_t count) noexcept {
    if (count <= lines_left_) [[likely]] {
      fetch(count);
    } else if (!ended_) {
      lines_across(count);
    }
  }

  /// Lines of one token's key or value.
  [[nodiscard]] static std::size_t token_lines(std::size_t dim) noexcept {
    return (row_size<T>(dim) * sizeof(T) + line - 1) / line;
  }

 private:
  static constexpr std::size_t line = 64;

  [[nodiscard]] static std::uintptr_t address(const void* pointer) noexcept {
    return reinterpret_cast<std::uintptr_t>(pointer);
  }
  MORPHKV_ALWAYS_INLINE static inline const void* pointer(std::uintptr_t address) noexcept {
    return reinterpret_cast<const void*>(address);  // NOLINT(performance-no-int-to-ptr)
  }

  /// Into the L2 cache: L1 does not hold the lead, which grows by 32 KB in the softmax, beside the
  /// weights and a tile of values. docs/dev/kernel_log.md has the measurements.
  MORPHKV_ALWAYS_INLINE static inline void prefetch(std::uintptr_t address) noexcept {
    __builtin_prefetch(pointer(address), 0, 2);
  }

  MORPHKV_ALWAYS_INLINE inline void fetch(std::size_t count) noexcept {
    const std::uintptr_t end = at_ + count * line;
    for (; at_ + 4 * line <= end; at_ += 4 * line) {
      MORPHKV_UNROLL for (std::size_t i = 0; i < 4; ++i) { prefetch(at_ + i * line); }
    }
    for (; at_ < end; at_ += line) prefetch(at_);
    lines_left_ -= count;
  }

  /// Goes on to the next run of rows or the next range.
  MORPHKV_NOINLINE void lines_across(std::size_t count) noexcept {
    while (count > 0) {
      if (lines_left_ == 0 && !next_run()) return;
      const std::size_t here = (std::min)(count, lines_left_);
      fetch(here);
      count -= here;
    }
  }

  bool next_run() noexcept {
    if (tokens_left_ > 0) {
      enter_rows();
      return true;
    }
    ended_ = range_ >= ranges;
    if (ended_) return false;
    range_ += range_ == 0 && attention_.output == nullptr ? 2 : 1;  // no output, no values
    enter();
    return true;
  }

  /// Begins the range.
  void enter() noexcept {
    if (range_ < 2) {
      cursor_ = KvCursor<T>(range_ == 0 ? attention_.keys : attention_.values);
      tokens_left_ = attention_.tokens;
      enter_rows();
    } else if (range_ < ranges) {
      const PrefetchHint& hint = attention_.next[range_ - 2];
      enter_run(hint.data, hint.bytes);
    }
  }

  /// Begins the next rows: those of a piece if they lie close together, or else one.
  void enter_rows() noexcept {
    const bool of_keys = range_ == 0;
    const std::size_t bytes =
        row_size<T>(of_keys ? attention_.head_dim : attention_.output_dim()) * sizeof(T);
    const std::size_t stride =
        (of_keys ? attention_.keys.stride : attention_.values.stride) * sizeof(T);
    const T* first = nullptr;
    const std::size_t rows = cursor_.next(stride < bytes + line ? tokens_left_ : 1, first);
    tokens_left_ -= rows;
    enter_run(first, (rows - 1) * stride + bytes);
  }

  void enter_run(const void* data, std::size_t bytes) noexcept {
    at_ = address(data);
    lines_left_ = (bytes + line - 1) / line;
  }

  static constexpr std::size_t ranges = 2 + std::size(decltype(DecodeAttention<T>::next){});

  const DecodeAttention<T>& attention_;
  // Numbers, because a prefetch may go past the end of an array, or begin nowhere.
  std::uintptr_t at_ = 0;
  std::size_t lines_left_ = 0;  ///< of the run
  KvCursor<T> cursor_{{}};
  std::size_t tokens_left_ = 0;  ///< of the range, after the run
  std::size_t range_ = 0;
  bool ended_ = false;  ///< nothing is left to ask for
};

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD
#endif

#endif  // MORPHKV_KERNELS_VECTOR_READ_AHEAD_HPP
