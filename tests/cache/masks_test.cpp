// SPDX-License-Identifier: Apache-2.0
// Blocks that are not causal (spans that see all of themselves, trees of drafts) and attention that
// another layer pays to what a layer holds, against double arithmetic.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include "morphkv/policy/full.hpp"
#include "morphkv/policy/morphkv.hpp"
#include "support/contenders.hpp"
#include "support/script.hpp"

namespace morphkv::testing::masks_test { namespace {

constexpr float sinks[] = {1.0F, -2.0F, 0.5F, 0.0F, 0.0F, 0.5F, -1.0F, 3.0F};
constexpr float slopes[] = {0.25F, 0.0F, 0.0625F, 0.5F};
constexpr CacheShape shape{.layers = 2,
                           .query_heads = 4,
                           .kv_heads = 2,
                           .head_dim = 8,
                           .value_dim = 6,
                           .scale = 0.4F,
                           .soft_cap = 3,
                           .sinks = sinks,
                           .slopes = slopes};
using Spans = std::vector<TokenSpan>;
using Parents = std::vector<std::int32_t>;

/// Tokens of one layer, with positions of their own, and who sees whom.
struct Problem {
  CacheShape model;
  std::size_t layer;
  Tokens all;
  std::vector<Position> positions;
  std::function<bool(std::size_t, std::size_t)> sees;

  /// The output of query head `h` of token `t`.
  [[nodiscard]] std::vector<double> output(std::size_t t, std::size_t h) const {
    const std::size_t head = h / model.group();
    const Logits logits = model.logits(layer, head);
    std::vector<double> weights;
    double total = std::exp(double{logits.sink(h % model.group())});
    for (std::size_t k = 0; k < all.count; ++k) {
      double product = 0;
      for (std::size_t d = 0; d < model.head_dim; ++d) {
        product += double{all.queries[t * model.query_width() + h * model.head_dim + d]} *
                   double{all.keys[k * model.key_width() + head * model.head_dim + d]};
      }
      const double cap{logits.soft_cap};
      const double logit = cap * std::tanh(product * double{logits.scale} / cap) -
                           double{slopes[h]} * (positions[t] - positions[k]);
      weights.push_back(sees(t, k) ? std::exp(logit) : 0);
      total += weights.back();
    }
    std::vector<double> result(model.output_dim());
    for (std::size_t k = 0; k < all.count; ++k) {
      for (std::size_t d = 0; d < result.size(); ++d) {
        result[d] += weights[k] / total *
                     double{all.values[k * model.value_width() + head * model.output_dim() + d]};
      }
    }
    return result;
  }

