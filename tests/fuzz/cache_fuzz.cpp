// SPDX-License-Identifier: Apache-2.0
// A KVCache through random calls, on any instruction set and for any kind of logits, in lockstep
// with a model in double of each of its heads: what is kept, what is stored, and what attention
// gives; and with a cache over pages and a sequence of a pool on another executor, which must not
// differ by a bit. Layers that slide, values of their own dimension or in the keys, quantised
// numbers and E4M3 with a scale per head are among them. Calls with wrong arguments change nothing,
// nor do those that find no page.
#include <gtest/gtest.h>

#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <span>
#include <vector>

#include "fuzz/fuzz_input.hpp"
#include "fuzz/gtest_failures.hpp"
#include "support/cache_duel.hpp"
#include "support/contenders.hpp"

namespace morphkv::testing { namespace {

struct Drawn {
  CacheShape shape;
  Setting setting;
  std::vector<std::size_t> windows;
  std::vector<float> sinks;
  std::vector<float> slopes;
  std::vector<float> key_scales;
  std::vector<float> value_scales;
};

/// A scale, a soft cap, sinks and slopes, or none.
void draw_logits(Drawn& drawn, FuzzBytes& bytes) {
  CacheShape& shape = drawn.shape;
  constexpr float scales[] = {0, 0.25F, 0.5F, 1};
  constexpr float soft_caps[] = {0, 0, 0.5F, 20};
  constexpr float all_sinks[] = {-std::numeric_limits<float>::infinity(), -2, 0, 5};
  const std::size_t code = bytes.byte();
  shape.scale = scales[code % 4] / std::sqrt(static_cast<float>(shape.head_dim));
  shape.soft_cap = soft_caps[code / 4 % 4];
  if (code / 32 % 4 == 1) {
    constexpr float all_slopes[] = {0.5F, 0.0625F, 0, -0.01F};
    drawn.slopes.resize(shape.query_heads);
    for (float& slope : drawn.slopes) slope = all_slopes[bytes.below(4)];
    shape.slopes = drawn.slopes.data();
  }
  if (code / 16 % 2 == 0) return;
  drawn.sinks.resize(shape.layers * shape.query_heads);
  for (float& sink : drawn.sinks) sink = all_sinks[bytes.below(4)];
  shape.sinks = drawn.sinks.data();
}

/// Values like keys, of their own dimension, or in the keys.
void draw_values(CacheShape& shape, std::span<const std::size_t> dims, FuzzBytes& bytes) {
  const std::size_t code = bytes.byte();
  if (code % 2 == 0) return;
  shape.value_dim = dims[bytes.below(dims.size())];
  shape.values_in_keys = code % 4 == 1 && shape.value_dim <= shape.head_dim;
}

/// Half of the caches have layers that slide.
void draw_windows(Drawn& drawn, FuzzBytes& bytes) {
  if (bytes.byte() % 2 == 0) return;
  for (std::size_t layer = 0; layer < drawn.shape.layers; ++layer) {
    const std::size_t code = bytes.byte();
    drawn.windows.push_back(code % 3 == 0 ? 0 : 1 + code / 3 % 40);
  }
  drawn.shape.windows = drawn.windows.data();
}

/// Scales of keys and of values, or none. The least ones are exceeded by some numbers.
void draw_scales(Drawn& drawn, FuzzBytes& bytes) {
  constexpr float scales[] = {1, 0.004F, 0.02F, 0.3F, 5};
  CacheShape& shape = drawn.shape;
  const auto draw_some = [&](std::vector<float>& some) {
    some.resize(shape.heads());
    for (float& scale : some) scale = scales[bytes.below(std::size(scales))];
    return some.data();
  };
  const std::size_t code = bytes.byte();
  if (code % 2 == 1) shape.key_scales = draw_some(drawn.key_scales);
  if (code % 8 > 2 && !shape.values_in_keys) shape.value_scales = draw_some(drawn.value_scales);
}

/// The kernels that run from now on.
void draw_isa(FuzzBytes& bytes) {
  using kernels::Isa;
  constexpr Isa isas[] = {Isa::avx512_bf16, Isa::avx512, Isa::avx2, Isa::portable};
  kernels::limit_isa(isas[bytes.below(std::size(isas))]);
}

template <Storable T>
Drawn draw(FuzzBytes& bytes) {
  constexpr std::size_t scalar_dims[] = {1, 3, 8, 17, 64};
  constexpr std::size_t block_dims[] = {32, 64, 96};
  const std::span<const std::size_t> dims =
      Scalar<T> ? std::span<const std::size_t>(scalar_dims) : block_dims;
  Drawn drawn;
  CacheShape& shape = drawn.shape;
  shape = {.layers = 1 + bytes.below(2), .kv_heads = 1 + bytes.below(2)};
  shape.query_heads = shape.kv_heads * (1 + bytes.below(4));
  shape.head_dim = dims[bytes.below(dims.size())];
  Setting& s = drawn.setting;
  s.window = 1 + bytes.below(20);
  s.sinks = bytes.below(5);
  s.capacity = s.window + s.sinks + 1 + bytes.below(40);
  s.max_tokens = bytes.byte() % 4 == 0 ? 250 : 1024;
  s.history = bytes.below(7);
  s.group = bytes.byte() % 2 == 0 ? GroupFusion::max : GroupFusion::mean;
  draw_values(shape, dims, bytes);
  draw_windows(drawn, bytes);
  draw_logits(drawn, bytes);
  if constexpr (std::same_as<T, E4M3>) draw_scales(drawn, bytes);
  return drawn;
}

/// Arguments that every call must refuse.
template <class Policy, class Cache>
void refuse(Cache& cache, FuzzBytes& bytes) {
  const CacheShape& shape = cache.shape();
  const std::vector<float> query(shape.query_width(), 0.5F);
  const std::vector<float> key(shape.key_width(), 0.5F);
  const std::vector<float> value(shape.value_width(), 0.5F);
  const std::vector<float> wrong_value(value.size() + 1, 0.5F);
  std::vector<float> output(shape.output_width(), 7.0F);
  const std::span<const float> short_key = std::span(key).first(key.size() - 1);
  const std::size_t layer = bytes.below(shape.layers);
  const Position next = cache.next_position(layer);
  const auto before = state_of(cache);
  EXPECT_EQ(cache.append(layer, short_key, value, next), Status::wrong_size);
  EXPECT_EQ(cache.append(layer, key, wrong_value, next), Status::wrong_size);
  EXPECT_EQ(cache.append(shape.layers, key, value, next), Status::wrong_size);
  EXPECT_EQ(cache.append(layer, key, value, -1), Status::position_backwards);
  EXPECT_EQ(cache.append(layer, key, value, max_position + 1), Status::position_too_large);
  EXPECT_EQ(cache.attend(layer, std::span(query).first(query.size() - 1), std::span(output)),
            Status::wrong_size);
  // SnapKV needs no row per token, and nor does a layer that slides.
  if (!std::same_as<Policy, SnapKV> && shape.window(layer) == 0) {
    EXPECT_EQ(cache.attend(layer, query, std::span(output)), Status::out_of_step);
  }
  EXPECT_NE(cache.observe(layer, query, 0), Status::ok);
  EXPECT_EQ(cache.prefill(layer, query, key, wrong_value), Status::wrong_size);
  const std::int32_t parents[] = {0};
  const TokenSpan spans[] = {{0, 2}};
  const std::span<float> to(output);
  EXPECT_EQ((cache.template attend_tree<float>(layer, query, key, value, parents, to)),
            Status::wrong_size);
  EXPECT_EQ((cache.template prefill_spans<float>(layer, query, key, value, to, spans)),
            Status::wrong_size);
  EXPECT_EQ((cache.template read<float>(shape.layers, query, to)), Status::wrong_size);
  if constexpr (requires { cache.renumber(Rope{}); }) {
    const std::vector<float> frequencies(shape.head_dim / 2 + 1);
    EXPECT_EQ(cache.renumber(Rope{frequencies}), Status::wrong_size);
  }
  EXPECT_EQ(state_of(cache), before);
  for (const float x : output) EXPECT_EQ(x, 7.0F);
}

/// Calls that attend and change nothing.
template <class Cache>
void look(Cache& cache, FuzzBytes& bytes) {
  const CacheShape& shape = cache.shape();
  Random random(bytes.below(1000));
  const std::size_t layer = bytes.below(shape.layers);
  const Tokens tree = draw_tokens(shape, 1 + bytes.below(20), random);
  std::vector<std::int32_t> parents;
  for (std::size_t t = 0; t < tree.count; ++t) {
    parents.push_back(static_cast<std::int32_t>(bytes.below(t + 1)) - 1);
  }
  std::vector<float> outputs(tree.count * shape.output_width());
  const auto before = cache.save();
  EXPECT_EQ((cache.template attend_tree<float>(layer, tree.queries, tree.keys, tree.values, parents,
                                               outputs)),
            Status::ok);
  const std::span<const float> query = std::span(tree.queries).first(shape.query_width());
  const bool is_empty = cache.size(layer, 0) == 0;
  EXPECT_EQ(
      (cache.template read<float>(layer, query, std::span(outputs).first(shape.output_width()))),
      is_empty ? Status::out_of_step : Status::ok);
  for (const float x : outputs) EXPECT_TRUE(std::isfinite(x));
  EXPECT_EQ(cache.save(), before);
}

/// A block with spans of tokens that see each other.
template <class Duel>
void prefill_spans(Duel& duel, FuzzBytes& bytes) {
  const std::size_t tokens = 1 + bytes.below(80);
  std::vector<TokenSpan> spans;
  for (std::size_t begin = bytes.below(tokens); begin < tokens;) {
    spans.push_back({begin, begin + 1 + bytes.below(tokens - begin)});
    begin = spans.back().end + bytes.below(20);
  }
  duel.prefill(tokens, spans);
}

/// Keys are turned, or not.
template <Storable T, class Duel>
void renumber(Duel& duel, FuzzBytes& bytes) {
  const std::size_t dim = duel.cache().shape().head_dim;
  const std::size_t code = bytes.byte();
  if (!(SixteenBits<T> || std::same_as<T, float>) || code % 4 == 0) return duel.renumber(nullptr);
  constexpr float first_frequencies[] = {1, 0.3F, 0.001F, 0};
  std::vector<float> frequencies(bytes.below(dim / 2 + 1));
  float frequency = first_frequencies[code / 4 % 4];
  for (float& each : frequencies) {
    each = frequency;
    frequency *= 0.75F;
  }
  const std::size_t first = bytes.below(dim - 2 * frequencies.size() + 1);
  const Rope rope{frequencies, first, code % 2 == 1};
  duel.renumber(&rope);
}

template <Storable T, class Contender>
void play(FuzzBytes& bytes) {
  Drawn drawn = draw<T>(bytes);
  draw_isa(bytes);
  SCOPED_TRACE(::testing::Message() << drawn.setting);
  CacheDuel<T, Contender, float, true> duel(drawn.shape, drawn.setting, bytes.below(65'536));
  const auto last = static_cast<Position>(drawn.setting.max_tokens - 100);  // SnapKV grows
  for (int call = 0; call < 120 && !bytes.empty() && !duel.over(); ++call) {
    if (duel.cache().next_position(0) > last) break;
    ++operations;
    const std::size_t code = bytes.byte();
    switch (code % 16) {
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
        if (bytes.byte() % 2 == 0) {
          duel.save_and_restore();
        } else {
          drawn.setting.capacity = drawn.setting.window + drawn.setting.sinks + 1 + bytes.below(70);
          duel.save_and_restore(drawn.setting);
        }
        break;
      case 9:
        look(duel.cache(), bytes);
        break;
      case 10:
        prefill_spans(duel, bytes);
        break;
      case 11:
        renumber<T>(duel, bytes);
        break;
      case 7:
      case 8:
        duel.observe(all_weights[code / 16 % all_weights.size()]);
        break;
      default:
        duel.step();
    }
  }
}

}}  // namespace morphkv::testing

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace morphkv::testing;
  static constexpr void (*plays[])(FuzzBytes&) = {play<float, MorphKVMax>,
                                                  play<float, H2OPlain>,
                                                  play<float, SnapKVAverage>,
                                                  play<float, DecayedMaxWithPins>,
                                                  play<Eigen::half, MorphKVMax>,
                                                  play<Eigen::bfloat16, DecayedMaxWithPins>,
                                                  play<morphkv::Q8_0, DecayedMaxWithPins>,
                                                  play<morphkv::Q4_0, MorphKVMax>,
                                                  play<morphkv::E4M3, DecayedMaxWithPins>};
  FuzzBytes bytes(data, size);
  plays[bytes.below(std::size(plays))](bytes);
  return 0;
}
