// SPDX-License-Identifier: Apache-2.0
/// \file
/// A fixed endless sequence of tokens, and what a cache holds after a part of it.
#ifndef MORPHKV_TESTS_SUPPORT_SCRIPT_HPP
#define MORPHKV_TESTS_SUPPORT_SCRIPT_HPP

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <span>
#include <utility>
#include <vector>

#include "morphkv/cache/kv_cache.hpp"
#include "support/random.hpp"

namespace morphkv::testing {

/// Tokens with queries, keys and values, in the layout of the cache.
struct Tokens {
  std::size_t count = 0;
  std::vector<float> queries;
  std::vector<float> keys;
  std::vector<float> values;
};

inline Tokens draw_tokens(const CacheShape& shape, std::size_t count, Random& random) {
  return {count, random.normals(count * shape.query_width(), 1.5F),
          random.normals(count * shape.key_width()), random.normals(count * shape.value_width())};
}

/// The token of a layer at a position depends on these and the seed alone: two caches that take the
/// same positions see the same tokens, however they came there.
class Script {
 public:
  explicit Script(std::uint64_t seed = 1) : seed_(seed) {}

  [[nodiscard]] Tokens at(const CacheShape& shape, std::size_t layer, Position first,
                          std::size_t count = 1) const {
    Tokens all{count, {}, {}, {}};
    for (std::size_t t = 0; t < count; ++t) {
      Random random(seed_ * 1'000'003 + layer * 10'007 + static_cast<std::uint64_t>(first) + t);
      const Tokens one = draw_tokens(shape, 1, random);
      all.queries.insert(all.queries.end(), one.queries.begin(), one.queries.end());
      all.keys.insert(all.keys.end(), one.keys.begin(), one.keys.end());
      all.values.insert(all.values.end(), one.values.begin(), one.values.end());
    }
    return all;
  }

  /// The next `count` tokens as a block. \return their outputs in all layers
  template <class Cache, class... Execute>
  std::vector<float> prefill(Cache& cache, std::size_t count, Execute... execute) const {
    std::vector<float> outputs;
    for (std::size_t layer = 0; layer < cache.shape().layers; ++layer) {
      const Tokens block = at(cache.shape(), layer, cache.next_position(layer), count);
      std::vector<float> output(count * cache.shape().output_width());
      EXPECT_EQ(cache.prefill(layer, block.queries, block.keys, block.values,
                              std::span<float>(output), execute...),
                Status::ok);
      outputs.insert(outputs.end(), output.begin(), output.end());
    }
    return outputs;
  }

  /// The next `count` tokens one by one. \return their outputs in all layers
  template <class Cache, class... Execute>
  std::vector<float> decode(Cache& cache, std::size_t count, Execute... execute) const {
    std::vector<float> outputs;
    for (std::size_t step = 0; step < count; ++step) {
      for (std::size_t layer = 0; layer < cache.shape().layers; ++layer) {
        const Tokens token = at(cache.shape(), layer, cache.next_position(layer));
        std::vector<float> output(cache.shape().output_width());
        append(cache, layer, token);
        EXPECT_EQ(cache.attend(layer, token.queries, std::span<float>(output), execute...),
                  Status::ok);
        outputs.insert(outputs.end(), output.begin(), output.end());
      }
    }
    return outputs;
  }

  /// The next token of all layers, which does not attend.
  template <class Cache>
  void append(Cache& cache) const {
    for (std::size_t layer = 0; layer < cache.shape().layers; ++layer) {
      append(cache, layer, at(cache.shape(), layer, cache.next_position(layer)));
    }
  }

 private:
  template <class Cache>
  static void append(Cache& cache, std::size_t layer, const Tokens& token) {
    EXPECT_EQ(cache.append(layer, token.keys, token.values, cache.next_position(layer)),
              Status::ok);
  }

  std::uint64_t seed_;
};

/// Everything that a cache shows of one head.
struct HeadState {
  std::vector<Position> positions;
  std::vector<float> keys;
  std::vector<float> values;
  friend bool operator==(const HeadState&, const HeadState&) = default;
  friend void PrintTo(const HeadState& state, std::ostream* out) {
    *out << "positions " << ::testing::PrintToString(state.positions) << ", keys "
         << ::testing::PrintToString(state.keys);
  }
};

/// Of all heads. Rows without a token count for nothing.
template <class Cache>
std::vector<HeadState> state_of(const Cache& cache) {
  std::vector<HeadState> heads;
  for (std::size_t layer = 0; layer < cache.shape().layers; ++layer) {
    for (std::size_t head = 0; head < cache.shape().kv_heads; ++head) {
      const auto positions = cache.positions(layer, head);
      HeadState state{{positions.begin(), positions.end()}, {}, {}};
      const std::size_t key_dim = cache.shape().head_dim;
      const std::size_t value_dim = cache.shape().output_dim();
      state.keys.resize(positions.size() * key_dim);
      state.values.resize(positions.size() * value_dim);
      for (std::size_t slot = 0; slot < positions.size(); ++slot) {
        if (positions[slot] == no_position) continue;
        const auto key = cache.key(layer, head, slot);
        const auto value = cache.value(layer, head, slot);
        for (std::size_t d = 0; d < key_dim; ++d) {
          state.keys[slot * key_dim + d] = number_at(key.data(), d);
        }
        for (std::size_t d = 0; d < value_dim; ++d) {
          state.values[slot * value_dim + d] = number_at(value.data(), d);
        }
      }
      heads.push_back(std::move(state));
    }
  }
  return heads;
}

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_SCRIPT_HPP
