// SPDX-License-Identifier: Apache-2.0
/// \file
/// A cache under any policy, so that one loop can run many.
#ifndef MORPHKV_TOOLS_COMPARISON_ANY_CACHE_HPP
#define MORPHKV_TOOLS_COMPARISON_ANY_CACHE_HPP

#include <Eigen/Core>
#include <cstddef>
#include <memory>
#include <span>

#include "comparison/lifetimes.hpp"
#include "morphkv/morphkv.hpp"

namespace morphkv::comparison {

/// What the compared caches store: 16 bits, as engines do.
using Stored = Eigen::half;

/// The operations of KVCache that an engine uses, without its types.
class AnyCache {
 public:
  AnyCache() = default;
  AnyCache(const AnyCache&) = delete;
  AnyCache& operator=(const AnyCache&) = delete;
  virtual ~AnyCache() = default;

  /// A prompt; `outputs` may be empty.
  virtual Status prefill(std::size_t layer, std::span<const float> queries,
                         std::span<const float> keys, std::span<const float> values,
                         std::span<float> outputs) = 0;
  /// A token: append, then attend.
  virtual Status step(std::size_t layer, Position position, std::span<const float> query,
                      std::span<const float> key, std::span<const float> value,
                      std::span<float> output) = 0;
  [[nodiscard]] virtual MemoryUsage memory() const = 0;
  virtual void record(Lifetimes& lifetimes, std::size_t step) const = 0;
};

/// Any KVCache that can be made from a shape and options.
template <class Cache>
class CacheOf final : public AnyCache {
 public:
  CacheOf(const CacheShape& shape, const typename Cache::Options& options)
      : cache_(shape, options) {}

  Status prefill(std::size_t layer, std::span<const float> queries, std::span<const float> keys,
                 std::span<const float> values, std::span<float> outputs) override {
    return cache_.prefill(layer, queries, keys, values, outputs);
  }
  Status step(std::size_t layer, Position position, std::span<const float> query,
              std::span<const float> key, std::span<const float> value,
              std::span<float> output) override {
    const Status status = cache_.append(layer, key, value, position);
    return status == Status::ok ? cache_.attend(layer, query, output) : status;
  }
  [[nodiscard]] MemoryUsage memory() const override { return cache_.memory(); }
  void record(Lifetimes& lifetimes, std::size_t step) const override {
    lifetimes.record(cache_, step);
  }

 private:
  Cache cache_;
};

/// One budget for all heads and layers.
class SharedDecayedMax : public KVCache<Stored, DecayedMax, SharedStorage<Stored>> {
 public:
  SharedDecayedMax(const CacheShape& shape, const DecayedMax::Options& options)
      : KVCache(shape, options, SharedBudget{}) {}
};

/// An empty cache.
template <class Cache>
[[nodiscard]] std::unique_ptr<AnyCache> make_any_cache(const CacheShape& shape,
                                                       const typename Cache::Options& options);

// Not inline, and these are compiled once, in any_cache.cpp: each takes seconds.
template <class Cache>
std::unique_ptr<AnyCache> make_any_cache(const CacheShape& shape,
                                         const typename Cache::Options& options) {
  return std::make_unique<CacheOf<Cache>>(shape, options);
}
#if !defined(MORPHKV_TOOLS_ANY_CACHE_INSTANCE)
#define MORPHKV_TOOLS_ANY_CACHE_INSTANCE extern template
#endif
#define MORPHKV_TOOLS_ANY_CACHE(...)                                                      \
  MORPHKV_TOOLS_ANY_CACHE_INSTANCE std::unique_ptr<AnyCache> make_any_cache<__VA_ARGS__>( \
      const CacheShape&, const typename __VA_ARGS__::Options&)
MORPHKV_TOOLS_ANY_CACHE(KVCache<Stored, DecayedMax>);
MORPHKV_TOOLS_ANY_CACHE(KVCache<Stored, Full>);
MORPHKV_TOOLS_ANY_CACHE(KVCache<Stored, H2O>);
MORPHKV_TOOLS_ANY_CACHE(KVCache<Stored, MorphKV>);
MORPHKV_TOOLS_ANY_CACHE(KVCache<Stored, Random>);
MORPHKV_TOOLS_ANY_CACHE(KVCache<Stored, SnapKV>);
MORPHKV_TOOLS_ANY_CACHE(KVCache<Stored, StreamingLLM>);
MORPHKV_TOOLS_ANY_CACHE(KVCache<Stored, TOVA>);
MORPHKV_TOOLS_ANY_CACHE(SharedDecayedMax);

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_ANY_CACHE_HPP
