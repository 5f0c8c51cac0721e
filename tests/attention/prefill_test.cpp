// SPDX-License-Identifier: Apache-2.0
//
// Attention of a block over one head: its rows and outputs against one decode step per query.
#include "morphkv/attention/prefill.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <random>
#include <vector>

#include "morphkv/cache/kv_cache.hpp"
#include "morphkv/kernels/convert.hpp"
#include "morphkv/kernels/decode_attention.hpp"
#include "morphkv/policy/decayed_max.hpp"

namespace morphkv::testing::prefill_test { namespace {

/// A head that holds `slots` slots, every third of them empty if `holes`, and gets a block.
template <class T, class E>
struct Problem {
  Problem(std::size_t slots, std::size_t block, std::size_t heads, bool holes,
          GroupFusion group_fusion = GroupFusion::max)
      : tokens(block),
        group(heads),
        fusion(group_fusion),
        positions(slots),
        keys(slots * dim),
        values(slots * dim),
        queries(block * group * dim),
        block_keys(block * dim),
        block_values(block * dim),
        outputs(queries.size()) {
    std::mt19937 engine(3);
    std::normal_distribution<float> normal;
    const auto fill = [&](auto& numbers) {
      for (auto& x : numbers) x = static_cast<std::decay_t<decltype(x)>>(normal(engine));
    };
    fill(keys), fill(values), fill(queries), fill(block_keys), fill(block_values);
    for (std::size_t s = 0; s < slots; ++s) {
      positions[s] = holes && s % 3 == 1 ? no_position : static_cast<Position>(s);
    }
  }

  [[nodiscard]] PrefillHead<T, E> head(bool with_outputs) {
    PrefillHead<T, E> result;
    result.positions = positions;
    result.keys = {keys.data(), dim};
    result.values = {values.data(), dim};
    result.tokens = tokens;
    result.block_queries = queries.data();
    result.block_keys = block_keys.data();
    result.block_values = block_values.data();
    result.block_outputs = with_outputs ? outputs.data() : nullptr;
    result.query_stride = group * dim;
    result.key_stride = dim;
    result.group = group;
    result.head_dim = dim;
    result.logits = logits();
    result.fusion = fusion;
    return result;
  }

  /// What one decode step gives for a query of the block.
  struct Step {
    std::vector<float> row, output, log_sum_exp;
  };
  [[nodiscard]] Step step(std::size_t query) const {
    std::vector<T> all_keys, all_values;
    std::vector<std::size_t> columns;
    const auto take = [&](const auto* from, std::vector<T>& to) {
      to.resize(to.size() + dim);
      kernels::convert(from, dim, to.data() + to.size() - dim);
    };
    for (std::size_t s = 0; s < positions.size(); ++s) {
      if (positions[s] == no_position) continue;
      columns.push_back(s);
      take(keys.data() + s * dim, all_keys);
      take(values.data() + s * dim, all_values);
    }
    for (std::size_t t = 0; t <= query; ++t) {
      columns.push_back(positions.size() + t);
      take(block_keys.data() + t * dim, all_keys);
      take(block_values.data() + t * dim, all_values);
    }
    std::vector<float> numbers(group * dim), weights(group * columns.size()), row(columns.size());
    kernels::convert(queries.data() + query * group * dim, numbers.size(), numbers.data());
    Step result{std::vector<float>(positions.size() + tokens), std::vector<float>(group * dim),
                std::vector<float>(group)};
    kernels::DecodeAttention<T> a;
    a.query = numbers.data();
    a.keys = {all_keys.data(), dim};
    a.values = {all_values.data(), dim};
    a.tokens = a.weight_stride = columns.size();
    a.group = group;
    a.head_dim = dim;
    a.logits = logits();
    a.fusion = fusion;
    a.weights = weights.data();
    a.output = result.output.data();
    a.row = row.data();
    a.log_sum_exp = result.log_sum_exp.data();
    EXPECT_TRUE(kernels::decode_attention(a));
    for (std::size_t c = 0; c < columns.size(); ++c) result.row[columns[c]] = row[c];
    return result;
  }

