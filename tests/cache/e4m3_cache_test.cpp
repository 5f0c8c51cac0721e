// SPDX-License-Identifier: Apache-2.0
// A cache of E4M3: against oracles in double that multiply by the scales, the bytes that it stores,
// and the scales that it refuses.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "kernels/support.hpp"
#include "support/cache_duel.hpp"
#include "support/contenders.hpp"
#include "support/errors.hpp"

namespace morphkv::testing::e4m3_cache_test { namespace {

constexpr float key_scales[] = {0.02F, 0.004F, 0.5F, 3};  // the second is exceeded at times
constexpr float value_scales[] = {0.1F, 1, 0.004F, 0.25F};
constexpr CacheShape shape{.layers = 2,
                           .query_heads = 6,
                           .kv_heads = 2,
                           .head_dim = 17,
                           .key_scales = key_scales,
                           .value_scales = value_scales};

TEST(E4M3Cache, ScalesAreThoseOfTheLayerAndHead) {
  for (std::size_t layer = 0; layer < 2; ++layer) {
    for (std::size_t head = 0; head < 2; ++head) {
      EXPECT_EQ(shape.key_scale(layer, head), key_scales[2 * layer + head]);
      EXPECT_EQ(shape.value_scale(layer, head), value_scales[2 * layer + head]);
      EXPECT_EQ(shape.stored_logits(layer, head).scale,
                shape.logits(layer, head).scale * key_scales[2 * layer + head]);
    }
  }
  CacheShape latent = shape;
  latent.values_in_keys = true;
  EXPECT_EQ(latent.value_scale(1, 1), key_scales[3]);
  EXPECT_EQ(CacheShape{}.key_scale(0, 0), 1);
  EXPECT_EQ(CacheShape{}.value_scale(0, 0), 1);
}

/// Turns with blocks, spans, steps and drafts, on every instruction set.
template <class Contender>
void expect_oracle(const CacheShape& model) {
  double played = 0;
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    CacheDuel<E4M3, Contender, float, true> duel(
        model, {.capacity = 20, .window = 5, .sinks = 2, .max_tokens = 300, .history = 4}, 1);
    constexpr TokenSpan spans[] = {{2, 7}, {9, 10}};
    for (int turn = 0; turn < 3 && !duel.over(); ++turn, ++played) {
      duel.prefill(12, spans);
      for (int step = 0; step < 10 && !duel.over(); ++step) duel.step();
      if (!duel.over()) duel.prefill(3);
      if (!duel.over()) duel.rollback(1);
      if (!duel.over()) duel.save_and_restore();
      if (!duel.over()) duel.prefill(25);
      if (!duel.over()) duel.renumber(nullptr);
      if (::testing::Test::HasFailure()) return;
    }
  }
  EXPECT_GT(played, 2 * static_cast<double>(isas().size())) << "ties are rare";
}

TEST(E4M3Cache, IsTheOracleWithItsScales) {
  expect_oracle<MorphKVMax>(shape);
  expect_oracle<DecayedMaxWithPins>(shape);
  CacheShape other = shape;
  other.value_dim = 40;
  other.key_scales = nullptr;
  expect_oracle<MorphKVMax>(other);
  other.key_scales = key_scales;
  other.value_scales = nullptr;
  other.head_dim = 64;
  expect_oracle<MorphKVMax>(other);
  other.head_dim = 1;
  other.value_dim = 1;
  expect_oracle<MorphKVMax>(other);
}

TEST(E4M3Cache, ValuesInTheKeysHaveTheirScale) {
  CacheShape latent = shape;
  latent.value_scales = nullptr;
  latent.value_dim = 9;
  latent.values_in_keys = true;
  expect_oracle<MorphKVMax>(latent);
}

/// The scale of the keys changes neither the cap nor sinks and slopes.
TEST(E4M3Cache, SoftCapsSinksSlopesAndWindows) {
  const std::vector<float> sinks = some_sinks(12);
  const std::vector<float> slopes = some_slopes(6);
  const std::size_t windows[] = {0, 9};
  CacheShape model = shape;
  model.soft_cap = 0.5F;
  model.sinks = sinks.data();
  model.slopes = slopes.data();
  model.windows = windows;
  model.scale = 0.4F;
  expect_oracle<MorphKVMax>(model);
}

/// Number / scale to the nearest byte, and the greatest byte beyond it.
TEST(E4M3Cache, StoresBytes) {
  constexpr float scales[] = {0.5F, 0.01F};
  const CacheShape model{
      .query_heads = 2, .kv_heads = 2, .head_dim = 4, .key_scales = scales, .value_scales = scales};
  std::vector<E4M3> memory(2 * 8 * 8);
  const LayerMemory<E4M3> layers[] = {{memory.data(), memory.data() + 8 * 8}};
  using Engine = EngineStorage<E4M3>;
  KVCache<E4M3, MorphKV, Engine> cache(model, {.capacity = 8, .window = 2},
                                       Engine(model, layers, 8, HeadOrder::nhd));
  // In the first head 1, -2, 1.0625 (between 1 and 1.125) and 2^-10 (between 0 and 2^-9).
  const std::vector<float> key = {0.5F, -1, 0.53125F, 0x1p-11F, 4.48F, -1e30F, 0, -0.0F};
  ASSERT_EQ(cache.append(0, key, key, 0), Status::ok);
  constexpr std::uint8_t bytes[] = {0x38, 0xc0, 0x38, 0x00, 0x7e, 0xfe, 0x00, 0x80};
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(memory[i].bits, bytes[i]) << i;
    EXPECT_EQ(memory[64 + i].bits, bytes[i]) << i;
  }
  for (std::size_t i = 8; i < 64; ++i) EXPECT_EQ(memory[i].bits, 0) << "of no token";
  EXPECT_EQ(cache.memory().keys, 0U);
}

