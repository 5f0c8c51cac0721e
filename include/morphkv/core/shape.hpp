// SPDX-License-Identifier: Apache-2.0
/// \file
/// The shape of a model's attention.
#ifndef MORPHKV_CORE_SHAPE_HPP
#define MORPHKV_CORE_SHAPE_HPP

#include <cmath>
#include <cstddef>
#include <limits>
#include <string>

#include "morphkv/core/error.hpp"
#include "morphkv/core/logits.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// Between these, products of a scale and numbers of E4M3 are finite and not 0 in float.
inline constexpr float min_stored_scale = 1e-30F;
inline constexpr float max_stored_scale = 1e30F;

/// Layers and heads of a model. `query_heads == kv_heads` is multi-head attention, `kv_heads == 1`
/// multi-query attention, and anything between grouped-query attention: query head `h` reads KV
/// head `h / group()`.
struct CacheShape {
  std::size_t layers = 1;
  std::size_t query_heads = 1;
  std::size_t kv_heads = 1;
  std::size_t head_dim = 1;   ///< of queries and keys
  std::size_t value_dim = 0;  ///< of values and outputs (DeepSeek); 0: head_dim
  /// A token's value is the first value_dim elements of its key, which is stored once: the latent
  /// cache of MLA in its absorbed form, where one KV head serves all query heads.
  bool values_in_keys = false;
  float scale = 0;     ///< of the logits; 0: 1 / sqrt(head_dim)
  float soft_cap = 0;  ///< of the logits, see Logits; 0: none
  /// [layers][query_heads]: sink logits, see Logits, or null. The engine owns them and keeps them
  /// as long as a cache of this shape.
  const float* sinks = nullptr;
  /// [query_heads]: slopes of the logits by distance, see Logits, the same in all layers, or null.
  /// The engine owns them, likewise.
  const float* slopes = nullptr;
  /// [layers]: how many of the newest tokens a layer attends to, the query's own among them; 0: all
  /// that are held. Null: all layers 0. The engine owns them, likewise. A cache holds as many
  /// tokens of such a layer and no more, whatever its policy and budget say.
  const std::size_t* windows = nullptr;
  /// [layers][kv_heads]: what a key of a cache of E4M3 is multiplied by when it is read, and
  /// divided by when it is stored, as the engine has calibrated it; and a value. Null: all 1.
  /// Values that lie in the keys have the scale of the keys. The engine owns them, likewise.
  const float* key_scales = nullptr;
  const float* value_scales = nullptr;
  /// [layers]: how many other layers read a layer's cache (KVCache::read) and vote on what is
  /// evicted from it, at most 1024; 0: none votes. Null: all layers 0. The engine owns them,
  /// likewise.
  const std::size_t* readers = nullptr;

  /// Query heads per KV head.
  [[nodiscard]] constexpr std::size_t group() const noexcept { return query_heads / kv_heads; }
  /// KV heads of all layers.
  [[nodiscard]] constexpr std::size_t heads() const noexcept { return layers * kv_heads; }
  /// Elements of a value, and of a query head's output.
  [[nodiscard]] constexpr std::size_t output_dim() const noexcept {
    return value_dim == 0 ? head_dim : value_dim;
  }
  /// Elements that are stored of a value: none where it lies in the key.
  [[nodiscard]] constexpr std::size_t stored_value_dim() const noexcept {
    return values_in_keys ? 0 : output_dim();
  }
  /// Elements of one token's queries, outputs, keys and values in one layer.
  [[nodiscard]] constexpr std::size_t query_width() const noexcept {
    return query_heads * head_dim;
  }
  [[nodiscard]] constexpr std::size_t output_width() const noexcept {
    return query_heads * output_dim();
  }
  [[nodiscard]] constexpr std::size_t key_width() const noexcept { return kv_heads * head_dim; }
  [[nodiscard]] constexpr std::size_t value_width() const noexcept {
    return kv_heads * stored_value_dim();
  }

  /// Of a layer; 0: none.
  [[nodiscard]] constexpr std::size_t window(std::size_t layer) const noexcept {
    return windows == nullptr ? 0 : windows[layer];
  }

  /// Of a layer, those that vote.
  [[nodiscard]] constexpr std::size_t voting_readers(std::size_t layer) const noexcept {
    return readers == nullptr ? 0 : readers[layer];
  }