  [[nodiscard]] Logits logits() const {
    return {.scale = 0.2F, .soft_cap = soft_cap, .sinks = sinks.empty() ? nullptr : sinks.data()};
  }

  static constexpr std::size_t dim = 32;
  float soft_cap = 0;
  std::vector<float> sinks;
  std::size_t tokens;
  std::size_t group;
  GroupFusion fusion;
  std::vector<Position> positions;
  std::vector<T> keys, values;
  std::vector<E> queries, block_keys, block_values, outputs;
};

template <class T>
void expect_near(const std::vector<T>& actual, std::size_t begin,
                 const std::vector<float>& expected, float tolerance) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(static_cast<float>(actual[begin + i]), expected[i], tolerance) << i;
  }
}

template <class Types>
class PrefillTest : public ::testing::Test {};
template <class Stored, class Element>
struct Pair {
  using T = Stored;
  using E = Element;
};
using Kinds =
    ::testing::Types<Pair<float, float>, Pair<Eigen::half, Eigen::half>,
                     Pair<Eigen::bfloat16, Eigen::bfloat16>, Pair<Eigen::bfloat16, float>>;
TYPED_TEST_SUITE(PrefillTest, Kinds);

/// Outputs and weights are rounded to 16 bits where the cache is.
template <class T>
constexpr float tolerance = std::is_same_v<T, float> ? 1e-5F : 0.02F;

TYPED_TEST(PrefillTest, RowsAndOutputsAreThoseOfDecodeSteps) {
  using T = typename TypeParam::T;
  for (const bool holes : {false, true}) {
    for (const std::size_t group : {1U, 3U, 4U}) {
      for (const std::size_t slots : {0U, 50U}) {
        for (const std::size_t tokens : {1U, 64U, 150U}) {
          Problem<T, typename TypeParam::E> problem(slots, tokens, group, holes,
                                                    holes ? GroupFusion::mean : GroupFusion::max);
          if (holes) {
            problem.soft_cap = 1.5F;
            problem.sinks.assign(group, 0.5F);
          }
          PrefillAttention prefill(problem.head(true));
          std::vector<float> row(slots + tokens, -1.0F), known;
          ASSERT_EQ(prefill.columns(), row.size());
          for (std::size_t query = 0; query < tokens; ++query) {
            SCOPED_TRACE(query);
            ASSERT_EQ(prefill.rows().fused(query, row.data()), Status::ok);
            const auto step = problem.step(query);
            expect_near(row, 0, step.row, 1e-5F);
            known.insert(known.end(), step.log_sum_exp.begin(), step.log_sum_exp.end());
          }
          ASSERT_EQ(prefill.finish_outputs(), Status::ok);
          for (std::size_t query = 0; query < tokens; ++query) {
            expect_near(problem.outputs, query * group * problem.dim, problem.step(query).output,
                        tolerance<T>);
          }
          // An engine's log-sum-exp gives the same rows.
          auto head = problem.head(false);
          head.block_values = nullptr;
          head.block_log_sum_exp = known.data();
          head.log_sum_exp_stride = group;
          PrefillAttention from_engine(head);
          for (const std::size_t query : {std::size_t{0}, tokens / 2, tokens - 1}) {
            ASSERT_EQ(from_engine.rows().fused(query, row.data()), Status::ok);
            expect_near(row, 0, problem.step(query).row, 1e-5F);
          }
          if (::testing::Test::HasFatalFailure()) return;
        }
      }
    }
  }
}

/// Whoever asks for which rows, in whatever order: the bits of outputs and rows are the same.
TYPED_TEST(PrefillTest, NothingDependsOnWhichRowsAreAskedFor) {
  using Numbers = std::vector<typename TypeParam::E>;
  Problem<typename TypeParam::T, typename TypeParam::E> problem(20, 200, 3, true);
  const std::vector<std::vector<std::size_t>> orders = {
      {}, {0}, {199}, {70, 71, 140}, {140, 10, 150, 199}, {190, 191, 192, 5}, {64, 128, 0}};
  std::vector<std::optional<std::vector<float>>> rows(200);
  std::optional<Numbers> outputs;
  for (const auto& order : orders) {
    std::fill(problem.outputs.begin(), problem.outputs.end(), typename TypeParam::E(99.0F));
    PrefillAttention prefill(problem.head(true));
    for (const std::size_t query : order) {
      std::vector<float> row(220);
      ASSERT_EQ(prefill.rows().fused(query, row.data()), Status::ok);
      if (!rows[query]) rows[query] = row;
      EXPECT_EQ(*rows[query], row) << query;
    }
    ASSERT_EQ(prefill.finish_outputs(), Status::ok);
    if (!outputs) outputs = problem.outputs;
    EXPECT_EQ(*outputs, problem.outputs);
  }
}

