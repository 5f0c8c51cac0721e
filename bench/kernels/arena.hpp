// SPDX-License-Identifier: Apache-2.0
//
// Aligned memory on huge pages for the whole program: what the library allocates lies as an engine
// with huge pages would have it, so that no benchmark measures page tables. Include it once.
#ifndef MORPHKV_BENCH_KERNELS_ARENA_HPP
#define MORPHKV_BENCH_KERNELS_ARENA_HPP

#include <cstddef>
#include <cstdlib>
#include <new>
#include <unordered_map>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace morphkv::bench {

/// A freed block serves the next allocation of its size, and no other: what a program allocates
/// again and again has few sizes.
struct Arena {
  static constexpr std::size_t bytes = std::size_t{1} << 30U;
  char* memory = nullptr;
  std::size_t used = 0;
  std::unordered_map<void*, std::size_t> sizes;
  std::unordered_map<std::size_t, std::vector<void*>> free;

  void* allocate(std::size_t size, std::size_t alignment) {
    if (memory == nullptr) {
      memory = static_cast<char*>(std::aligned_alloc(std::size_t{1} << 21U, bytes));
#if defined(__linux__)
      madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    }
    size = (size + alignment - 1) / alignment * alignment;
    std::vector<void*>& freed = free[size];
    if (!freed.empty()) {
      void* block = freed.back();
      freed.pop_back();
      return block;
    }
    const std::size_t begin = (used + alignment - 1) / alignment * alignment;
    if (memory == nullptr || begin + size > bytes) throw std::bad_alloc();
    used = begin + size;
    sizes[memory + begin] = size;
    return memory + begin;
  }
  void release(void* block) { free[sizes.at(block)].push_back(block); }
  /// Begins anew, where nothing is in use.
  void reset() {
    used = 0;
    sizes.clear();
    free.clear();
  }
};

inline Arena arena;

}  // namespace morphkv::bench

void* operator new(std::size_t size, std::align_val_t alignment) {
  return morphkv::bench::arena.allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory, std::align_val_t) noexcept {
  if (memory != nullptr) morphkv::bench::arena.release(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  if (memory != nullptr) morphkv::bench::arena.release(memory);
}

#endif  // MORPHKV_BENCH_KERNELS_ARENA_HPP
