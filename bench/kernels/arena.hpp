// SPDX-License-Identifier: Apache-2.0
//
// Aligned memory on huge pages for the whole program: what the library allocates lies as an engine
// with huge pages would have it, so that no benchmark measures page tables. Include it once.
#ifndef MORPHKV_BENCH_KERNELS_ARENA_HPP
#define MORPHKV_BENCH_KERNELS_ARENA_HPP

#include <cstddef>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace morphkv::bench {

/// Blocks are never given back one by one: the arena begins anew when the last one is.
struct Arena {
  static constexpr std::size_t bytes = std::size_t{1} << 30U;
  char* memory = nullptr;
  std::size_t used = 0;
  std::size_t blocks = 0;

  void* allocate(std::size_t size, std::size_t alignment) {
    if (memory == nullptr) {
      memory = static_cast<char*>(std::aligned_alloc(std::size_t{1} << 21U, bytes));
#if defined(__linux__)
      madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    }
    const std::size_t begin = (used + alignment - 1) / alignment * alignment;
    if (memory == nullptr || begin + size > bytes) throw std::bad_alloc();
    used = begin + size;
    ++blocks;
    return memory + begin;
  }
  void release() noexcept {
    if (--blocks == 0) used = 0;
  }
};

inline Arena arena;

}  // namespace morphkv::bench

void* operator new(std::size_t size, std::align_val_t alignment) {
  return morphkv::bench::arena.allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory, std::align_val_t) noexcept {
  if (memory != nullptr) morphkv::bench::arena.release();
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  if (memory != nullptr) morphkv::bench::arena.release();
}

#endif  // MORPHKV_BENCH_KERNELS_ARENA_HPP
