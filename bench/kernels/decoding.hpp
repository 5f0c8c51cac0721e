// SPDX-License-Identifier: Apache-2.0
//
// Decode steps of Hq = 32, Hk = 8, head_dim = 128: attention alone, attention with eviction by the
// real policy, and eviction the way it is published.
#ifndef MORPHKV_BENCH_KERNELS_DECODING_HPP
#define MORPHKV_BENCH_KERNELS_DECODING_HPP

#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/machine.hpp"
#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/quantised.hpp"
#include "morphkv/kernels/convert.hpp"
#include "morphkv/kernels/decode_attention.hpp"
#include "morphkv/policy/morphkv.hpp"

namespace morphkv::bench {

inline constexpr std::size_t kv_heads = 8;
inline constexpr std::size_t group = 4;
inline constexpr std::size_t head_dim = 128;
inline constexpr std::size_t cold_bytes = std::size_t{160} << 20U;

template <Storable T>
constexpr const char* type_name() {
  if constexpr (std::same_as<T, float>) return "float";
  if constexpr (std::same_as<T, Q8_0>) return "q8_0";
  if constexpr (std::same_as<T, Q4_0>) return "q4_0";
  if constexpr (std::same_as<T, E4M3>) return "e4m3";
  return std::same_as<T, Eigen::half> ? "half" : "bfloat16";
}

/// Normal numbers, without end.
class Numbers {
 public:
  Numbers() : numbers_(std::size_t{1} << 16U) {
    std::mt19937 engine(1);
    std::normal_distribution<float> normal;
    for (float& x : numbers_) x = normal(engine);
  }
  float operator[](std::size_t i) const { return numbers_[i % numbers_.size()]; }

 private:
  std::vector<float> numbers_;
};

/// Keys and values of one layer when hot, of so many that no cache holds them when cold.
template <Storable T>
class Layers {
 public:
  Layers(std::size_t slots, bool cold)
      : slots_(slots),
        count_(cold ? (std::max<std::size_t>)(2, 2 * ((cold_bytes / layer_bytes() + 2) / 2)) : 1),
        keys_(count_ * kv_heads * slots * row_blocks),
        values_(keys_.size()),
        query_(kv_heads * group * head_dim),
        output_(query_.size()),
        weights_(group * weight_stride()),
        row_(weight_stride()) {
    constexpr std::size_t each = head_dim / row_blocks;
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      float some[2][each];
      for (std::size_t k = 0; k < each; ++k) {
        some[0][k] = numbers_[7 * (i * each + k)];
        some[1][k] = numbers_[13 * (i * each + k) + 5];
      }
      kernels::convert(some[0], each, &keys_[i]);
      kernels::convert(some[1], each, &values_[i]);
    }
    // An engine's queries have the type of its cache, or 16 bits.
    using Query = std::conditional_t<std::same_as<T, float> || SixteenBits<T>, T, Eigen::half>;
    for (std::size_t i = 0; i < query_.size(); ++i) {
      query_[i] = static_cast<float>(static_cast<Query>(numbers_[3 * i]));
    }
  }

  [[nodiscard]] std::size_t slots() const { return slots_; }
  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] std::size_t layer_bytes() const {
    return 2 * kv_heads * slots_ * row_blocks * sizeof(T);
  }
  [[nodiscard]] T* keys(std::size_t layer, std::size_t head) const {
    return keys_.data() + (layer * kv_heads + head) * slots_ * row_blocks;
  }
  [[nodiscard]] T* values(std::size_t layer, std::size_t head) const {
    return values_.data() + (layer * kv_heads + head) * slots_ * row_blocks;
  }
  [[nodiscard]] float* row() const { return row_.data(); }
  [[nodiscard]] const float* weights() const { return weights_.data(); }
  [[nodiscard]] std::size_t weight_stride() const { return slots_ + 16; }
  [[nodiscard]] const Numbers& numbers() const { return numbers_; }
  /// Of the layer that was attended to last.
  [[nodiscard]] const HugeBuffer<float>& outputs() const { return output_; }

  [[nodiscard]] kernels::DecodeAttention<T> arguments(std::size_t layer, std::size_t head) const {
    kernels::DecodeAttention<T> a;
    a.query = query_.data() + head * group * head_dim;
    a.keys = {keys(layer, head), row_blocks};
    a.values = {values(layer, head), row_blocks};
    a.tokens = slots_;
    a.group = group;
    a.head_dim = head_dim;
    a.logits.scale = 1 / std::sqrt(static_cast<float>(head_dim));
    a.fusion = GroupFusion::mean;
    a.weights = weights_.data();
    a.weight_stride = weight_stride();
    a.output = output_.data() + head * group * head_dim;
    if (head + 1 < kv_heads) a.next[3] = {keys(layer, head + 1), 8192};
    return a;
  }

  /// The attention of one layer, without a row.
  void attend(std::size_t layer) const {
    for (std::size_t head = 0; head < kv_heads; ++head) {
      if (!kernels::decode_attention(arguments(layer, head))) std::abort();
    }
  }

 private:
  static constexpr std::size_t row_blocks = row_size<T>(head_dim);

  std::size_t slots_;
  std::size_t count_;
  HugeBuffer<T> keys_;
  HugeBuffer<T> values_;
  HugeBuffer<float> query_;
  HugeBuffer<float> output_;
  HugeBuffer<float> weights_;
  HugeBuffer<float> row_;
  Numbers numbers_;
};

