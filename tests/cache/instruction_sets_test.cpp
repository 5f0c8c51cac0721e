// SPDX-License-Identifier: Apache-2.0
// The same rows give the same tokens on every instruction set of this CPU.
#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "morphkv/kernels/dispatch.hpp"
#include "support/contenders.hpp"
#include "support/duel.hpp"
#include "support/script.hpp"

namespace morphkv::testing::instruction_sets_test { namespace {

using kernels::Isa;

constexpr CacheShape shape{.layers = 1, .query_heads = 6, .kv_heads = 2, .head_dim = 8};

/// The tokens that both heads hold after every tenth of many steps whose rows are the engine's.
template <class Contender>
std::vector<std::vector<Position>> kept_on(Isa isa) {
  EXPECT_EQ(kernels::limit_isa(isa), isa);
  KVCache<float, typename Contender::Policy> cache(
      shape, Contender::options({.capacity = 75, .window = 20, .max_tokens = 1200}));
  const Script script;
  Random random(3);
  std::vector<std::vector<Position>> result;
  for (int step = 0; step < 1000; ++step) {
    script.append(cache);
    const std::size_t stride = cache.size(0, 0);
    std::vector<float> weights(shape.query_heads * stride);
    for (float& weight : weights) weight = draw_weight(Weights::fine, random);
    EXPECT_EQ(cache.observe(0, weights, stride), Status::ok);
    if (step % 10 != 0) continue;
    for (const std::size_t head : {0U, 1U}) result.push_back(kept(cache.policy(0, head)));
  }
  kernels::limit_isa(kernels::best_isa());
  return result;
}

template <class Contender>
class InstructionSetsTest : public ::testing::Test {};
using Contenders =
    ::testing::Types<MorphKVSum, MorphKVMax, H2OPlain, DecayedMaxOfDistant, TOVAContender>;
TYPED_TEST_SUITE(InstructionSetsTest, Contenders);

TYPED_TEST(InstructionSetsTest, KeepTheSameTokensForTheSameRows) {
  const auto expected = kept_on<TypeParam>(Isa::portable);
  for (const Isa isa : {Isa::neon, Isa::neon_dotprod, Isa::avx2, Isa::avx512, Isa::avx512_bf16}) {
    if (!kernels::can_run(kernels::best_isa(), isa)) continue;
    EXPECT_EQ(kept_on<TypeParam>(isa), expected) << kernels::to_string(isa);
  }
}

}  // namespace
}  // namespace morphkv::testing::instruction_sets_test
