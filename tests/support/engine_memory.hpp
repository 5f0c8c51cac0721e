// SPDX-License-Identifier: Apache-2.0
/// \file
/// Memory as engines have it: strided or in pages, with rows that belong to somebody else.
#ifndef MORPHKV_TESTS_SUPPORT_ENGINE_MEMORY_HPP
#define MORPHKV_TESTS_SUPPORT_ENGINE_MEMORY_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <ostream>
#include <string>
#include <vector>

#include "morphkv/cache/engine_storage.hpp"
#include "support/random.hpp"

namespace morphkv::testing {

struct MemoryKind {
  std::string name;
  HeadOrder order = HeadOrder::nhd;
  std::size_t page_size = 0;  ///< 0: in one piece
};

inline std::ostream& operator<<(std::ostream& out, const MemoryKind& kind) {
  return out << kind.name;
}

inline const MemoryKind memory_kinds[] = {
    {"nhd", HeadOrder::nhd, 0},           {"hnd", HeadOrder::hnd, 0},
    {"nhd_pages_16", HeadOrder::nhd, 16}, {"hnd_pages_16", HeadOrder::hnd, 16},
    {"nhd_pages_1", HeadOrder::nhd, 1},   {"hnd_pages_7", HeadOrder::hnd, 7},
};

/// The keys and values of all layers, filled with a number that no cache writes; pages lie in any
/// order, and every other page of the pool belongs to somebody else.
template <Storable T>
class EngineMemory {
 public:
  EngineMemory(const CacheShape& shape, std::size_t slots, const MemoryKind& kind)
      : shape_(shape), kind_(kind), slots_(slots) {
    const std::size_t rows =
        kind.page_size == 0 ? slots : 2 * pages_for(slots, kind.page_size) * kind.page_size;
    const RowSizes row = row_sizes<T>(shape);
    const std::size_t keys = rows * shape.kv_heads * row.key;
    const std::size_t both = keys + rows * shape.kv_heads * row.value;
    if constexpr (Scalar<T>) {
      memory_.assign(shape.layers * both, static_cast<T>(untouched));
    } else {
      memory_.resize(shape.layers * both);
    }
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      T* begin = memory_.data() + layer * both;
      layers_.push_back({begin, row.value == 0 ? nullptr : begin + keys});
    }
    if (kind.page_size == 0) return;
    pages_.resize(pages_for(slots, kind.page_size));
    std::iota(pages_.begin(), pages_.end(), 0);
    Random random(slots);
    for (std::size_t i = pages_.size(); i > 1; --i)
      std::swap(pages_[i - 1], pages_[random.below(i)]);
    for (std::int32_t& page : pages_) page = 2 * page + 1;
  }

  [[nodiscard]] EngineStorage<T> storage() const {
    if (kind_.page_size == 0) return {shape_, layers_, slots_, kind_.order};
    return {shape_, layers_, PageTable{pages_, kind_.page_size}, kind_.order};
  }
  [[nodiscard]] const std::vector<std::int32_t>& pages() const { return pages_; }

  /// Elements that nobody has written.
  [[nodiscard]] std::size_t untouched_elements() const {
    return static_cast<std::size_t>(std::count_if(
        memory_.begin(), memory_.end(), [](T x) { return static_cast<float>(x) == untouched; }));
  }
  [[nodiscard]] std::size_t elements() const { return memory_.size(); }

 private:
  static constexpr float untouched = 12288;  // the same in all types but E4M3

  CacheShape shape_;
  MemoryKind kind_;
  std::size_t slots_;
  std::vector<T> memory_;
  std::vector<LayerMemory<T>> layers_;
  std::vector<std::int32_t> pages_;
};

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_ENGINE_MEMORY_HPP
