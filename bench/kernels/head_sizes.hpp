// SPDX-License-Identifier: Apache-2.0
//
// Decode attention of other head sizes and groups, per byte of keys and values: what a shape loses
// that does not fill whole vectors, or shares a key among fewer query heads.
#ifndef MORPHKV_BENCH_KERNELS_HEAD_SIZES_HPP
#define MORPHKV_BENCH_KERNELS_HEAD_SIZES_HPP

#include <benchmark/benchmark.h>

#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "kernels/decoding.hpp"
#include "kernels/machine.hpp"
#include "kernels/report.hpp"
#include "morphkv/kernels/decode_attention.hpp"

namespace morphkv::bench {

struct HeadSize {
  std::size_t head_dim;
  std::size_t group;

  [[nodiscard]] std::string name() const {
    return "d = " + std::to_string(head_dim) + ", group " + std::to_string(group);
  }
};

/// One memory that is read as heads of any size, 2048 slots each.
template <Scalar T>
class SizedHeads {
 public:
  explicit SizedHeads(bool cold)
      : memory_((cold ? cold_bytes : hot_bytes) / sizeof(T)),
        query_(max_group * max_head_dim),
        output_(query_.size()),
        weights_(max_group * slots) {
    const Numbers numbers;
    for (std::size_t i = 0; i < memory_.size(); ++i) memory_[i] = static_cast<T>(numbers[7 * i]);
    for (std::size_t i = 0; i < query_.size(); ++i) {
      query_[i] = static_cast<float>(static_cast<T>(numbers[3 * i]));
    }
  }

  /// The attention of as many heads as a layer has, the next ones in memory.
  void attend(const HeadSize& size) {
    for (std::size_t head = 0; head < kv_heads; ++head) {
      const std::size_t count = slots * size.head_dim;
      if (at_ + 2 * count > memory_.size()) at_ = 0;
      kernels::DecodeAttention<T> a;
      a.query = query_.data();
      a.keys = {memory_.data() + at_, size.head_dim};
      a.values = {memory_.data() + at_ + count, size.head_dim};
      a.tokens = slots;
      a.group = size.group;
      a.head_dim = size.head_dim;
      a.logits.scale = 1 / std::sqrt(static_cast<float>(size.head_dim));
      a.weights = weights_.data();
      a.weight_stride = slots;
      a.output = output_.data();
      a.next[3] = {memory_.data() + at_ + 2 * count, 8192};
      if (!kernels::decode_attention(a)) std::abort();
      at_ += 2 * count;
    }
  }
  [[nodiscard]] static double bytes(const HeadSize& size) {
    return static_cast<double>(2 * kv_heads * slots * size.head_dim * sizeof(T));
  }

 private:
  static constexpr std::size_t slots = 2048;
  static constexpr std::size_t max_group = 4;
  static constexpr std::size_t max_head_dim = 128;
  static constexpr std::size_t hot_bytes = std::size_t{8} << 20U;
  HugeBuffer<T> memory_;
  HugeBuffer<float> query_, output_, weights_;
  std::size_t at_ = 0;
};

template <Scalar T>
void measure_head_sizes(benchmark::State& state, bool cold) {
  for (auto _ : state) {
    SizedHeads<T> heads(cold);
    const std::vector<HeadSize> sizes = {{128, 4}, {64, 3}, {80, 4}, {96, 4}, {112, 4}};
    std::vector<std::function<void()>> variants;
    for (const HeadSize& size : sizes) variants.emplace_back([&] { heads.attend(size); });
    const Comparison times = compare(61, variants);
    for (std::size_t i = 1; i < sizes.size(); ++i) {
      const double bytes = SizedHeads<T>::bytes(sizes[i]);
      inform(std::string("attention, ") + type_name<T>() + ", N = 2048, " +
                 (cold ? "cold, " : "hot, ") + sizes[i].name() + ": time per byte over " +
                 sizes[0].name(),
             times.ratio(i) * SizedHeads<T>::bytes(sizes[0]) / bytes, "x",
             in_words(bytes / times.time(i) / 1e9, "GB/s"));
    }
  }
}

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_KERNELS_HEAD_SIZES_HPP