/// MorphKV for every head of the layers, its windows full of rows.
template <Scalar T>
class Evictions {
 public:
  Evictions(const Layers<T>& layers, std::size_t window, Fusion fusion) : layers_(layers) {
    const std::size_t slots = layers.slots();
    const std::vector<float> rows = some_rows(slots);
    policies_.reserve(layers.count() * kv_heads);
    for (std::size_t i = 0; i < layers.count() * kv_heads; ++i) {
      policies_.emplace_back(
          MorphKV::Options{
              .capacity = slots, .window = window, .fusion = fusion, .group = GroupFusion::mean},
          i);
      for (std::size_t t = 0; t < slots + window; ++t) {
        MorphKV& policy = policies_.back();
        (void)policy.place(static_cast<Position>(t));
        const float* row = rows.data() + (t * 37 + i * 101) % (rows.size() - slots);
        (void)policy.observe(std::span(row, policy.size()));
      }
    }
    next_.resize(layers.count(), static_cast<Position>(slots + window));
  }

  /// One step of a layer: every head's new token over its victim, then attention and the vote.
  void step(std::size_t layer) {
    fetch_to_write(policies_.data() + layer * kv_heads, kv_heads * sizeof(MorphKV));
    step(layer, kv_heads);
  }

  /// The same for some heads of it.
  void step(std::size_t layer, std::size_t heads) {
    append(layer, heads);
    for (std::size_t head = 0; head < heads; ++head) attend(layer, head);
    ++next_[layer];
  }

 private:
  /// As KVCache does: all slots first, then the keys and values.
  void append(std::size_t layer, std::size_t heads) {
    Slot slots[kv_heads];
    for (std::size_t head = 0; head < heads; ++head) {
      slots[head] = policies_[layer * kv_heads + head].place(next_[layer]).slot;
      const std::size_t at = slots[head] * head_dim;
      fetch_to_write(layers_.keys(layer, head) + at, head_dim * sizeof(T));
      fetch_to_write(layers_.values(layer, head) + at, head_dim * sizeof(T));
    }
    for (std::size_t head = 0; head < heads; ++head) {
      const std::size_t at = slots[head] * head_dim;
      std::copy_n(new_token(), head_dim, layers_.keys(layer, head) + at);
      std::copy_n(new_token(), head_dim, layers_.values(layer, head) + at);
    }
  }

  void attend(std::size_t layer, std::size_t head) {
    MorphKV& policy = policies_[layer * kv_heads + head];
    auto a = layers_.arguments(layer, head);
    a.row = layers_.row();
    a.next = policy.prefetch_hints();
    if (!kernels::decode_attention(a)) std::abort();
    if (policy.observe(std::span<const float>(a.row, a.tokens)) != Status::ok) std::abort();
  }

  /// Weights of heavy-tailed attention, whose windows of any offset sum to about 1.
  static std::vector<float> some_rows(std::size_t slots) {
    std::mt19937 engine(2);
    std::normal_distribution<float> normal(0, 2);
    std::vector<float> rows(slots + 8192);
    for (float& x : rows)
      x = (std::min)(1.0F, std::exp(normal(engine)) / (8 * static_cast<float>(slots)));
    return rows;
  }
  /// Another key or value at every call: equal ones would have equal scores.
  const T* new_token() {
    constexpr std::size_t count = std::size_t{1} << 15U;
    if (tokens_.empty()) {
      for (std::size_t j = 0; j < count; ++j) {
        tokens_.push_back(static_cast<T>(layers_.numbers()[j]));
      }
    }
    newest_token_ = (newest_token_ + 37) % (count - head_dim);
    return tokens_.data() + newest_token_;
  }

