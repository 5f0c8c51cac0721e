// SPDX-License-Identifier: Apache-2.0
/// \file
/// What a cache with keys in 8 bits and a scale per channel would lose, beside q8_0. No cache of
/// the library stores such keys: they are rounded before a 16-bit cache gets them.
#ifndef MORPHKV_BENCH_REAL_CHANNEL_KEYS_HPP
#define MORPHKV_BENCH_REAL_CHANNEL_KEYS_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "comparison/any_cache.hpp"
#include "morphkv/kernels/convert.hpp"

namespace morphkv::real {

/// Keys as integers from -127 to 127 times a scale per layer, head and channel, which the prompt
/// sets: head_room * its greatest magnitude / 127. What exceeds it later is cut off. Values as in
/// q8_0.
template <class Policy>
class ChannelKeys : public KVCache<comparison::Stored, Policy> {
  using Base = KVCache<comparison::Stored, Policy>;

 public:
  ChannelKeys(const CacheShape& shape, const typename Base::Options& options)
      : Base(shape, options), scales_(shape.layers * shape.key_width()) {}

  /// \pre the first block of a layer comes before its first append
  Status prefill(std::size_t layer, std::span<const float> queries, std::span<const float> keys,
                 std::span<const float> values, std::span<float> outputs) {
    const std::span<float> scales = scales_of(layer);
    if (Base::size(layer, 0) == 0) {
      for (std::size_t i = 0; i < keys.size(); ++i) {
        float& scale = scales[i % scales.size()];
        scale = (std::max)(scale, head_room * std::abs(keys[i]) / 127);
      }
    }
    round(layer, keys, values);
    return Base::prefill(layer, queries, keys_, values_, outputs);
  }

  Status append(std::size_t layer, std::span<const float> key, std::span<const float> value,
                Position position) {
    round(layer, key, value);
    return Base::append(layer, keys_, values_, position);
  }

 private:
  static constexpr float head_room = 1.25;  // with 1, a full cache loses five times as much

  [[nodiscard]] std::span<float> scales_of(std::size_t layer) {
    const std::size_t width = Base::shape().key_width();
    return std::span(scales_).subspan(layer * width, width);
  }

  void round(std::size_t layer, std::span<const float> keys, std::span<const float> values) {
    const std::span<const float> scales = scales_of(layer);
    keys_.resize(keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
      const float scale = scales[i % scales.size()];
      const float steps = scale > 0 ? std::clamp(std::round(keys[i] / scale), -127.0F, 127.0F) : 0;
      keys_[i] = steps * scale;
    }
    std::vector<Q8_0> blocks(row_size<Q8_0>(values.size()));
    kernels::store_row(values.data(), values.size(), 1.0F, blocks.data());
    values_.resize(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) values_[i] = number_at(blocks.data(), i);
  }

  std::vector<float> scales_;         ///< [layers][kv_heads][head_dim]
  std::vector<float> keys_, values_;  ///< rounded
};

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_CHANNEL_KEYS_HPP
