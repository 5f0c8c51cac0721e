// SPDX-License-Identifier: Apache-2.0
//
// Attention over ggml's flash attention on the same memory: decode steps, and a block of queries.
#ifndef MORPHKV_BENCH_KERNELS_AGAINST_GGML_HPP
#define MORPHKV_BENCH_KERNELS_AGAINST_GGML_HPP

#include <benchmark/benchmark.h>

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/decoding.hpp"
#include "kernels/ggml_peer.hpp"
#include "kernels/limits.hpp"
#include "kernels/machine.hpp"
#include "kernels/report.hpp"
#include "morphkv/attention/prefill.hpp"

namespace morphkv::bench {

/// Ends the program where two libraries do not compute the same. ggml sums values in 16 bits, and
/// rounds a query to 8 where the keys have 8.
inline void expect_equal_outputs(const HugeBuffer<float>& ours, const HugeBuffer<float>& theirs,
                                 float tolerance = 0.01F) {
  for (std::size_t i = 0; i < ours.size(); ++i) {
    if (std::abs(ours[i] - theirs[i]) <= tolerance) continue;
    std::fprintf(stderr, "output %zu is %g here and %g in ggml\n", i, static_cast<double>(ours[i]),
                 static_cast<double>(theirs[i]));
    std::abort();
  }
}

/// A layer for ggml, its slots in heads or its heads in slots.
template <Storable T>
GgmlProblem ggml_problem(const Layers<T>& layers, std::size_t layer, bool slots_in_heads) {
  return {.type = std::same_as<T, Eigen::half>       ? GgmlType::half
                  : std::same_as<T, Eigen::bfloat16> ? GgmlType::bfloat16
                                                     : GgmlType::q8_0,
          .keys = layers.keys(layer, 0),
          .values = layers.values(layer, 0),
          .tokens = layers.slots(),
          .heads = kv_heads * group,
          .kv_heads = kv_heads,
          .head_dim = head_dim,
          .token_stride = slots_in_heads ? head_dim : kv_heads * head_dim,
          .head_stride = slots_in_heads ? layers.slots() * head_dim : head_dim};
}

/// Decode attention as the cache does it, [head][slot], over ggml's in that layout and in the one
/// of llama.cpp.
template <Storable T>
void measure_ggml_decode(benchmark::State& state) {
  for (auto _ : state) {
    const Layers<T> layers(2048, true);
    const HugeBuffer<float> outputs(kv_heads * group * head_dim);
    std::vector<std::function<void()>> in_heads, in_slots;
    for (std::size_t layer = 0; layer < layers.count(); ++layer) {
      for (const bool slots_in_heads : {true, false}) {
        GgmlProblem problem = ggml_problem(layers, layer, slots_in_heads);
        problem.queries = layers.arguments(layer, 0).query;
        problem.outputs = outputs.data();
        (slots_in_heads ? in_heads : in_slots).push_back(ggml_attention(problem));
      }
    }
    layers.attend(0);
    in_heads[0]();
    expect_equal_outputs(layers.outputs(), outputs, Quantised<T> ? 0.03F : 0.01F);
    std::size_t layer = 0;
    const auto next = [&] { return layer = (layer + 1) % layers.count(); };
    const Comparison times = compare(
        41,
        {[&] { layers.attend(next()); }, [&] { in_heads[next()](); }, [&] { in_slots[next()](); }});
    const std::string name = std::string("attention, ") + type_name<T>() + ", N = 2048, cold: ";
    const std::string ours = in_words(1e6 * times.time(0), "us a layer");
    state.counters["x"] = times.ratio(1);
    at_least(name + ggml_name() + ", [head][slot], over ours", times.ratio(1), Quantised<T> ? 3 : 4,
             "x", in_words(1e6 * times.time(1), "us of ") + ours);
    at_least(name + ggml_name() + ", [slot][head], over ours", times.ratio(2), Quantised<T> ? 3 : 8,
             "x", in_words(1e6 * times.time(2), "us of ") + ours);
  }
}

/// A block of queries of a layer as the cache attends to it: the tokens before it are in slots.
template <Scalar T>
class LayerBlock {
 public:
  LayerBlock(std::size_t rows, std::size_t tokens)
      : layers_(tokens, false),
        tokens_(tokens),
        positions_(tokens - rows),
        queries_(rows * query_row),
        keys_(rows * kv_heads * head_dim),
        values_(keys_.size()),
        outputs_(queries_.size()) {
    std::iota(positions_.begin(), positions_.end(), Position{0});
    const Numbers numbers;
    for (std::size_t i = 0; i < queries_.size(); ++i) {
      queries_[i] = static_cast<float>(static_cast<T>(numbers[3 * i]));
    }
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      const std::size_t at =
          (positions_.size() + i / head_dim / kv_heads) * head_dim + i % head_dim;
      const std::size_t head = i / head_dim % kv_heads;
      keys_[i] = static_cast<float>(layers_.keys(0, head)[at]);
      values_[i] = static_cast<float>(layers_.values(0, head)[at]);
    }
  }