  const Layers<T>& layers_;
  std::vector<MorphKV> policies_;
  std::vector<Position> next_;
  std::vector<T> tokens_;
  std::size_t newest_token_ = 0;
};

/// Eviction as it is published, written plainly: R stored rows for every query head, summed anew at
/// each step; the best of the older tokens chosen; keys, values and all stored rows copied without
/// the one that leaves.
template <Scalar T>
class Published {
 public:
  Published(const Layers<T>& layers, std::size_t window)
      : layers_(layers),
        window_(window),
        slots_(layers.slots()),
        rows_(kv_heads * group, std::vector<float>(window * layers.slots())),
        keys_(slots_ * head_dim),
        values_(slots_ * head_dim),
        compacted_(window * slots_) {
    std::mt19937 engine(3);
    std::uniform_real_distribution<float> uniform(0, 1 / static_cast<float>(slots_));
    for (auto& rows : rows_) {
      for (float& x : rows) x = uniform(engine);
    }
  }

  void step() {
    for (std::size_t head = 0; head < kv_heads; ++head) {
      auto a = layers_.arguments(0, head);
      a.row = layers_.row();
      if (!kernels::decode_attention(a)) std::abort();
      for (std::size_t g = 0; g < group; ++g) {
        std::copy_n(a.weights + g * a.weight_stride, slots_,
                    rows_of(head, g).begin() + static_cast<std::ptrdiff_t>(newest_ * slots_));
      }
      const std::vector<std::uint32_t> kept = choose(head);
      compact_tokens(head, kept);
      for (std::size_t g = 0; g < group; ++g) compact_rows(rows_of(head, g), kept);
    }
    newest_ = (newest_ + 1) % window_;
  }

 private:
  std::vector<float>& rows_of(std::size_t head, std::size_t g) { return rows_[head * group + g]; }

  std::vector<std::uint32_t> choose(std::size_t head) {
    std::vector<float> scores(slots_);
    for (std::size_t g = 0; g < group; ++g) {
      const std::vector<float>& rows = rows_of(head, g);
      for (std::size_t r = 0; r < window_; ++r) {
        for (std::size_t s = 0; s < slots_; ++s) scores[s] += rows[r * slots_ + s];
      }
    }
    const std::size_t older = slots_ - window_;
    std::vector<std::uint32_t> kept(older);
    std::iota(kept.begin(), kept.end(), 0U);
    std::nth_element(kept.begin(), kept.end() - 1, kept.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return scores[a] > scores[b]; });
    kept.pop_back();
    std::sort(kept.begin(), kept.end());
    for (std::size_t s = older; s < slots_; ++s) kept.push_back(static_cast<std::uint32_t>(s));
    return kept;
  }

  void compact_tokens(std::size_t head, const std::vector<std::uint32_t>& kept) {
    T* keys = layers_.keys(0, head);
    T* values = layers_.values(0, head);
    for (std::size_t i = 0; i < kept.size(); ++i) {
      std::copy_n(keys + kept[i] * head_dim, head_dim, keys_.data() + i * head_dim);
      std::copy_n(values + kept[i] * head_dim, head_dim, values_.data() + i * head_dim);
    }
    std::copy_n(keys_.data(), kept.size() * head_dim, keys);
    std::copy_n(values_.data(), kept.size() * head_dim, values);
  }

  void compact_rows(std::vector<float>& rows, const std::vector<std::uint32_t>& kept) {
    for (std::size_t r = 0; r < window_; ++r) {
      for (std::size_t i = 0; i < kept.size(); ++i) {
        compacted_[r * slots_ + i] = rows[r * slots_ + kept[i]];
      }
      compacted_[r * slots_ + kept.size()] = 0;
    }
    std::swap(rows, compacted_);
  }

  const Layers<T>& layers_;
  std::size_t window_;
  std::size_t slots_;
  std::vector<std::vector<float>> rows_;
  std::vector<T> keys_;
  std::vector<T> values_;
  std::vector<float> compacted_;
  std::size_t newest_ = 0;
};

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_KERNELS_DECODING_HPP
