// SPDX-License-Identifier: Apache-2.0
// A KVCache through random calls, in lockstep with a model in double of each of its heads: what is
// kept, what is stored, and what attention gives. Calls with wrong arguments change nothing.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
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

Drawn draw(FuzzBytes& bytes) {
  constexpr std::size_t head_dims[] = {1, 3, 8, 17, 64};
  CacheShape shape{.layers = 1 + bytes.below(2), .kv_heads = 1 + bytes.below(2)};
  shape.query_heads = shape.kv_heads * (1 + bytes.below(4));
  shape.head_dim = head_dims[bytes.below(std::size(head_dims))];
  Setting s;
  s.window = 1 + bytes.below(20);
  s.sinks = bytes.below(5);
  s.capacity = s.window + s.sinks + 1 + bytes.below(40);
  s.max_tokens = 4096;
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
  const Drawn drawn = draw(bytes);
  SCOPED_TRACE(::testing::Message() << drawn.setting);
  CacheDuel<T, Contender> duel(drawn.shape, drawn.setting, bytes.below(65'536));
  for (int call = 0; call < 120 && !bytes.empty() && !duel.over(); ++call) {
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
