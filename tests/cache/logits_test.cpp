// SPDX-License-Identifier: Apache-2.0
// A scale, a soft cap, sinks and slopes of the model: outputs and evictions are those of the
// definition.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "support/attention_definition.hpp"
#include "support/contenders.hpp"
#include "support/script.hpp"

namespace morphkv::testing::logits_test { namespace {

constexpr float sinks[] = {1.0F,  -2.0F, -std::numeric_limits<float>::infinity(), 5.0F, 0.0F, 0.5F,
                           -1.0F, 3.0F};
constexpr float slopes[] = {0.25F, 0.0F, 0.0625F, -0.01F};
constexpr CacheShape shape{.layers = 2,
                           .query_heads = 4,
                           .kv_heads = 2,
                           .head_dim = 8,
                           .scale = 0.5F,
                           .soft_cap = 1.25F,
                           .sinks = sinks,
                           .slopes = slopes};

template <class Contender>
class LogitsTest : public ::testing::Test {};
using Contenders =
    ::testing::Types<MorphKVSum, MorphKVMax, H2OPlain, DecayedMaxOfDistant, TOVAContender>;
TYPED_TEST_SUITE(LogitsTest, Contenders);

/// Two caches take the same tokens; one attends, the other is given the weights of the definition.
TYPED_TEST(LogitsTest, StepsAreThoseOfTheAttentionDefinition) {
  const Setting setting{.capacity = 16, .window = 4, .max_tokens = 100};
  const auto options = TypeParam::options(setting);
  KVCache<float, typename TypeParam::Policy> cache(shape, options);
  KVCache<float, typename TypeParam::Policy> given(shape, options);
  const Script script;
  std::vector<std::vector<AttentionDefinition>> heads(shape.layers);
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    for (std::size_t head = 0; head < shape.kv_heads; ++head) {
      heads[layer].emplace_back(shape, layer, head);
    }
  }
  constexpr std::size_t stride = 128;
  for (Position position = 0; position < 60; ++position) {
    for (std::size_t layer = 0; layer < shape.layers; ++layer) {
      const Tokens token = script.at(shape, layer, position);
      for (auto* c : {&cache, &given}) {
        ASSERT_EQ(c->append(layer, token.keys, token.values, position), Status::ok);
      }
      std::vector<float> output(shape.query_width());
      const auto held = cache.positions(layer, 0);
      ASSERT_EQ(std::vector<Position>(held.begin(), held.end()),
                std::vector<Position>(given.positions(layer, 0).begin(),
                                      given.positions(layer, 0).end()));
      ASSERT_EQ(cache.attend(layer, token.queries, std::span<float>(output)), Status::ok);
      std::vector<float> rows(shape.query_heads * stride);
      for (std::size_t head = 0; head < shape.kv_heads; ++head) {
        AttentionDefinition& definition = heads[layer][head];
        definition.add(token);
        const auto slots = given.positions(layer, head);
        definition.expect_output(token, slots, output);
        for (std::size_t g = 0; g < shape.group(); ++g) {
          const std::vector<double> weights = definition.weights(token, g, slots);
          std::copy(
              weights.begin(), weights.end(),
              rows.begin() + static_cast<std::ptrdiff_t>((head * shape.group() + g) * stride));
        }
      }
      ASSERT_EQ(given.observe(layer, rows, stride), Status::ok);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(Logits, APromptAttendsByThem) {
  const DecayedMax::Options options{.capacity = 16, .recent = 4};
  constexpr std::size_t count = 40;
  KVCache<float, DecayedMax> cache(shape, options);
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    const Tokens block = Script().at(shape, layer, 0, count);
    std::vector<float> outputs(block.queries.size());
    ASSERT_EQ(cache.prefill(layer, block.queries, block.keys, block.values, outputs), Status::ok);
    std::vector<Position> seen;
    std::vector<AttentionDefinition> heads;
    for (std::size_t head = 0; head < shape.kv_heads; ++head) {
      heads.emplace_back(shape, layer, head);
    }
    for (Position position = 0; position < static_cast<Position>(count); ++position) {
      const Tokens token = Script().at(shape, layer, position);
      seen.push_back(position);
      const std::size_t at = static_cast<std::size_t>(position) * shape.query_width();
      for (AttentionDefinition& head : heads) {
        head.add(token);
        head.expect_output(token, seen, std::span(outputs).subspan(at, shape.query_width()));
      }
    }
  }
}

}  // namespace
}  // namespace morphkv::testing::logits_test
