// SPDX-License-Identifier: Apache-2.0
/// \file
/// Replaces the global operator new by one that counts, and lets an allocation fail: in exactly one
/// source of a program.
#ifndef MORPHKV_TESTS_SUPPORT_COUNTED_NEW_HPP
#define MORPHKV_TESTS_SUPPORT_COUNTED_NEW_HPP

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <new>

#include "support/allocation_counter.hpp"

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

#endif  // MORPHKV_TESTS_SUPPORT_COUNTED_NEW_HPP