  void attend() const {
    for (std::size_t head = 0; head < kv_heads; ++head) {
      PrefillHead<T, float> h;
      h.positions = positions_;
      h.keys = {layers_.keys(0, head), head_dim};
      h.values = {layers_.values(0, head), head_dim};
      h.tokens = tokens_ - positions_.size();
      h.block_queries = queries_.data() + head * group * head_dim;
      h.block_keys = keys_.data() + head * head_dim;
      h.block_values = values_.data() + head * head_dim;
      h.block_outputs = outputs_.data() + head * group * head_dim;
      h.query_stride = query_row;
      h.key_stride = kv_heads * head_dim;
      h.group = group;
      h.head_dim = head_dim;
      h.logits.scale = 1 / std::sqrt(static_cast<float>(head_dim));
      PrefillAttention<T, float> attention(h);
      if (attention.finish_outputs() != Status::ok) std::abort();
    }
  }
  [[nodiscard]] GgmlProblem for_ggml(const HugeBuffer<float>& outputs) const {
    GgmlProblem problem = ggml_problem(layers_, 0, true);
    problem.queries = queries_.data();
    problem.rows = tokens_ - positions_.size();
    problem.outputs = outputs.data();
    return problem;
  }
  [[nodiscard]] const HugeBuffer<float>& outputs() const { return outputs_; }

 private:
  static constexpr std::size_t query_row = kv_heads * group * head_dim;
  Layers<T> layers_;
  std::size_t tokens_;
  std::vector<Position> positions_;
  HugeBuffer<float> queries_, keys_, values_, outputs_;
};

/// In bfloat16, which ggml does not take in tiles of queries, the row only informs.
template <Scalar T>
void measure_ggml_block(benchmark::State& state, std::size_t rows, std::size_t tokens) {
  for (auto _ : state) {
    const LayerBlock<T> block(rows, tokens);
    const HugeBuffer<float> outputs(block.outputs().size());
    const auto theirs = ggml_attention(block.for_ggml(outputs));
    block.attend();
    theirs();
    expect_equal_outputs(block.outputs(), outputs);
    constexpr bool is_half = std::same_as<T, Eigen::half>;
    const Comparison times = compare(is_half ? 7 : 3, {[&] { block.attend(); }, theirs});
    const auto seen = static_cast<double>(rows * (2 * tokens - rows + 1)) / 2;
    const double flops = 4.0 * kv_heads * group * head_dim * seen;
    const std::string name = "block of " + std::to_string(rows) + " queries over " +
                             std::to_string(tokens) + " keys, " + type_name<T>() + ": " +
                             ggml_name() + " over ours";
    const std::string limit = in_words(flops / times.time(1) / 1e9, "GF/s, ours ") +
                              in_words(flops / times.time(0) / 1e9, "GF/s of ") +
                              in_words(peak_flops(!is_half) / 1e9, "GF/s");
    state.counters["x"] = times.ratio(1);
    if (is_half) {
      at_least(name, times.ratio(1), 2, "x", limit);
    } else {
      inform(name, times.ratio(1), "x", limit);
    }
  }
}

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_KERNELS_AGAINST_GGML_HPP