  /// \param outputs of the tokens from `first` on
  void expect_outputs(std::size_t first, std::span<const float> outputs) const {
    for (std::size_t t = first; t < all.count; ++t) {
      for (std::size_t h = 0; h < model.query_heads; ++h) {
        const std::vector<double> expected = output(t, h);
        const std::size_t at = (t - first) * model.output_width() + h * model.output_dim();
        for (std::size_t d = 0; d < expected.size(); ++d) {
          ASSERT_NEAR(double{outputs[at + d]}, expected[d], 1e-5)
              << "layer " << layer << ", token " << t << ", head " << h << ", dimension " << d;
        }
      }
    }
  }
};

/// The layer's tokens from `first` on.
struct Part {
  std::span<const float> queries, keys, values;
};
Part part_of(const CacheShape& model, const Tokens& all, std::size_t first) {
  return {std::span(all.queries).subspan(first * model.query_width()),
          std::span(all.keys).subspan(first * model.key_width()),
          std::span(all.values).subspan(first * model.value_width())};
}

bool in_one_span(const Spans& spans, std::size_t first, std::size_t a, std::size_t b) {
  return std::any_of(spans.begin(), spans.end(), [&](const TokenSpan& span) {
    const auto holds = [&](std::size_t t) {
      return t >= first + span.begin && t < first + span.end;
    };
    return holds(a) && holds(b);
  });
}

/// One layer attends to everything, the other to its newest tokens.
void expect_spans(std::size_t before, std::size_t count, const Spans& spans, std::size_t window) {
  SCOPED_TRACE(::testing::Message()
               << before << " tokens before " << count << ", window " << window);
  const std::size_t windows[] = {0, window};
  CacheShape model = shape;
  model.windows = windows;
  KVCache<float, Full> cache(model, {.max_tokens = 400});
  for (std::size_t layer = 0; layer < model.layers; ++layer) {
    Problem problem{model, layer, Script().at(model, layer, 0, before + count), {}, {}};
    for (std::size_t t = 0; t < before + count; ++t) {
      problem.positions.push_back(static_cast<Position>(t));
    }
    problem.sees = [&](std::size_t q, std::size_t k) {
      const bool is_near = model.window(layer) == 0 || k + model.window(layer) > q;
      return (k <= q && is_near) || in_one_span(spans, before, q, k);
    };
    if (before > 0) {
      const Tokens some = Script().at(model, layer, 0, before);
      ASSERT_EQ(cache.prefill(layer, some.queries, some.keys, some.values), Status::ok);
    }
    const Part block = part_of(model, problem.all, before);
    std::vector<float> outputs(count * model.output_width());
    ASSERT_EQ(
        cache.prefill_spans<float>(layer, block.queries, block.keys, block.values, outputs, spans),
        Status::ok);
    problem.expect_outputs(before, outputs);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

TEST(Spans, SeeAllOfThemselves) {
  for (const std::size_t before : {0U, 1U, 40U}) {
    for (const std::size_t window : {1U, 7U, 64U, 500U}) {
      expect_spans(before, 1, {}, window);
      expect_spans(before, 1, {{0, 1}}, window);
      expect_spans(before, 20, {{3, 9}, {9, 12}, {19, 20}}, window);
      expect_spans(before, 200, {{0, 70}, {100, 200}}, window);
      expect_spans(before, 200, {{63, 66}, {120, 135}}, window);
    }
  }
}

/// What a policy that scores a prompt keeps depends on the rows that it is given: in those of
/// queries in a span, later tokens have their share of the softmax.
TEST(Spans, RowsAreThoseOfTheMask) {
  constexpr std::size_t tokens = 90;
  constexpr std::size_t held = 10;
  const Spans spans = {{20, 50}, {70, 88}};
  const Tokens all = Script().at(shape, 0, 0, held + tokens);
  const auto mask = BlockMask::of_spans(spans, tokens);
  ASSERT_TRUE(mask);
  std::vector<Position> positions;
  for (std::size_t t = 0; t < held + tokens; ++t) positions.push_back(static_cast<Position>(t));
  const Part block = part_of(shape, all, held);
  PrefillHead<float, float> head;
  head.positions = std::span(positions).first(held);
  head.keys = {all.keys.data(), shape.key_width()};
  head.values = {all.values.data(), shape.value_width()};
  head.tokens = tokens;
  head.block_queries = block.queries.data();
  head.block_keys = block.keys.data();
  head.block_values = block.values.data();
  head.query_stride = shape.query_width();
  head.key_stride = shape.key_width();
  head.value_stride = shape.value_width();
  head.head_dim = shape.head_dim;
  head.value_dim = shape.output_dim();
  head.first_position = held;
  head.mask = &*mask;
  head.logits = shape.logits(0, 0);
  PrefillAttention<float, float> attention(head);
  const PromptRows rows = attention.rows();
  std::vector<float> row(held + tokens);
  for (std::size_t q = 0; q < tokens; ++q) {
    ASSERT_EQ(rows.fused(q, row.data()), Status::ok);
    std::vector<double> weights(held + tokens);
    double total = std::exp(double{sinks[0]});
    for (std::size_t k = 0; k < held + tokens; ++k) {
      if (k > held + q && !in_one_span(spans, held, held + q, k)) continue;
      double product = 0;
      for (std::size_t d = 0; d < shape.head_dim; ++d) {
        product += double{all.queries[(held + q) * shape.query_width() + d]} *
                   double{all.keys[k * shape.key_width() + d]};
      }
      const double cap{shape.soft_cap};
      weights[k] = std::exp(cap * std::tanh(product * double{shape.scale} / cap) -
                            double{slopes[0]} * (positions[held + q] - positions[k]));
      total += weights[k];
    }
    for (std::size_t k = 0; k < held + tokens; ++k) {
      ASSERT_NEAR(double{row[k]}, weights[k] / total, 1e-5 * weights[k] / total + 1e-30)
          << q << ' ' << k;
    }
  }
}

TEST(Spans, WithoutOneAPromptIsCausal) {
  const MorphKV::Options options{.capacity = 32, .window = 8};
  KVCache<Eigen::half, MorphKV> causal(shape, options);
  KVCache<Eigen::half, MorphKV> masked(shape, options);
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    const Tokens block = Script().at(shape, layer, 0, 150);
    std::vector<float> outputs[2];
    for (auto& some : outputs) some.resize(150 * shape.output_width());
    ASSERT_EQ(causal.prefill(layer, block.queries, block.keys, block.values,
                             std::span<float>(outputs[0])),
              Status::ok);
    ASSERT_EQ(
        masked.prefill_spans<float>(layer, block.queries, block.keys, block.values, outputs[1], {}),
        Status::ok);
    EXPECT_EQ(outputs[0], outputs[1]);
  }
  EXPECT_EQ(state_of(causal), state_of(masked));
}

TEST(Spans, WrongOnesAreRefused) {
  KVCache<float, MorphKV> cache(shape, {.capacity = 32, .window = 8});
  const Tokens block = Script().at(shape, 0, 0, 10);
  for (const Spans& spans : {Spans{{0, 11}}, Spans{{4, 4}}, Spans{{5, 4}}, Spans{{3, 6}, {5, 8}},
                             Spans{{6, 8}, {2, 4}}, Spans{{0, std::size_t(-1)}}}) {
    std::vector<float> outputs(10 * shape.output_width());
    EXPECT_EQ(
        cache.prefill_spans<float>(0, block.queries, block.keys, block.values, outputs, spans),
        Status::wrong_size);
    EXPECT_EQ(cache.size(0, 0), 0);
  }
}

/// A cache that has evicted, and a tree over what it holds.
void expect_tree(const Parents& parents, std::size_t window) {
  SCOPED_TRACE(::testing::Message() << ::testing::PrintToString(parents) << ", window " << window);
  const std::size_t windows[] = {0, window};
  CacheShape model = shape;
  model.windows = windows;
  KVCache<float, MorphKV> cache(model, {.capacity = 24, .window = 4});
  constexpr std::size_t before = 60;
  (void)Script().prefill(cache, before);
  const auto saved = cache.save();
  for (std::size_t layer = 0; layer < model.layers; ++layer) {
    std::vector<std::size_t> depths;
    for (const std::int32_t parent : parents) {
      depths.push_back(parent < 0 ? 0 : depths[static_cast<std::size_t>(parent)] + 1);
    }
    const Tokens tree = Script(2).at(model, layer, 0, parents.size());
    std::vector<float> outputs(parents.size() * model.output_width());
    ASSERT_EQ(
        cache.attend_tree<float>(layer, tree.queries, tree.keys, tree.values, parents, outputs),
        Status::ok);
    for (std::size_t head = 0; head < model.kv_heads; ++head) {
      // Heads hold different tokens: a problem for each, of which only its outputs count.
      const auto held = cache.positions(layer, head);
      Problem problem{model, layer, {}, {}, {}};
      const auto add = [&](const Tokens& some, Position position) {
        problem.all.queries.insert(problem.all.queries.end(), some.queries.begin(),
                                   some.queries.end());
        problem.all.keys.insert(problem.all.keys.end(), some.keys.begin(), some.keys.end());
        problem.all.values.insert(problem.all.values.end(), some.values.begin(), some.values.end());
        problem.positions.push_back(position);
        ++problem.all.count;
      };
      for (const Position position : held) {
        add(Script().at(model, layer, position), position);
      }
      for (std::size_t t = 0; t < parents.size(); ++t) {
        add(Script(2).at(model, layer, static_cast<Position>(t)),
            static_cast<Position>(before + depths[t]));
      }
      problem.sees = [&](std::size_t q, std::size_t k) {
        if (model.window(layer) > 0 &&
            problem.positions[q] - problem.positions[k] >= static_cast<Position>(window)) {
          return false;
        }
        if (k < held.size()) return true;
        for (auto t = static_cast<std::int32_t>(q - held.size()); t >= 0;
             t = parents[static_cast<std::size_t>(t)]) {
          if (static_cast<std::size_t>(t) == k - held.size()) return true;
        }
        return false;
      };
      for (std::size_t t = 0; t < parents.size(); ++t) {
        for (std::size_t h = head * model.group(); h < (head + 1) * model.group(); ++h) {
          const std::vector<double> expected = problem.output(held.size() + t, h);
          const std::size_t at = t * model.output_width() + h * model.output_dim();
          for (std::size_t d = 0; d < expected.size(); ++d) {
            ASSERT_NEAR(double{outputs[at + d]}, expected[d], 1e-5) << t << ' ' << h << ' ' << d;
          }
        }
      }
    }
  }
  EXPECT_EQ(cache.save(), saved);
}

TEST(Tree, TokensSeeTheirAncestors) {
  Parents bush = {no_parent, 0, 0, 1, 1, 2, no_parent, 6, 3, 5};
  Parents wide(100, no_parent);
  Parents random;
  Random engine(4);
  for (std::int32_t t = 0; t < 150; ++t) {
    random.push_back(t == 0 || engine.below(8) == 0
                         ? no_parent
                         : static_cast<std::int32_t>(engine.below(static_cast<std::size_t>(t))));
  }
  Parents chain;
  for (std::int32_t t = 0; t < 70; ++t) chain.push_back(t - 1);
  for (const std::size_t window : {1U, 3U, 40U}) {
    for (const Parents& parents : {Parents{no_parent}, bush, wide, random, chain}) {
      expect_tree(parents, window);
    }
  }
}

/// A chain is what a causal block is.
TEST(Tree, AChainIsAPrompt) {
  KVCache<Eigen::bfloat16, MorphKV> cache(shape, {.capacity = 24, .window = 4});
  (void)Script().prefill(cache, 40);
  const Tokens block = Script().at(shape, 0, 40, 9);
  std::vector<float> drafted(9 * shape.output_width());
  std::vector<float> outputs(drafted.size());
  Parents chain;
  for (std::int32_t t = 0; t < 9; ++t) chain.push_back(t - 1);
  ASSERT_EQ(cache.attend_tree<float>(0, block.queries, block.keys, block.values, chain, drafted),
            Status::ok);
  ASSERT_EQ(cache.prefill(0, block.queries, block.keys, block.values, std::span<float>(outputs)),
            Status::ok);
  EXPECT_EQ(drafted, outputs);
}

TEST(Tree, WrongOnesAreRefused) {
  KVCache<float, MorphKV> cache(shape, {.capacity = 32, .window = 8});
  const Tokens block = Script().at(shape, 0, 0, 3);
  std::vector<float> outputs(3 * shape.output_width(), 7);
  const auto attend = [&](std::size_t layer, std::span<const float> keys, const Parents& parents,
                          std::span<float> to) {
    return cache.attend_tree<float>(layer, block.queries, keys, block.values, parents, to);
  };
  const Parents good = {no_parent, 0, 0};
  for (const Parents& parents : {Parents{0, 0, 0}, Parents{no_parent, 1, 0}, Parents{no_parent, 0},
                                 Parents{-2, 0, 0}, Parents{no_parent, 0, 3}}) {
    EXPECT_EQ(attend(0, block.keys, parents, outputs), Status::wrong_size);
  }
  EXPECT_EQ(attend(2, block.keys, good, outputs), Status::wrong_size);
  EXPECT_EQ(attend(0, block.keys, good, std::span(outputs).first(1)), Status::wrong_size);
  std::vector<float> keys = block.keys;
  keys[5] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(attend(0, keys, good, outputs), Status::not_finite);
  EXPECT_EQ(outputs, std::vector<float>(outputs.size(), 7));
  EXPECT_EQ(cache.attend_tree<float>(0, {}, {}, {}, {}, {}), Status::ok);
}

TEST(Tree, AQueryThatIsNaNIsABadRow) {
  KVCache<float, MorphKV> cache(shape, {.capacity = 32, .window = 8});
  const Parents parents = {no_parent, 0, 0};
  std::vector<float> outputs(3 * shape.output_width());
  for (const std::size_t at : {std::size_t{0}, shape.query_width() - 1}) {  // first and last head
    Tokens block = Script().at(shape, 0, 0, 3);
    block.queries[at] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(cache.attend_tree<float>(0, block.queries, block.keys, block.values, parents,
                                       std::span<float>(outputs)),
              Status::bad_row);
  }
}

/// \param outputs of the queries of `token`, over what the layer holds
template <class Cache>
void expect_read(const Cache& cache, std::size_t layer, const Tokens& token,
                 std::span<const float> outputs) {
  for (std::size_t head = 0; head < shape.kv_heads; ++head) {
    Problem problem{shape, layer, token, {cache.next_position(layer) - 1}, {}};
    problem.sees = [](std::size_t, std::size_t k) { return k > 0; };
    for (const Position position : cache.positions(layer, head)) {
      if (position == no_position) continue;
      const Tokens held = Script().at(shape, layer, position);
      problem.all.keys.insert(problem.all.keys.end(), held.keys.begin(), held.keys.end());
      problem.all.values.insert(problem.all.values.end(), held.values.begin(), held.values.end());
      problem.positions.push_back(position);
      ++problem.all.count;
    }
    for (std::size_t h = head * shape.group(); h < (head + 1) * shape.group(); ++h) {
      const std::vector<double> expected = problem.output(0, h);
      for (std::size_t d = 0; d < expected.size(); ++d) {
        ASSERT_NEAR(double{outputs[h * shape.output_dim() + d]}, expected[d], 1e-5) << h;
      }
    }
  }
}

template <class Contender>
class ReadTest : public ::testing::Test {};
using Contenders = ::testing::Types<MorphKVSum, MorphKVMax, H2OPlain, TOVAContender>;
TYPED_TEST_SUITE(ReadTest, Contenders);

/// A layer that reads sees what the owner's attention sees, and leaves no trace: a twin that is
/// never read from evicts the same tokens.
TYPED_TEST(ReadTest, ChangesNothing) {
  const Setting setting{.capacity = 16, .window = 4, .max_tokens = 100};
  const auto options = TypeParam::options(setting);
  KVCache<float, typename TypeParam::Policy> cache(shape, options);
  KVCache<float, typename TypeParam::Policy> twin(shape, options);
  const Script script;
  for (Position position = 0; position < 50; ++position) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      const Tokens token = script.at(shape, layer, position);
      for (auto* some : {&cache, &twin}) {
        ASSERT_EQ(some->append(layer, token.keys, token.values, position), Status::ok);
      }
      std::vector<float> read(shape.output_width());
      std::vector<float> output(shape.output_width());
      std::vector<float> expected(shape.output_width());
      ASSERT_EQ(cache.template read<float>(layer, token.queries, read), Status::ok);
      for (std::size_t head = 0; head < shape.kv_heads; ++head) {
        const std::size_t queries = shape.group() * shape.head_dim;
        const std::size_t outputs = shape.group() * shape.output_dim();
        ASSERT_EQ(cache.attend_head(layer, head,
                                    std::span(token.queries).subspan(head * queries, queries),
                                    std::span(output).subspan(head * outputs, outputs)),
                  Status::ok);
      }
      // With a query of its own, between a row and its use.
      const Tokens other = script.at(shape, layer, position + 1000);
      std::vector<float> others(shape.output_width());
      ASSERT_EQ(cache.template read<float>(layer, other.queries, others), Status::ok);
      EXPECT_NE(others, output);
      ASSERT_EQ(cache.observe_heads(layer), Status::ok);
      // After it a token may be evicted whose slot waits for the next one.
      ASSERT_EQ(cache.template read<float>(layer, other.queries, others), Status::ok);
      expect_read(cache, layer, other, others);
      ASSERT_EQ(twin.attend(layer, token.queries, std::span<float>(expected)), Status::ok);
      EXPECT_EQ(read, expected);
      EXPECT_EQ(output, expected);
    }
    ASSERT_EQ(state_of(cache), state_of(twin));
  }
}

TEST(Read, WhatCannotBeReadIsReported) {
  KVCache<float, MorphKV> cache(shape, {.capacity = 16, .window = 4});
  Tokens token = Script().at(shape, 0, 0);
  std::vector<float> output(shape.output_width(), 7);
  EXPECT_EQ(cache.read<float>(0, token.queries, output), Status::out_of_step) << "empty";
  ASSERT_EQ(cache.append(0, token.keys, token.values, 0), Status::ok);
  EXPECT_EQ(cache.read<float>(1, token.queries, output), Status::out_of_step) << "empty";
  EXPECT_EQ(cache.read<float>(2, token.queries, output), Status::wrong_size);
  EXPECT_EQ(cache.read<float>(0, token.queries, std::span(output).first(1)), Status::wrong_size);
  EXPECT_EQ(cache.read<float>(0, std::span(token.queries).first(1), output), Status::wrong_size);
  EXPECT_EQ(output, std::vector<float>(output.size(), 7));
  token.queries[0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(cache.read<float>(0, token.queries, output), Status::bad_row);
  EXPECT_EQ(cache.attend(0, Script().at(shape, 0, 0).queries, std::span<float>(output)),
            Status::ok);
}

}  // namespace
}  // namespace morphkv::testing::masks_test
