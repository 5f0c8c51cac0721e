// SPDX-License-Identifier: Apache-2.0
//
// Sequences of a pool, whose pages lie in random order, and copies of one by other means.
#ifndef MORPHKV_BENCH_KERNELS_POOLED_SEQUENCES_HPP
#define MORPHKV_BENCH_KERNELS_POOLED_SEQUENCES_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "kernels/machine.hpp"
#include "morphkv/cache/engine_storage.hpp"
#include "morphkv/cache/kv_cache.hpp"
#include "morphkv/cache/page_pool.hpp"
#include "morphkv/cache/pooled_storage.hpp"

namespace morphkv::bench {

/// A cache in a pool of its own.
template <Storable T, class Policy>
class PooledSequence {
 public:
  using Cache = KVCache<T, Policy, PooledStorage<T>>;

  static std::shared_ptr<Cache> make(const CacheShape& shape, std::size_t slots,
                                     std::size_t page_size,
                                     const typename Policy::Options& options) {
    const auto self = std::make_shared<PooledSequence>(shape, slots, page_size, options);
    return {self, &self->cache_};
  }

  PooledSequence(const CacheShape& shape, std::size_t slots, std::size_t page_size,
                 const typename Policy::Options& options)
      : layout_(PageLayout::of<T>(shape, page_size, HeadOrder::hnd)),
        memory_(shape.layers * pages_for(slots, page_size) * layout_.elements()),
        pages_(std::span(memory_.data(), memory_.size()), layout_.elements()),
        cache_(shape, options, PooledStorage<T>(shape, layout_, pages_)) {
    std::vector<std::int32_t> order;
    while (pages_.free_pages() > 0) order.push_back(pages_.take());
    std::shuffle(order.begin(), order.end(), std::mt19937(9));
    for (const std::int32_t page : order) pages_.give_back(page);
  }

 private:
  PageLayout layout_;
  HugeBuffer<T> memory_;
  PagePool<T> pages_;
  Cache cache_;
};

/// A cache in memory of its own that is not allocated anew when it becomes a copy of another one.
template <Storable T, class Policy>
class CopyingSequence {
 public:
  using Cache = KVCache<T, Policy, EngineStorage<T>>;

  CopyingSequence(const CacheShape& shape, std::size_t slots,
                  const typename Policy::Options& options)
      : memory_(2 * shape.layers * slots * shape.kv_heads * row_size<T>(shape.head_dim)),
        cache_(shape, options, EngineStorage<T>(shape, layers(shape), slots, HeadOrder::hnd)) {}

  [[nodiscard]] Cache& cache() { return cache_; }

 private:
  [[nodiscard]] std::vector<LayerMemory<T>> layers(const CacheShape& shape) const {
    const std::size_t each = memory_.size() / shape.layers / 2;
    std::vector<LayerMemory<T>> result;
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      T* keys = memory_.data() + 2 * layer * each;
      result.push_back({keys, keys + each});
    }
    return result;
  }

  HugeBuffer<T> memory_;
  Cache cache_;
};

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_KERNELS_POOLED_SEQUENCES_HPP
