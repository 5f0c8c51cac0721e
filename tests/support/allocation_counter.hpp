// SPDX-License-Identifier: Apache-2.0
/// \file
/// Counts the allocations of the global operator new, and lets one fail. Exactly one source of a
/// program defines MORPHKV_TESTS_COUNT_ALLOCATIONS before it includes this, and so replaces the
/// operators.
#ifndef MORPHKV_TESTS_SUPPORT_ALLOCATION_COUNTER_HPP
#define MORPHKV_TESTS_SUPPORT_ALLOCATION_COUNTER_HPP

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <new>

namespace morphkv::testing {

struct AllocationCounter {
  static constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

  std::atomic<std::size_t> count{0};           ///< allocations so far
  std::atomic<std::size_t> live{0};            ///< bytes that were asked for and not yet given back
  std::atomic<std::size_t> peak{0};            ///< the most there were, since it was last set
  std::atomic<std::size_t> fail_after{never};  ///< allocations that succeed before one fails
};

inline AllocationCounter allocations;

}  // namespace morphkv::testing

#ifdef MORPHKV_TESTS_COUNT_ALLOCATIONS

namespace morphkv::testing {

/// Every block is preceded by its size, as far as its alignment asks for.
inline void* counted_new(std::size_t size, std::size_t alignment) {
  if (allocations.fail_after != AllocationCounter::never && allocations.fail_after-- == 0) {
    throw std::bad_alloc();
  }
  const std::size_t header = std::max(alignment, alignof(std::max_align_t));
  const std::size_t total = (header + size + header - 1) / header * header;
  auto* block = static_cast<std::byte*>(std::aligned_alloc(header, total));
  if (block == nullptr) throw std::bad_alloc();
  *reinterpret_cast<std::size_t*>(block) = size;
  ++allocations.count;
  const std::size_t live = allocations.live += size;
  if (live > allocations.peak) allocations.peak = live;
  return block + header;
}

inline void counted_delete(void* pointer, std::size_t alignment) noexcept {
  if (pointer == nullptr) return;
  const std::size_t header = std::max(alignment, alignof(std::max_align_t));
  auto* block = static_cast<std::byte*>(pointer) - header;
  allocations.live -= *reinterpret_cast<std::size_t*>(block);
  std::free(block);
}

}  // namespace morphkv::testing

void* operator new(std::size_t size) { return morphkv::testing::counted_new(size, 1); }
void* operator new[](std::size_t size) { return morphkv::testing::counted_new(size, 1); }
// The standard library asks in this way for memory that it can do without.
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return morphkv::testing::counted_new(size, 1);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return morphkv::testing::counted_new(size, 1);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  return morphkv::testing::counted_new(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return morphkv::testing::counted_new(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* pointer) noexcept { morphkv::testing::counted_delete(pointer, 1); }
void operator delete[](void* pointer) noexcept { morphkv::testing::counted_delete(pointer, 1); }
void operator delete(void* pointer, const std::nothrow_t&) noexcept {
  morphkv::testing::counted_delete(pointer, 1);
}
void operator delete[](void* pointer, const std::nothrow_t&) noexcept {
  morphkv::testing::counted_delete(pointer, 1);
}
void operator delete(void* pointer, std::size_t) noexcept {
  morphkv::testing::counted_delete(pointer, 1);
}
void operator delete[](void* pointer, std::size_t) noexcept {
  morphkv::testing::counted_delete(pointer, 1);
}
void operator delete(void* pointer, std::align_val_t alignment) noexcept {
  morphkv::testing::counted_delete(pointer, static_cast<std::size_t>(alignment));
}
void operator delete[](void* pointer, std::align_val_t alignment) noexcept {
  morphkv::testing::counted_delete(pointer, static_cast<std::size_t>(alignment));
}
void operator delete(void* pointer, std::size_t, std::align_val_t alignment) noexcept {
  morphkv::testing::counted_delete(pointer, static_cast<std::size_t>(alignment));
}
void operator delete[](void* pointer, std::size_t, std::align_val_t alignment) noexcept {
  morphkv::testing::counted_delete(pointer, static_cast<std::size_t>(alignment));
}

#endif  // MORPHKV_TESTS_COUNT_ALLOCATIONS

#endif  // MORPHKV_TESTS_SUPPORT_ALLOCATION_COUNTER_HPP
