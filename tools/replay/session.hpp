// SPDX-License-Identifier: Apache-2.0
/// \file
/// A cache of one layer with any policy and element type, behind one interface.
#ifndef MORPHKV_TOOLS_REPLAY_SESSION_HPP
#define MORPHKV_TOOLS_REPLAY_SESSION_HPP

#include <algorithm>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>
#include <vector>

#include "morphkv/cache/kv_cache.hpp"

namespace morphkv::replay {

/// The operations of a cache that the replay uses.
class Session {
 public:
  Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  virtual ~Session() = default;

  virtual Status prefill(std::span<const float> queries, std::span<const float> keys,
                         std::span<const float> values, std::span<float> outputs) = 0;
  virtual Status append(std::span<const float> key, std::span<const float> value,
                        Position position) = 0;
  virtual Status attend(std::span<const float> query, std::span<float> output) = 0;
  /// The positions that a KV head holds, ascending.
  [[nodiscard]] virtual std::vector<Position> kept(std::size_t head) const = 0;
  /// The positions that a query head is about to attend, between append and attend; ascending.
  [[nodiscard]] virtual std::vector<Position> visible(std::size_t query_head) const = 0;
  /// The capacity of a KV head.
  [[nodiscard]] virtual std::size_t capacity(std::size_t head) const = 0;
  [[nodiscard]] virtual MemoryUsage memory() const = 0;
  /// {"policy", "options", "budget"}.
  [[nodiscard]] virtual nlohmann::ordered_json description() const = 0;
};

/// The positions of the slots for which `is_included(slot)` holds, ascending.
[[nodiscard]] std::vector<Position> ascending(std::span<const Position> positions,
                                              const auto& is_included) {
  std::vector<Position> result;
  for (std::size_t slot = 0; slot < positions.size(); ++slot) {
    if (positions[slot] != no_position && is_included(slot)) result.push_back(positions[slot]);
  }
  std::sort(result.begin(), result.end());
  return result;
}

template <Scalar T, EvictionPolicy Policy>
class CacheSession : public Session {
 public:
  CacheSession(const CacheShape& shape, const typename Policy::Options& options,
               const Budget& budget, nlohmann::ordered_json description)
      : cache_(shape, options, budget), description_(std::move(description)) {}

  Status prefill(std::span<const float> queries, std::span<const float> keys,
                 std::span<const float> values, std::span<float> outputs) override {
    return cache_.prefill(0, queries, keys, values, outputs);
  }
  Status append(std::span<const float> key, std::span<const float> value,
                Position position) override {
    return cache_.append(0, key, value, position);
  }
  Status attend(std::span<const float> query, std::span<float> output) override {
    return cache_.attend(0, query, output);
  }
  [[nodiscard]] std::vector<Position> kept(std::size_t head) const override {
    return ascending(cache_.positions(0, head), [](std::size_t) { return true; });
  }
  [[nodiscard]] std::vector<Position> visible(std::size_t query_head) const override {
    return kept(query_head / cache_.shape().group());
  }
  [[nodiscard]] std::size_t capacity(std::size_t head) const override {
    return cache_.policy(0, head).capacity();
  }
  [[nodiscard]] MemoryUsage memory() const override { return cache_.memory(); }
  [[nodiscard]] nlohmann::ordered_json description() const override { return description_; }

 private:
  KVCache<T, Policy> cache_;
  nlohmann::ordered_json description_;
};

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_SESSION_HPP