/// A token that is held and one of a block.
TEST(E4M3Cache, PoliciesSeeNumbersTimesTheirScales) {
  constexpr Position positions[] = {0};
  const E4M3 held[] = {E4M3(3), E4M3(-0.25F)};
  constexpr float numbers[] = {1, 2};
  std::vector<float> query = {1, 1};
  PrefillHead<E4M3, float> head{.positions = positions,
                                .keys = {held, 2},
                                .values = {held, 2},
                                .tokens = 1,
                                .block_queries = query.data(),
                                .block_keys = numbers,
                                .block_values = numbers,
                                .query_stride = 2,
                                .key_stride = 2,
                                .head_dim = 2,
                                .key_scale = 0.5F,
                                .value_scale = 0.001F};
  PrefillAttention<E4M3, float> attention(head);
  const PromptRows rows = attention.rows();
  const auto expect = [](const auto& look, std::vector<float> expected) {
    std::vector<float> given(2);
    look(given.data());
    EXPECT_EQ(given, expected);
  };
  expect([&](float* to) { rows.key(0, to); }, {1.5F, -0.125F});
  expect([&](float* to) { rows.key(1, to); }, {1, 2});
  expect([&](float* to) { rows.value(0, to); }, {3 * 0.001F, -0.25F * 0.001F});
  expect([&](float* to) { rows.value(1, to); }, {448 * 0.001F, 448 * 0.001F});
}

/// An engine that writes bytes itself, and what attention makes of them: NaN is no number.
TEST(E4M3Cache, ReadsBytesOfTheEngine) {
  constexpr float scale = 0.25F;
  const CacheShape model{.head_dim = 3, .key_scales = &scale, .value_scales = &scale};
  std::vector<E4M3> memory(2 * 8 * 3);
  const LayerMemory<E4M3> layers[] = {{memory.data(), memory.data() + 8 * 3}};
  using Engine = EngineStorage<E4M3>;
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    for (const bool has_nan : {false, true}) {
      KVCache<E4M3, MorphKV, Engine> cache(model, {.capacity = 8, .window = 2},
                                           Engine(model, layers, 8, HeadOrder::nhd));
      std::vector<Placement> placed(1);
      ASSERT_EQ(cache.place(0, 0, placed), Status::ok);
      constexpr std::uint8_t bytes[] = {0x01, 0xfe, 0x38};  // 2^-9, -448, 1
      E4M3* const key = memory.data() + placed[0].slot * 3;
      for (std::size_t d = 0; d < 3; ++d) key[d].bits = key[24 + d].bits = bytes[d];
      if (has_nan) key[1].bits = 0xff;
      const std::vector<float> query = {1, 1, 1};
      std::vector<float> output(3);
      ASSERT_EQ(cache.attend(0, query, std::span<float>(output)),
                has_nan ? Status::bad_row : Status::ok);
      if (has_nan) continue;
      EXPECT_EQ(output, (std::vector<float>{0x1p-11F, -112, 0.25F}));
    }
  }
}

