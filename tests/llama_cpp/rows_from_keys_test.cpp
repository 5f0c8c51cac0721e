// SPDX-License-Identifier: Apache-2.0
// With flash attention the policies get queries and keys instead of weights: what they keep must be
// the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>
#include <vector>

#include "llama_cpp/shared_cells.hpp"
#include "morphkv/policy/h2o.hpp"
#include "morphkv/policy/morphkv.hpp"
#include "morphkv/policy/tova.hpp"
#include "support/random.hpp"

namespace morphkv::testing::rows_from_keys_test { namespace {

using llama_cpp::Cell;
using llama_cpp::HeadCounts;
using llama_cpp::LayerInputs;
using llama_cpp::Release;
using llama_cpp::Scope;
using llama_cpp::SharedCells;

constexpr HeadCounts heads = {.layers = 2, .query_heads = 6, .kv_heads = 2};
constexpr std::size_t head_dim = 8;
constexpr std::size_t cell_count = 64;
constexpr std::size_t key_width = heads.kv_heads * head_dim;
constexpr std::size_t query_width = heads.query_heads * head_dim;
constexpr float scale = 0.4F;

/// An engine's cache of one layer after another, whose cells are found first fit.
struct Engine {
  std::vector<std::vector<float>> keys = std::vector<std::vector<float>>(
      heads.layers, std::vector<float>(cell_count* key_width, 1e3F));  // unused cells are noise
  std::vector<Position> positions = std::vector<Position>(cell_count, no_position);

  std::vector<Cell> place(Position first, std::size_t count) {
    std::vector<Cell> cells;
    for (Cell cell = 0; cell < cell_count && cells.size() < count; ++cell) {
      if (positions[cell] != no_position) continue;
      positions[cell] = first + static_cast<Position>(cells.size());
      cells.push_back(cell);
    }
    return cells;
  }
  template <class Policy>
  void carry_out(const Release& release, const SharedCells<Policy>& shared) {
    for (const auto& copy : release.copies) {
      shared.each_head(copy.unit, [&](std::size_t layer, std::size_t head) {
        const auto at = [&](Cell cell) {
          return keys[layer].begin() +
                 static_cast<std::ptrdiff_t>(cell * key_width + head * head_dim);
        };
        std::copy_n(at(copy.from), head_dim, at(copy.to));
      });
    }
    for (const Position position : release.positions) {
      *std::find(positions.begin(), positions.end(), position) = no_position;
    }
  }
  /// [query_heads][tokens][cells]: a token sees what was there before it, and the block up to
  /// itself.
  [[nodiscard]] std::vector<float> attention(std::size_t layer, const std::vector<Cell>& block,
                                             const std::vector<float>& queries) const {
    std::vector<float> weights(heads.query_heads * block.size() * cell_count);
    for (std::size_t head = 0; head < heads.query_heads; ++head) {
      for (std::size_t token = 0; token < block.size(); ++token) {
        float* row = &weights[(head * block.size() + token) * cell_count];
        double sum = 0;
        for (Cell cell = 0; cell < cell_count; ++cell) {
          if (positions[cell] == no_position || positions[cell] > positions[block[token]]) continue;
          const float* q = &queries[token * query_width + head * head_dim];
          const float* k = &keys[layer][cell * key_width + head / 3 * head_dim];
          row[cell] = std::exp(scale * std::inner_product(q, q + head_dim, k, 0.0F));
          sum += static_cast<double>(row[cell]);
        }
        for (Cell cell = 0; cell < cell_count; ++cell) row[cell] /= static_cast<float>(sum);
      }
    }
    return weights;
  }
};

/// One text through two engines: one returns weights, the other queries and keys.
/// \param begin tokens of other sequences that are before it in every batch
template <class Policy>
void expect_equal(const typename Policy::Options& options, std::size_t begin = 0) {
  SharedCells<Policy> by_weights(heads, Scope::head, options, cell_count);
  SharedCells<Policy> by_keys(heads, Scope::head, options, cell_count);
  Engine one;
  Engine two;
  Random random(5);
  Position next = 0;
  for (const std::size_t count : {20U, 1U, 1U, 7U, 1U, 1U, 1U, 1U, 1U, 1U, 9U, 1U, 1U, 1U}) {
    if (count == 1) {
      one.carry_out(by_weights.make_room(next), by_weights);
      two.carry_out(by_keys.make_room(next), by_keys);
    }
    const std::vector<Cell> cells = one.place(next, count);
    ASSERT_EQ(two.place(next, count), cells);
    by_weights.arrive(next, cells);
    by_keys.arrive(next, cells);
    for (std::size_t layer = 0; layer < heads.layers; ++layer) {
      const std::vector<float> keys = random.normals(count * key_width);
      const std::vector<float> queries = random.normals(count * query_width, 2.0F);
      for (std::size_t token = 0; token < count; ++token) {
        for (Engine* engine : {&one, &two}) {
          std::copy_n(
              keys.begin() + static_cast<std::ptrdiff_t>(token * key_width), key_width,
              engine->keys[layer].begin() + static_cast<std::ptrdiff_t>(cells[token] * key_width));
        }
      }
      by_weights.attend(layer, one.attention(layer, cells, queries).data(), cell_count);
      std::vector<float> batch = random.normals(begin * query_width, 2.0F);
      batch.insert(batch.end(), queries.begin(), queries.end());
      by_keys.attend(layer,
                     LayerInputs<float>{.queries = batch.data(),
                                        .keys = two.keys[layer].data(),
                                        .values = two.keys[layer].data(),
                                        .head_dim = head_dim,
                                        .scale = scale},
                     begin);
    }
    one.carry_out(by_weights.settle(), by_weights);
    two.carry_out(by_keys.settle(), by_keys);
    next += static_cast<Position>(count);
    for (std::size_t unit = 0; unit < by_keys.units().size(); ++unit) {
      const auto kept = [&](const SharedCells<Policy>& shared) {
        const auto positions = shared.units()[unit].policy().positions();
        return std::vector<Position>(positions.begin(), positions.end());
      };
      ASSERT_EQ(kept(by_keys), kept(by_weights)) << "unit " << unit << " before " << next;
    }
  }
  EXPECT_EQ(two.positions, one.positions);
}

TEST(LlamaCppRowsFromKeys, KeepWhatWeightsKeep) {
  expect_equal<MorphKV>({.capacity = 12, .window = 4, .sinks = 1});
  expect_equal<MorphKV>({.capacity = 12, .window = 4, .group = GroupFusion::mean, .sinks = 1});
  expect_equal<H2O>({.heavy = 6, .recent = 6, .sinks = 1});
  expect_equal<TOVA>({.capacity = 12, .sinks = 1});
}

TEST(LlamaCppRowsFromKeys, AreThoseOfTheSequenceInABatchOfSeveral) {
  expect_equal<MorphKV>({.capacity = 12, .window = 4, .sinks = 1}, 3);
  expect_equal<TOVA>({.capacity = 12, .sinks = 1}, 1);
}

}  // namespace
}  // namespace morphkv::testing::rows_from_keys_test