  /// The logits of a KV head's group.
  [[nodiscard]] Logits logits(std::size_t layer, std::size_t kv_head) const noexcept {
    return {.scale = scale > 0 ? scale : 1 / std::sqrt(static_cast<float>(head_dim)),
            .soft_cap = soft_cap,
            .sinks = sinks == nullptr ? nullptr : sinks + layer * query_heads + kv_head * group(),
            .slopes = slopes == nullptr ? nullptr : slopes + kv_head * group()};
  }

  /// The scale of a head's stored keys, and of its stored values; 1 where there is none.
  [[nodiscard]] constexpr float key_scale(std::size_t layer, std::size_t kv_head) const noexcept {
    return key_scales == nullptr ? 1.0F : key_scales[layer * kv_heads + kv_head];
  }
  [[nodiscard]] constexpr float value_scale(std::size_t layer, std::size_t kv_head) const noexcept {
    if (values_in_keys) return key_scale(layer, kv_head);
    return value_scales == nullptr ? 1.0F : value_scales[layer * kv_heads + kv_head];
  }
  /// The logits of a KV head's group from products with keys as they are stored, without their
  /// scale: it becomes a factor of that of the logits, before the cap.
  [[nodiscard]] Logits stored_logits(std::size_t layer, std::size_t kv_head) const noexcept {
    Logits result = logits(layer, kv_head);
    result.scale *= key_scale(layer, kv_head);
    return result;
  }

  friend constexpr bool operator==(const CacheShape&, const CacheShape&) = default;
};

/// \throws std::invalid_argument if a number is 0, the KV heads do not divide the query heads, the
///         query elements of all layers, layers * query_heads * head_dim, are above 2^30, values
///         are longer than keys where they lie in them, or than 2^30, the scale is negative or not
///         finite, the soft cap is neither 0 nor from 0.001 to 1000, a sink is NaN or plus
///         infinity, a slope is not finite, a scale of keys or values is not from 1e-30 to 1e30,
///         values that lie in the keys have scales of their own, or a layer has more than 1024
///         readers.
inline void validate(const CacheShape& shape) {
  std::size_t most = std::size_t{1} << 30U;  // times 2^31 slots it still fits std::size_t
  const std::size_t most_values = most;
  const auto require_within = [&](const char* name, std::size_t value) {
    require(value > 0 && value <= most, name, value, "from 1 to " + std::to_string(most));
  };
  require_within("head_dim", shape.head_dim);
  most /= shape.head_dim;
  require_within("kv_heads", shape.kv_heads);
  require_within("query_heads", shape.query_heads);
  require(shape.query_heads % shape.kv_heads == 0, "query_heads", shape.query_heads,
          "a multiple of kv_heads = " + std::to_string(shape.kv_heads));
  most /= shape.query_heads;
  require_within("layers", shape.layers);
  const std::size_t longest =
      shape.values_in_keys ? shape.head_dim : most_values / shape.query_heads / shape.layers;
  require(shape.output_dim() <= longest, "value_dim", shape.value_dim,
          "at most " + std::to_string(longest));
  require(std::isfinite(shape.scale) && shape.scale >= 0, "scale", shape.scale,
          "0 or a finite number above it");
  require(shape.soft_cap == 0 || (shape.soft_cap >= min_soft_cap && shape.soft_cap <= max_soft_cap),
          "soft_cap", shape.soft_cap, "0, or from 0.001 to 1000");
  for (std::size_t i = 0; shape.sinks != nullptr && i < shape.layers * shape.query_heads; ++i) {
    require(shape.sinks[i] < std::numeric_limits<float>::infinity(), "sinks", shape.sinks[i],
            "below infinity");
  }
  for (std::size_t i = 0; shape.slopes != nullptr && i < shape.query_heads; ++i) {
    require(std::isfinite(shape.slopes[i]), "slopes", shape.slopes[i], "finite");
  }
  require(!shape.values_in_keys || shape.value_scales == nullptr, "value_scales", "given",
          "null where values lie in the keys, whose scales they have");
  const auto require_scales = [&](const char* name, const float* scales) {
    for (std::size_t i = 0; scales != nullptr && i < shape.heads(); ++i) {
      require(scales[i] >= min_stored_scale && scales[i] <= max_stored_scale, name, scales[i],
              "from 1e-30 to 1e30");
    }
  };
  require_scales("key_scales", shape.key_scales);
  require_scales("value_scales", shape.value_scales);
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    require(shape.voting_readers(layer) <= 1024, "readers", shape.voting_readers(layer),
            "at most 1024");
  }
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_SHAPE_HPP
