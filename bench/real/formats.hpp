// SPDX-License-Identifier: Apache-2.0
/// \file
/// The recommended policy with keys and values in 16, 8 and 4 bits, and in two of them: whether
/// bytes are better spent on tokens or on bits.
#ifndef MORPHKV_BENCH_REAL_FORMATS_HPP
#define MORPHKV_BENCH_REAL_FORMATS_HPP

#include <concepts>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "morphkv/core/quantised.hpp"
#include "morphkv/policy/recommended.hpp"
#include "real/channel_keys.hpp"
#include "real/contenders.hpp"

namespace morphkv::real {

/// What the caches of a format are called.
template <class T>
[[nodiscard]] std::string format_name(const std::string& cache) {
  if constexpr (std::same_as<T, Q8_0>) return cache + "_q8_0";
  if constexpr (std::same_as<T, Q4_0>) return cache + "_q4_0";
  if constexpr (std::same_as<T, E4M3>) return cache + "_e4m3";
  return cache;
}
/// The recommended policy with as many slots, not as many bytes, as its 16-bit cache.
template <class T>
[[nodiscard]] std::string same_slots_name() {
  return format_name<T>("recommended") + "_same_slots";
}

/// The recommended policy with some eighths of its slots in T and the others in Cold.
template <class T, class Cold>
[[nodiscard]] std::string tiers_name(std::size_t eighths) {
  return format_name<T>("recommended") + "_" + std::to_string(eighths) + "_of_8" +
         format_name<Cold>("");
}

/// Whether the model's heads can be quantised at all.
[[nodiscard]] inline bool fills_blocks(const CacheShape& shape) {
  return shape.head_dim % Q8_0::numbers == 0;
}

namespace detail {

/// \param slots of the 16-bit cache
template <class T>
void add_format(const CacheShape& shape, const std::vector<std::size_t>& slots,
                std::vector<Contender>& out) {
  using Recommended = KVCache<T, DecayedMax>;
  out.push_back({format_name<T>("full"), 0, 0, 0, [shape](std::size_t tokens) {
                   return comparison::make_any_cache<KVCache<T, Full>>(shape,
                                                                       {.max_tokens = tokens});
                 }});
  for (const std::size_t count : slots) {
    const auto options = recommended(count);
    out.push_back({same_slots_name<T>(), count, count, Recommended(shape, options).memory().total(),
                   [shape, options](std::size_t) {
                     return comparison::make_any_cache<Recommended>(shape, options);
                   }});
    out.push_back(fitted<DecayedMax, T>(format_name<T>("recommended"), shape, count,
                                        bytes_of<DecayedMax>(shape, options), &recommended));
  }
}

/// A full cache and the recommended policy with keys in 8 bits and a scale per channel. Without the
/// bytes of such a cache, which the library does not have: in the time of 16 bits it says what the
/// format loses.
inline void add_channel_keys(const CacheShape& shape, const std::vector<std::size_t>& slots,
                             std::vector<Contender>& out) {
  const auto add = [&]<class Cache>(std::string name, std::size_t count, auto options_at) {
    out.push_back({std::move(name), count, count, 0, [shape, options_at](std::size_t tokens) {
                     return comparison::make_any_cache<Cache>(shape, options_at(tokens));
                   }});
  };
  add.operator()<ChannelKeys<Full>>("full_channel_keys", 0, [](std::size_t tokens) {
    return Full::Options{.max_tokens = tokens};
  });
  for (const std::size_t count : slots) {
    add.operator()<ChannelKeys<DecayedMax>>("recommended_channel_keys_same_slots", count,
                                            [count](std::size_t) { return recommended(count); });
  }
}

/// The recommended policy with `eighths` of its slots in T and the others in Cold.
template <class T, class Cold, std::size_t eighths>
class TieredRecommended : public KVCache<T, DecayedMax, TieredStorage<T, Cold>> {
 public:
  TieredRecommended(const CacheShape& shape, const DecayedMax::Options& options)
      : KVCache<T, DecayedMax, TieredStorage<T, Cold>>(
            shape, options, Tiers{.hot = options.capacity * eighths / 8}) {}
};

/// Two tiers at the bytes of the 16-bit caches.
template <class T, class Cold, std::size_t eighths>
void add_tiers(const CacheShape& shape, const std::vector<std::size_t>& slots,
               std::vector<Contender>& out) {
  for (const std::size_t count : slots) {
    out.push_back(fitted_cache<TieredRecommended<T, Cold, eighths>>(
        tiers_name<T, Cold>(eighths), shape, count, bytes_of<DecayedMax>(shape, recommended(count)),
        &recommended));
  }
}

}  // namespace detail

/// The full cache first, each format at the slots and at the bytes of the 16-bit caches, and pairs
/// of formats at these bytes.
[[nodiscard]] inline std::vector<Contender> format_contenders(
    const CacheShape& shape, const std::vector<std::size_t>& slots) {
  std::vector<Contender> result = {full_cache(shape)};
  for (const std::size_t count : slots) {
    const std::size_t bytes = detail::bytes_of<DecayedMax>(shape, recommended(count));
    result.push_back(detail::fitted<DecayedMax>("recommended", shape, count, bytes, &recommended));
  }
  detail::add_format<Q8_0>(shape, slots, result);
  detail::add_format<Q4_0>(shape, slots, result);
  detail::add_format<E4M3>(shape, slots, result);  // its scales are 1: nothing is calibrated
  detail::add_channel_keys(shape, slots, result);
  using Half = comparison::Stored;
  detail::add_tiers<Half, Q8_0, 4>(shape, slots, result);
  detail::add_tiers<Half, Q4_0, 1>(shape, slots, result);
  detail::add_tiers<Half, Q4_0, 2>(shape, slots, result);
  detail::add_tiers<Half, Q4_0, 4>(shape, slots, result);
  detail::add_tiers<Q8_0, Q4_0, 1>(shape, slots, result);
  detail::add_tiers<Q8_0, Q4_0, 2>(shape, slots, result);
  detail::add_tiers<Q8_0, Q4_0, 4>(shape, slots, result);
  return result;
}

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_FORMATS_HPP
