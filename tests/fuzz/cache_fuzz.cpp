// SPDX-License-Identifier: Apache-2.0
// A KVCache through random calls, on any instruction set and for any kind of logits, in lockstep
// with a model in double of each of its heads: what is kept, what is stored, and what attention
// gives; and with a cache over pages on another executor, which must not differ by a bit. Calls
// with wrong arguments change nothing.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <span>
#include <vector>

#include "fuzz/fuzz_input.hpp"
#include "support/cache_duel.hpp"
#include "support/contenders.hpp"

namespace morphkv::testing { namespace {

struct Drawn {
  CacheShape shape;
  Setting setting;
};

/// A scale, a soft cap and sinks, or none.
void draw_logits(CacheShape& shape, std::vector<float>& sinks, FuzzBytes& bytes) {
  constexpr float scales[] = {0, 0.25F, 0.5F, 1};
  constexpr float soft_caps[] = {0, 0, 0.5F, 20};
  constexpr float all_sinks[] = {-std::numeric_limits<float>::infinity(), -2, 0, 5};
  const std::size_t code = bytes.byte();
  shape.scale = scales[code % 4] / std::sqrt(static_cast<float>(shape.head_dim));
  shape.soft_cap = soft_caps[code / 4 % 4];
  if (code / 16 % 2 == 0) return;
  sinks.resize(shape.layers * shape.query_heads);
  for (float& sink : sinks) sink = all_sinks[bytes.below(4)];
  shape.sinks = sinks.data();
}

/// The kernels that run from now on.
void draw_isa(FuzzBytes& bytes) {
  using kernels::Isa;
  constexpr Isa isas[] = {Isa::avx512_bf16, Isa::avx512, Isa::avx2, Isa::portable};
  kernels::limit_isa(isas[bytes.below(std::size(isas))]);
}

Drawn draw(FuzzBytes& bytes) {
  constexpr std::size_t head_dims[] = {1, 3, 8, 17, 64};
  CacheShape shape{.layers = 1 + bytes.below(2), .kv_heads = 1 + bytes.below(2)};
  shape.query_heads = shape.kv_heads * (1 + bytes.below(4));
  shape.head_dim = head_dims[bytes.below(std::size(head_dims))];
  Setting s;
  s.window = 1 + bytes.below(20);
  s.sinks = bytes.below(5);
  s.capacity = s.window + s.sinks + 1 + bytes.below(40);
  s.max_tokens = 1024;
  s.history = bytes.below(7);
  s.group = bytes.byte() % 2 == 0 ? GroupFusion::max : GroupFusion::mean;
  return {shape, s};
}

/// Arguments that every call must refuse.
template <class Policy, class Cache>
void refuse(Cache& cache, FuzzBytes& bytes) {
  const CacheShape& shape = cache.shape();
  const std::vector<float> query(shape.query_heads * shape.head_dim, 0.5F);
  const std::vector<float> key(shape.kv_heads * shape.head_dim, 0.5F);
  std::vector<float> output(query.size(), 7.0F);
  const std::span<const float> short_key = std::span(key).first(key.size() - 1);
  const std::size_t layer = bytes.below(shape.layers);
  const Position next = cache.next_position(layer);
  const auto before = state_of(cache);
  EXPECT_EQ(cache.append(layer, short_key, key, next), Status::wrong_size);
  EXPECT_EQ(cache.append(layer, key, short_key, next), Status::wrong_size);
  EXPECT_EQ(cache.append(shape.layers, key, key, next), Status::wrong_size);
  EXPECT_EQ(cache.append(layer, key, key, -1), Status::position_backwards);
  EXPECT_EQ(cache.append(layer, key, key, max_position + 1), Status::position_too_large);
  EXPECT_EQ(cache.attend(layer, std::span(query).first(query.size() - 1), std::span(output)),
            Status::wrong_size);
  if constexpr (!std::same_as<Policy, SnapKV>) {  // SnapKV needs no row per token
    EXPECT_EQ(cache.attend(layer, query, std::span(output)), Status::out_of_step);
  }
  EXPECT_NE(cache.observe(layer, query, 0), Status::ok);
  EXPECT_EQ(cache.prefill(layer, query, key, short_key), Status::wrong_size);
  EXPECT_EQ(state_of(cache), before);
  for (const float x : output) EXPECT_EQ(x, 7.0F);
}

template <Scalar T, class Contender>
void play(FuzzBytes& bytes) {
  Drawn drawn = draw(bytes);
  std::vector<float> sinks;
  draw_logits(drawn.shape, sinks, bytes);
  draw_isa(bytes);
  SCOPED_TRACE(::testing::Message() << drawn.setting);
  CacheDuel<T, Contender, float, true> duel(drawn.shape, drawn.setting, bytes.below(65'536));
  const auto last = static_cast<Position>(drawn.setting.max_tokens - 100);  // SnapKV grows
  for (int call = 0; call < 120 && !bytes.empty() && !duel.over(); ++call) {
    if (duel.cache().next_position(0) > last) break;
    ++operations;
    const std::size_t code = bytes.byte();
    switch (code % 12) {
      case 0:
        duel.prefill(1 + bytes.below(80));
        break;
      case 1:
        duel.prefill(1 + bytes.below(6));
        break;
      case 2:
        duel.rollback(bytes.below(drawn.setting.history + 3));
        break;
      case 3:
        duel.fork();
        break;
      case 4:
        if (bytes.byte() % 4 == 0) duel.reset();
        break;
      case 5:
        refuse<typename Contender::Policy>(duel.cache(), bytes);
        break;
      case 6:
      case 7:
        duel.observe(all_weights[code / 16 % all_weights.size()]);
        break;
      default:
        duel.step();
    }
  }
}

}}  // namespace morphkv::testing

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  ::testing::InitGoogleTest(argc, *argv);
  ::testing::GTEST_FLAG(throw_on_failure) = true;
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace morphkv::testing;
  static constexpr void (*plays[])(FuzzBytes&) = {
      play<float, MorphKVMax>,       play<float, H2OPlain>,
      play<float, SnapKVAverage>,    play<float, DecayedMaxWithPins>,
      play<Eigen::half, MorphKVMax>, play<Eigen::bfloat16, DecayedMaxWithPins>};
  FuzzBytes bytes(data, size);
  plays[bytes.below(std::size(plays))](bytes);
  return 0;
}
