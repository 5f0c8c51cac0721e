// SPDX-License-Identifier: Apache-2.0
/// \file
/// A cache whose heads have two tiers of slots, in lockstep with oracles that hold all keys and
/// values and round them where a token goes to another tier.
#ifndef MORPHKV_TESTS_SUPPORT_TIERED_DUEL_HPP
#define MORPHKV_TESTS_SUPPORT_TIERED_DUEL_HPP

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "morphkv/cache/kv_cache.hpp"
#include "morphkv/cache/tiered_storage.hpp"
#include "oracle/attention_oracle.hpp"
#include "oracle/tier_oracle.hpp"
#include "support/cache_duel.hpp"
#include "support/contenders.hpp"
#include "support/random.hpp"
#include "support/script.hpp"

namespace morphkv::testing {

template <class T, class Cold, class Policy>
using TieredCache = KVCache<T, Policy, TieredStorage<T, Cold>>;

template <class T, class Cold, class Contender>
class TieredDuel {
 public:
  using Cache = TieredCache<T, Cold, typename Contender::Policy>;

  TieredDuel(const CacheShape& shape, const Setting& setting, std::size_t hot, std::uint64_t seed)
      : cache_(shape, Contender::options(setting), Tiers{.hot = hot}),
        hot_(hot),
        fusion_(setting.group),
        heads_(shape.heads(), {{Contender::reference(setting), hot}, {shape.head_dim, {}, {}}}),
        random_(seed) {}

  [[nodiscard]] Cache& cache() { return cache_; }
  /// See CacheDuel::over.
  [[nodiscard]] bool over() const { return over_; }

  void prefill(std::size_t count) {
    for (std::size_t layer = 0; layer < shape().layers; ++layer) {
      const Tokens block = draw_tokens(shape(), count, random_);
      const Position first = cache_.next_position(layer);
      std::vector<float> outputs(count * shape().output_width());
      ASSERT_EQ(
          cache_.prefill(layer, block.queries, block.keys, block.values, std::span<float>(outputs)),
          Status::ok);
      for (std::size_t head = 0; head < shape().kv_heads; ++head) {
        Head& truth = at(layer, head);
        std::vector<Position> seen = truth.tiers.eviction().kept();
        std::vector<oracle::Row> rows;
        for (std::size_t t = 0; t < count; ++t) remember(head, truth, token_of(block, t));
        for (std::size_t t = 0; t < count; ++t) {
          seen.push_back(first + static_cast<Position>(t));
          rows.push_back(check_attention(layer, head, truth, token_of(block, t), seen,
                                         std::span(outputs).subspan(t * shape().output_width())));
        }
        const auto norm = [&](Position position) {
          double squares = 0;
          for (const double x : truth.sequence.values[static_cast<std::size_t>(position)]) {
            squares += x * x;
          }
          return std::sqrt(squares);
        };
        ASSERT_EQ(truth.tiers.block(first, rows, norm), Status::ok);
        for (const Position moved : truth.tiers.moved()) {
          if (moved < first) {
            move(truth, moved);
            continue;
          }
          // A token of the block is rounded once.
          const auto t = static_cast<std::size_t>(moved - first);
          store<Cold>(head, token_of(block, t), truth, static_cast<std::size_t>(moved));
        }
        if (pins_differ(cache_.policy(layer, head), truth.tiers.eviction())) over_ = true;
        compare(layer, head);
      }
    }
  }

  void step() {
    for (std::size_t layer = 0; layer < shape().layers && !over_; ++layer) {
      const Tokens token = draw_tokens(shape(), 1, random_);
      const Position position = cache_.next_position(layer);
      ASSERT_EQ(cache_.append(layer, token.keys, token.values, position), Status::ok);
      for (std::size_t head = 0; head < shape().kv_heads; ++head) {
        Head& truth = at(layer, head);
        remember(head, truth, token);
        ASSERT_EQ(truth.tiers.arrive(position), Status::ok);
        for (const Position moved : truth.tiers.moved()) move(truth, moved);
        compare(layer, head);
      }
      if (over_) return;
      std::vector<float> output(shape().output_width());
      if (position % 4 == 0) {
        std::vector<float> same(output.size());
        ASSERT_EQ(cache_.template read<float>(layer, token.queries, std::span<float>(same)),
                  Status::ok);
        ASSERT_EQ(cache_.attend(layer, token.queries, std::span<float>(output)), Status::ok);
        ASSERT_EQ(same, output);
      } else {
        ASSERT_EQ(cache_.attend(layer, token.queries, std::span<float>(output)), Status::ok);
      }
      for (std::size_t head = 0; head < shape().kv_heads; ++head) {
        Head& truth = at(layer, head);
        truth.tiers.attend(
            check_attention(layer, head, truth, token, truth.tiers.eviction().kept(), output));
        compare(layer, head);
      }
    }
  }

 private:
  struct Head {
    oracle::TierOracle tiers;
    oracle::Sequence sequence;  ///< as it is stored now, by position
  };

  /// The numbers that are stored of these in a format; tests/kernels compares it with its
  /// specification.
  template <class Stored>
  [[nodiscard]] static std::vector<double> rounded(const std::vector<double>& numbers) {
    std::vector<float> floats(numbers.begin(), numbers.end());
    std::vector<Stored> stored(row_size<Stored>(floats.size()));
    kernels::convert(floats.data(), floats.size(), stored.data());
    kernels::convert(stored.data(), floats.size(), floats.data());
    return {floats.begin(), floats.end()};
  }

