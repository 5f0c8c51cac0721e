// SPDX-License-Identifier: Apache-2.0
// Caches with two tiers through random calls, in lockstep with oracles in double.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <iterator>

#include "fuzz/fuzz_input.hpp"
#include "fuzz/gtest_failures.hpp"
#include "support/contenders.hpp"
#include "support/tiered_duel.hpp"

namespace morphkv::testing { namespace {

CacheShape draw_shape(FuzzBytes& bytes) {
  CacheShape shape;
  shape.layers = 1 + bytes.below(2);
  shape.kv_heads = 1 + bytes.below(2);
  shape.query_heads = shape.kv_heads * (1 + bytes.below(5));
  shape.head_dim = 32 * (1 + bytes.below(3));
  if (bytes.below(3) == 0) {
    shape.value_dim = 32 * (1 + bytes.below(3));
    shape.values_in_keys = shape.value_dim <= shape.head_dim && bytes.below(2) == 0;
  }
  if (bytes.below(3) == 0) shape.soft_cap = 1 + static_cast<float>(bytes.below(30));
  return shape;
}

template <class T, class Cold, class Contender>
void play(FuzzBytes& bytes) {
  const CacheShape shape = draw_shape(bytes);
  Setting setting;
  setting.window = 1 + bytes.below(12);
  setting.sinks = bytes.below(4);
  setting.capacity = setting.window + setting.sinks + 1 + bytes.below(40);
  setting.group = bytes.below(2) == 0 ? GroupFusion::max : GroupFusion::mean;
  const std::size_t hot = 1 + bytes.below(setting.capacity - 1);
  TieredDuel<T, Cold, Contender> duel(shape, setting, hot, bytes.byte());
  // Four times the largest capacity: the model of a long sequence takes seconds.
  for (std::size_t tokens = 0; tokens < 240 && !bytes.empty() && !duel.over();) {
    const std::size_t code = bytes.byte();
    if (code % 4 == 0) {
      ++operations;
      duel.prefill(1 + code / 4);
    }
    for (std::size_t step = 0; step < code / 4 && code % 4 > 0 && !duel.over(); ++step) {
      ++operations;
      duel.step();
    }
    tokens += 1 + code / 4;
  }
}

}}  // namespace morphkv::testing

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace morphkv;
  using namespace morphkv::testing;
  static constexpr void (*plays[])(FuzzBytes&) = {play<Eigen::half, Q8_0, MorphKVSum>,
                                                  play<Eigen::half, Q4_0, H2OPlain>,
                                                  play<Eigen::bfloat16, Q8_0, TOVAContender>,
                                                  play<float, Q4_0, StreamingLLMContender>,
                                                  play<Eigen::half, Q8_0, DecayedMaxWithPins>,
                                                  play<Q8_0, Q4_0, DecayedMaxWithPins>,
                                                  play<Q8_0, Q4_0, MorphKVMax>};
  FuzzBytes bytes(data, size);
  plays[bytes.below(std::size(plays))](bytes);
  return 0;
}
