// SPDX-License-Identifier: Apache-2.0
/// \file
/// The only owner of memory in the library, and a matrix in such memory.
#ifndef MORPHKV_CORE_ALIGNED_BUFFER_HPP
#define MORPHKV_CORE_ALIGNED_BUFFER_HPP

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "morphkv/core/config.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// Bytes to which buffers and rows are aligned: a cache line and an AVX-512 vector.
inline constexpr std::size_t buffer_alignment = 64;

/// `count` rounded up to whole vectors of T, so that every row of a matrix begins aligned. (Blocks
/// of quantised numbers are aligned nowhere.)
template <class T>
[[nodiscard]] constexpr std::size_t aligned_stride(std::size_t count) noexcept {
  constexpr std::size_t lanes = buffer_alignment / sizeof(T);
  return (count + lanes - 1) / lanes * lanes;
}

/// A fixed number of elements, zero at first, aligned to 64 bytes, copied by value. It allocates in
/// its constructors and assignments, and nowhere else: std::bad_alloc, also if the bytes overflow.
template <class T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t size) : data_(allocate(size)), size_(size) {
    if (size_ > 0) std::memset(static_cast<void*>(data_.get()), 0, bytes());
  }
  AlignedBuffer(const AlignedBuffer& other) : data_(allocate(other.size_)), size_(other.size_) {
    copy_from(other);
  }
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(const AlignedBuffer& other) {
    if (this == &other) return *this;
    if (size_ != other.size_) {
      data_ = allocate(other.size_);
      size_ = other.size_;
    }
    copy_from(other);
    return *this;
  }
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    data_ = std::move(other.data_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }
  ~AlignedBuffer() = default;

  [[nodiscard]] T* data() noexcept { return data_.get(); }
  [[nodiscard]] const T* data() const noexcept { return data_.get(); }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return size_ * sizeof(T); }
  [[nodiscard]] T& operator[](std::size_t index) noexcept {
    MORPHKV_ASSERT(index < size_);
    return data_[index];
  }
  [[nodiscard]] const T& operator[](std::size_t index) const noexcept {
    MORPHKV_ASSERT(index < size_);
    return data_[index];
  }
  [[nodiscard]] std::span<T> span() noexcept { return {data(), size_}; }
  [[nodiscard]] std::span<const T> span() const noexcept { return {data(), size_}; }

 private:
  struct Free {
    void operator()(T* memory) const noexcept {
      ::operator delete (static_cast<void*>(memory), std::align_val_t{buffer_alignment});
    }
  };
  using Memory = std::unique_ptr<T[], Free>;

  [[nodiscard]] static Memory allocate(std::size_t size) {
    if (size == 0) return nullptr;
    // Half of the address space is always refused; more could wrap where operator new rounds it up.
    constexpr std::size_t too_many = std::numeric_limits<std::size_t>::max() / 2;
    const std::size_t bytes = size > too_many / sizeof(T) ? too_many : size * sizeof(T);
    return Memory(static_cast<T*>(::operator new (bytes, std::align_val_t{buffer_alignment})));
  }
  void copy_from(const AlignedBuffer& other) noexcept {
    if (size_ > 0) std::memcpy(static_cast<void*>(data()), other.data(), bytes());
  }

  Memory data_;
  std::size_t size_ = 0;
};

/// A fixed matrix, zero at first, of `rows` rows of `columns` numbers, each row on a cache line.
template <class T>
class RowMatrix {
 public:
  RowMatrix() = default;
  RowMatrix(std::size_t rows, std::size_t columns)
      : rows_(rows), stride_(aligned_stride<T>(columns)), cells_(rows * stride_) {}

  [[nodiscard]] T* row(std::size_t index) noexcept { return cells_.data() + index * stride_; }
  [[nodiscard]] const T* row(std::size_t index) const noexcept {
    return cells_.data() + index * stride_;
  }
  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
  /// Elements between two rows: the columns, rounded up to whole cache lines.
  [[nodiscard]] std::size_t stride() const noexcept { return stride_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return cells_.bytes(); }
  void clear() noexcept { std::fill_n(cells_.data(), cells_.size(), T{}); }

 private:
  std::size_t rows_ = 0;
  std::size_t stride_ = 0;
  AlignedBuffer<T> cells_;
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_ALIGNED_BUFFER_HPP
