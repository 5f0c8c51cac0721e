// SPDX-License-Identifier: Apache-2.0
// Storage is a concept: one that the library does not know serves a cache, and each of the
// library's is asked for what it can do.
#include "morphkv/cache/storage.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "morphkv/cache/kv_cache.hpp"
#include "morphkv/policy/morphkv.hpp"
#include "support/errors.hpp"
#include "support/script.hpp"

namespace morphkv::testing::storage_test { namespace {

using Owned = OwnedStorage<float>;
using Engine = EngineStorage<float>;
using Shared = SharedStorage<float>;

static_assert(CacheStorage<Owned, float> && CacheStorage<Engine, float>);
static_assert(CacheStorage<Shared, float> && !CacheStorage<Shared, Eigen::half>);
static_assert(OwningStorage<Owned> && !OwningStorage<Engine> && !OwningStorage<Shared>);
static_assert(DivisibleStorage<Owned> && !DivisibleStorage<Engine> && !DivisibleStorage<Shared>);
static_assert(SharingStorage<Shared> && !SharingStorage<Owned> && !SharingStorage<Engine>);
static_assert(GrowingStorage<Engine> && !GrowingStorage<Owned> && !GrowingStorage<Shared>);
static_assert(ContiguousStorage<Owned> && !ContiguousStorage<Engine>);

/// Rows in reverse order, one vector per head.
class ReverseStorage {
 public:
  ReverseStorage(const CacheShape& shape, std::span<const std::size_t> slots)
      : kv_heads_(shape.kv_heads), dim_(shape.head_dim) {
    for (const std::size_t count : slots) {
      heads_.push_back({std::vector<float>(count * dim_), std::vector<float>(count * dim_), {}});
      for (std::size_t slot = count; slot-- > 0;) {
        heads_.back().order.push_back(static_cast<std::int32_t>(slot));
      }
    }
  }

  [[nodiscard]] KvView<float> keys(std::size_t layer, std::size_t head) noexcept {
    Head& h = heads_[layer * kv_heads_ + head];
    return view(h, h.keys.data());
  }
  [[nodiscard]] KvView<float> values(std::size_t layer, std::size_t head) noexcept {
    Head& h = heads_[layer * kv_heads_ + head];
    return view(h, h.values.data());
  }
  [[nodiscard]] KvView<const float> keys(std::size_t layer, std::size_t head) const noexcept {
    const Head& h = heads_[layer * kv_heads_ + head];
    return view(h, h.keys.data());
  }
  [[nodiscard]] KvView<const float> values(std::size_t layer, std::size_t head) const noexcept {
    const Head& h = heads_[layer * kv_heads_ + head];
    return view(h, h.values.data());
  }
  [[nodiscard]] std::size_t slots(std::size_t layer, std::size_t head) const noexcept {
    return heads_[layer * kv_heads_ + head].order.size();
  }
  [[nodiscard]] MemoryUsage memory() const noexcept { return {.keys = 1, .values = 2}; }

 private:
  struct Head {
    std::vector<float> keys;
    std::vector<float> values;
    std::vector<std::int32_t> order;
  };
  template <class E>
  [[nodiscard]] KvView<E> view(const Head& head, E* data) const noexcept {
    return {.data = data,
            .stride = dim_,
            .pages = head.order.data(),
            .page_rows = 1,
            .page_stride = dim_};
  }

  std::size_t kv_heads_;
  std::size_t dim_;
  std::vector<Head> heads_;
};

static_assert(CacheStorage<ReverseStorage, float> && OwningStorage<ReverseStorage>);
static_assert(!DivisibleStorage<ReverseStorage> && std::copyable<ReverseStorage>);

const CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 8};
const MorphKV::Options options{.capacity = 16, .window = 4, .history = 2};

TEST(CacheStorage, AnyThatMeetsTheConceptServesACache) {
  KVCache<float, MorphKV, ReverseStorage> cache(shape, options);
  KVCache<float, MorphKV> owned(shape, options);
  const Script script;
  ASSERT_EQ(script.prefill(cache, 30), script.prefill(owned, 30));
  ASSERT_EQ(script.decode(cache, 40), script.decode(owned, 40));
  (void)Script(2).decode(cache, 2);
  ASSERT_EQ(cache.rollback(2), Status::ok);
  ASSERT_EQ(state_of(cache), state_of(owned));
  auto fork = cache;
  (void)Script(3).decode(fork, 5);
  ASSERT_EQ(state_of(cache), state_of(owned));
  cache.reset();
  owned.reset();
  ASSERT_EQ(script.decode(cache, 20), script.decode(owned, 20));
  EXPECT_EQ(cache.memory().values, 2U);
}

/// A head that has one slot more by rounding, and begins on a cache line of 16 floats.
TEST(CacheStorage, SlotsThatCanBeDivided) {
  EXPECT_EQ(Owned::divisible_slots({.head_dim = 1}, 10), 10U + 1 + 16);
  EXPECT_EQ(Owned::divisible_slots({.head_dim = 5}, 10), 10U + 1 + 4);
  EXPECT_EQ(Owned::divisible_slots({.head_dim = 8, .value_dim = 17}, 10), 10U + 1 + 2);
  EXPECT_EQ(Owned::divisible_slots({.head_dim = 32}, 10), 10U + 1);
}

TEST(CacheStorage, AnAdaptiveBudgetNeedsOneThatDivides) {
  using Cache = KVCache<float, MorphKV, ReverseStorage>;
  expect_refused([&] { (void)Cache(shape, options, Budget::adaptive()); }, "budget = adaptive");
}

}  // namespace
}  // namespace morphkv::testing::storage_test