TEST(E4M3Cache, ScalesAreChecked) {
  const auto cache_of = [](const CacheShape& model) {
    return [=] { KVCache<E4M3, MorphKV>(model, {.capacity = 64}); };
  };
  struct Wrong {
    float scale;
    std::string text;
  };
  const Wrong all[] = {{0, "0"},
                       {-0.5F, "-0.5"},
                       {9e-31F, "9e-31"},
                       {1.1e30F, "1.1e+30"},
                       {std::numeric_limits<float>::infinity(), "inf"},
                       {std::numeric_limits<float>::quiet_NaN(), "nan"}};
  for (const Wrong& wrong : all) {
    const float scales[] = {1, 1, 1, wrong.scale};
    CacheShape model = shape;
    model.key_scales = scales;
    expect_refused(cache_of(model), "key_scales = " + wrong.text);
    model = shape;
    model.value_scales = scales;
    expect_refused(cache_of(model), "value_scales = " + wrong.text);
  }
  CacheShape latent = shape;
  latent.values_in_keys = true;
  expect_refused(cache_of(latent), "value_scales = given");
  CacheShape keys = shape;
  keys.value_scales = nullptr;
  CacheShape values = shape;
  values.key_scales = nullptr;
  const auto refuse = [&]<class T>(T) {
    expect_refused([&] { KVCache<T, MorphKV>(keys, {.capacity = 64}); }, "key_scales = given");
    expect_refused([&] { KVCache<T, MorphKV>(values, {.capacity = 64}); }, "value_scales = given");
  };
  refuse(float{});
  refuse(Eigen::half{});
  refuse(Eigen::bfloat16{});
}

TEST(E4M3Cache, NumbersThatAreNotFiniteAreRefused) {
  KVCache<E4M3, MorphKV> cache(shape, {.capacity = 14});
  (void)Script().decode(cache, 5);
  const auto before = cache.save();
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    for (const bool in_keys : {false, true}) {
      Tokens token = Script().at(shape, 0, 5);
      (in_keys ? token.keys : token.values)[3] = bad;
      EXPECT_EQ(cache.append(0, token.keys, token.values, 5), Status::not_finite);
      EXPECT_EQ(cache.prefill(0, token.queries, token.keys, token.values), Status::not_finite);
      EXPECT_EQ(cache.save(), before);
    }
  }
}

TEST(E4M3Cache, SnapshotsOfOtherScalesAreRefused) {
  KVCache<E4M3, MorphKV> cache(shape, {.capacity = 14});
  (void)Script().prefill(cache, 30);
  const auto saved = cache.save();
  constexpr float other_scales[] = {0.02F, 0.004F, 0.5F, 2};
  const auto expect_name = [&](const CacheShape& model, const std::string& name) {
    KVCache<E4M3, MorphKV> other(model, {.capacity = 14});
    const auto before = other.save();
    const std::string message = refusal([&] { other.restore(saved); });
    EXPECT_NE(message.find(name), std::string::npos) << message;
    EXPECT_EQ(other.save(), before);
  };
  CacheShape model = shape;
  model.key_scales = other_scales;
  expect_name(model, "key_scales");
  model = shape;
  model.value_scales = other_scales;
  expect_name(model, "value_scales");
  model.value_scales = nullptr;
  expect_name(model, "value_scales");
  KVCache<E4M3, MorphKV> again(shape, {.capacity = 14});
  again.restore(saved);
  EXPECT_EQ(Script().decode(again, 10), Script().decode(cache, 10));
}

/// Which is what null stands for.
TEST(E4M3Cache, ScalesOfOneAreNoScales) {
  constexpr float ones[] = {1, 1, 1, 1};
  CacheShape with_ones = shape;
  with_ones.key_scales = with_ones.value_scales = ones;
  CacheShape with_none = shape;
  with_none.key_scales = with_none.value_scales = nullptr;
  KVCache<E4M3, MorphKV> one(with_ones, {.capacity = 14});
  KVCache<E4M3, MorphKV> other(with_none, {.capacity = 14});
  EXPECT_EQ(Script().prefill(one, 30), Script().prefill(other, 30));
  EXPECT_EQ(Script().decode(one, 10), Script().decode(other, 10));
  EXPECT_EQ(one.save(), other.save());
  one.restore(other.save());
}

/// A key would be rounded a second time.
template <class Cache>
concept TurnsKeys = requires(Cache& cache) {
  cache.renumber(Rope{});
};
static_assert(!TurnsKeys<KVCache<E4M3, MorphKV>> && TurnsKeys<KVCache<Eigen::half, MorphKV>>);

TEST(E4M3Cache, TakesHalfTheBytesOfHalf) {
  const MorphKV::Options options{.capacity = 64};
  const CacheShape model{.layers = 2, .query_heads = 2, .kv_heads = 2, .head_dim = 128};
  const auto usage = KVCache<E4M3, MorphKV>(model, options).memory();
  EXPECT_EQ(usage.keys, std::size_t{2 * 2 * 64 * 128});
  EXPECT_EQ(usage.values, usage.keys);
}

}  // namespace
}  // namespace morphkv::testing::e4m3_cache_test