TYPED_TEST(PrefillTest, NotANumberIsReported) {
  Problem<typename TypeParam::T, typename TypeParam::E> problem(5, 100, 2, false);
  problem.block_keys[80 * problem.dim] = typename TypeParam::E(std::nanf(""));
  PrefillAttention prefill(problem.head(true));
  std::vector<float> row(105);
  EXPECT_EQ(prefill.rows().fused(0, row.data()), Status::ok);  // it and its neighbours see nothing
  EXPECT_EQ(prefill.rows().fused(99, row.data()), Status::bad_row);
  EXPECT_EQ(prefill.finish_outputs(), Status::bad_row);
}

/// The way of an engine with an attention kernel of its own, through the cache: the same tokens
/// stay.
TEST(PrefillOfAnEngine, TheCacheKeepsTheSameWithItsLogSumExp) {
  constexpr std::size_t heads = 2;
  const CacheShape shape{.layers = 1, .query_heads = 4, .kv_heads = heads, .head_dim = 32};
  const DecayedMax::Options options{.capacity = 100, .recent = 16, .half_life = 40};
  KVCache<Eigen::half, DecayedMax> plain(shape, options), attended(shape, options);
  std::mt19937 engine(9);
  std::normal_distribution<float> normal;
  for (const std::size_t tokens : {70U, 150U}) {
    const std::size_t width = heads * shape.head_dim;
    std::vector<Eigen::half> block(tokens * width), block_queries(2 * block.size());
    for (auto& x : block) x = static_cast<Eigen::half>(normal(engine));
    for (auto& x : block_queries) x = static_cast<Eigen::half>(normal(engine));
    // What the engine's kernel returns, in double.
    std::vector<float> log_sum_exp;
    for (std::size_t query = 0; query < tokens; ++query) {
      for (std::size_t h = 0; h < shape.query_heads; ++h) {
        const std::size_t head = h / shape.group();
        double sum = 0;
        const auto add = [&](const Eigen::half* key) {
          double logit = 0;
          for (std::size_t d = 0; d < shape.head_dim; ++d) {
            const std::size_t at = (query * shape.query_heads + h) * shape.head_dim + d;
            logit += static_cast<double>(block_queries[at]) * static_cast<double>(key[d]);
          }
          sum += std::exp(logit / std::sqrt(static_cast<double>(shape.head_dim)));
        };
        const auto held = attended.keys(0, head);
        for (std::size_t s = 0; s < attended.size(0, head); ++s) add(held.data() + s * 32);
        for (std::size_t t = 0; t <= query; ++t) add(block.data() + t * width + head * 32);
        log_sum_exp.push_back(static_cast<float>(std::log(sum)));
      }
    }
    const std::span<const Eigen::half> q(block_queries), k(block);
    EXPECT_EQ(attended.prefill_attended(0, q, k, k, std::span(log_sum_exp).first(3)),
              Status::wrong_size);
    ASSERT_EQ(attended.prefill_attended(0, q, k, k, std::span<const float>(log_sum_exp)),
              Status::ok);
    ASSERT_EQ(plain.prefill(0, q, k, k), Status::ok);
    for (std::size_t head = 0; head < heads; ++head) {
      const auto expected = plain.positions(0, head);
      const auto actual = attended.positions(0, head);
      EXPECT_TRUE(std::equal(actual.begin(), actual.end(), expected.begin(), expected.end()));
    }
  }
}

}  // namespace
}  // namespace morphkv::testing::prefill_test
