// SPDX-License-Identifier: Apache-2.0
/// \file
/// The policies that are compared, each with the same bytes.
#ifndef MORPHKV_BENCH_REAL_CONTENDERS_HPP
#define MORPHKV_BENCH_REAL_CONTENDERS_HPP

#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "accuracy/snapkv_recent.hpp"
#include "comparison/any_cache.hpp"
#include "policies/registry.hpp"

namespace morphkv::real {

struct Contender {
  std::string policy;
  std::size_t slots = 0;     ///< its bytes are at most those of recommended(slots); 0: full cache
  std::size_t capacity = 0;  ///< its own slots per head
  std::size_t bytes = 0;     ///< of the whole cache; 0 for the full cache, which grows
  /// An empty cache for so many tokens.
  std::function<std::unique_ptr<comparison::AnyCache>(std::size_t tokens)> make;
};

/// SnapKV's selection of the prompt, and a window over the response.
inline constexpr const char* snapkv_policy = "snapkv_recent";

namespace detail {

template <class Policy, class T = comparison::Stored>
using Cache = KVCache<T, Policy>;

template <class Kind>
[[nodiscard]] std::size_t bytes_of_cache(const CacheShape& shape,
                                         const typename Kind::Options& options) {
  return comparison::make_any_cache<Kind>(shape, options)->memory().total();
}
template <class Policy>
[[nodiscard]] std::size_t bytes_of(const CacheShape& shape,
                                   const typename Policy::Options& options) {
  return bytes_of_cache<Cache<Policy>>(shape, options);
}

/// The largest capacity whose cache takes at most `bytes`.
/// \param options_at the options for a capacity
template <class Kind>
[[nodiscard]] Contender fitted_cache(std::string policy, const CacheShape& shape, std::size_t slots,
                                     std::size_t bytes,
                                     typename Kind::Options (*options_at)(std::size_t capacity)) {
  std::size_t low = slots / 2;
  std::size_t high = 4 * slots;  // of a format with a quarter of the bits
  if (bytes_of_cache<Kind>(shape, options_at(low)) > bytes) {
    throw std::invalid_argument("capacity = " + std::to_string(slots) + ": " + policy +
                                " does not fit its bytes");
  }
  while (low + 1 < high) {
    const std::size_t middle = (low + high) / 2;
    (bytes_of_cache<Kind>(shape, options_at(middle)) <= bytes ? low : high) = middle;
  }
  const typename Kind::Options options = options_at(low);
  return {std::move(policy), slots, low, bytes_of_cache<Kind>(shape, options),
          [shape, options](std::size_t) -> std::unique_ptr<comparison::AnyCache> {
            return comparison::make_any_cache<Kind>(shape, options);
          }};
}
template <class Policy, class T = comparison::Stored>
[[nodiscard]] Contender fitted(std::string policy, const CacheShape& shape, std::size_t slots,
                               std::size_t bytes,
                               typename Policy::Options (*options_at)(std::size_t capacity)) {
  return fitted_cache<Cache<Policy, T>>(std::move(policy), shape, slots, bytes, options_at);
}

[[nodiscard]] inline accuracy::SnapKVRecent::Options snapkv_at(std::size_t capacity) {
  accuracy::SnapKVRecent::Options options;
  options.capacity = capacity;
  options.recent = capacity / 2;
  return options;
}

}  // namespace detail

[[nodiscard]] inline Contender full_cache(const CacheShape& shape) {
  return {"full", 0, 0, 0, [shape](std::size_t tokens) -> std::unique_ptr<comparison::AnyCache> {
            return comparison::make_any_cache<detail::Cache<Full>>(shape, {.max_tokens = tokens});
          }};
}

/// The registry's policies of a constant size and SnapKV with a window, `recommended` first, each
/// with the largest capacity whose cache takes at most the bytes of recommended(slots).
[[nodiscard]] inline std::vector<Contender> contenders(const CacheShape& shape, std::size_t slots) {
  std::vector<Contender> result;
  std::size_t bytes = 0;
  policies::each_policy([&]<class P>(const policies::PolicyEntry<P>& entry) {
    if constexpr (policies::has_capacity<P> && !std::same_as<P, SnapKV>) {
      // The first is recommended with other defaults, the second grows: see presses.hpp.
      if (entry.name == "decayed_max" || entry.name == "recommended_for_prompts") return;
      if (result.empty()) bytes = detail::bytes_of<P>(shape, entry.at_capacity(slots));
      result.push_back(
          detail::fitted<P>(std::string(entry.name), shape, slots, bytes, entry.at_capacity));
    }
  });
  result.push_back(detail::fitted<accuracy::SnapKVRecent>(snapkv_policy, shape, slots, bytes,
                                                          &detail::snapkv_at));
  return result;
}

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_CONTENDERS_HPP