  [[nodiscard]] const CacheShape& shape() const { return cache_.shape(); }
  [[nodiscard]] Head& at(std::size_t layer, std::size_t head) {
    return heads_[layer * shape().kv_heads + head];
  }

  [[nodiscard]] Tokens token_of(const Tokens& block, std::size_t t) const {
    const auto part = [&](const std::vector<float>& all) {
      const auto width = static_cast<std::ptrdiff_t>(all.size() / block.count);
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(t) * width;
      return std::vector<float>(begin, begin + width);
    };
    return {1, part(block.queries), part(block.keys), part(block.values)};
  }
  [[nodiscard]] static std::vector<double> of_head(const std::vector<float>& all, std::size_t head,
                                                   std::size_t dim) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(head * dim);
    return {begin, begin + static_cast<std::ptrdiff_t>(dim)};
  }

  template <class Stored>
  void store(std::size_t head, const Tokens& token, Head& truth, std::size_t position) {
    const auto key = rounded<Stored>(of_head(token.keys, head, shape().head_dim));
    truth.sequence.keys[position] = key;
    truth.sequence.values[position] =
        shape().values_in_keys ? key
                               : rounded<Stored>(of_head(token.values, head, shape().output_dim()));
    truth.sequence.values[position].resize(shape().output_dim());
  }
  void remember(std::size_t head, Head& truth, const Tokens& token) {
    const std::size_t position = truth.sequence.keys.size();
    truth.sequence.keys.emplace_back();
    truth.sequence.values.emplace_back();
    store<T>(head, token, truth, position);
  }
  void move(Head& truth, Position moved) {
    std::vector<double>& key = truth.sequence.keys[static_cast<std::size_t>(moved)];
    std::vector<double>& value = truth.sequence.values[static_cast<std::size_t>(moved)];
    key = rounded<Cold>(key);
    if (!shape().values_in_keys) {
      value = rounded<Cold>(value);
    } else {
      std::copy_n(key.begin(), value.size(), value.begin());
    }
  }

  /// \return the fused row
  oracle::Row check_attention(std::size_t layer, std::size_t head, const Head& truth,
                              const Tokens& token, const std::vector<Position>& seen,
                              std::span<const float> outputs) {
    std::vector<std::vector<double>> rows;
    for (std::size_t g = 0; g < shape().group(); ++g) {
      const std::size_t query_head = head * shape().group() + g;
      const auto query = std::span(token.queries).subspan(query_head * shape().head_dim);
      rows.push_back(oracle::weights_over(query.first(shape().head_dim), truth.sequence, seen,
                                          shape().logits(layer, head), g, seen.back()));
      const auto expected = oracle::weighted_values(rows[g], truth.sequence, seen);
      const auto magnitudes = oracle::weighted_magnitudes(rows[g], truth.sequence, seen);
      for (std::size_t d = 0; d < expected.size(); ++d) {
        // See CacheDuel::tolerance: that of quantised numbers, and of the weights of bfloat16.
        constexpr double weight = std::same_as<T, Eigen::bfloat16> ? 0x1p-8 + 0x1p-11 : 2e-3;
        EXPECT_NEAR(double{outputs[query_head * shape().output_dim() + d]}, expected[d],
                    4e-4 + weight * magnitudes[d]);
      }
    }
    const std::vector<double> fused = oracle::fuse(rows, fusion_);
    oracle::Row row(static_cast<std::size_t>(seen.back()) + 1, 0.0);
    for (std::size_t s = 0; s < seen.size(); ++s) row[static_cast<std::size_t>(seen[s])] = fused[s];
    return row;
  }

  void compare(std::size_t layer, std::size_t head) {
    const Head& truth = at(layer, head);
    const auto positions = cache_.positions(layer, head);
    const oracle::EvictionOracle& eviction = truth.tiers.eviction();
    bool same = kept(cache_, layer, head) == eviction.kept();
    for (std::size_t slot = 0; slot < positions.size() && same; ++slot) {
      if (positions[slot] == no_position) continue;
      same = truth.tiers.is_cold(positions[slot]) == (slot >= hot_);
    }
    const double margin = std::min(eviction.margin(), truth.tiers.margin());
    if (!same && (margin < 0x1p-7 || eviction.is_below_units())) over_ = true;
    if (over_) return;
    ASSERT_TRUE(same) << "layer " << layer << ", head " << head << ", next "
                      << cache_.next_position(layer);
    for (std::size_t slot = 0; slot < positions.size(); ++slot) {
      if (positions[slot] == no_position) continue;
      const auto position = static_cast<std::size_t>(positions[slot]);
      cache_.storage().all_keys(layer, head).with_row(slot, [&](const auto* row) {
        for (std::size_t d = 0; d < shape().head_dim; ++d) {
          ASSERT_EQ(double{number_at(row, d)}, truth.sequence.keys[position][d]);
        }
      });
      cache_.storage().all_values(layer, head).with_row(slot, [&](const auto* row) {
        for (std::size_t d = 0; d < shape().output_dim(); ++d) {
          ASSERT_EQ(double{number_at(row, d)}, truth.sequence.values[position][d]);
        }
      });
    }
  }

  Cache cache_;
  std::size_t hot_;
  GroupFusion fusion_;
  std::vector<Head> heads_;  ///< [layers][kv_heads]
  Random random_;
  bool over_ = false;
};

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_TIERED_DUEL_HPP
