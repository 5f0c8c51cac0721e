// SPDX-License-Identifier: Apache-2.0
//
// Whole decode steps of a cache, append and attend in all layers, under one policy.
#ifndef MORPHKV_BENCH_KERNELS_WHOLE_STEPS_HPP
#define MORPHKV_BENCH_KERNELS_WHOLE_STEPS_HPP

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kernels/decoding.hpp"
#include "morphkv/cache/kv_cache.hpp"
#include "morphkv/core/shape.hpp"

namespace morphkv::bench {

/// The inputs of steps: normal numbers, other ones at every step and layer.
class StepInputs {
 public:
  explicit StepInputs(const CacheShape& shape)
      : query_width_(shape.query_heads * shape.head_dim),
        key_width_(shape.kv_heads * shape.head_dim),
        numbers_(std::size_t{1} << 20U) {
    const Numbers normal;
    for (std::size_t i = 0; i < numbers_.size(); ++i) numbers_[i] = normal[i];
  }
  [[nodiscard]] std::span<const float> queries(std::size_t seed, std::size_t tokens = 1) const {
    return some(seed, tokens * query_width_);
  }
  [[nodiscard]] std::span<const float> keys(std::size_t seed, std::size_t tokens = 1) const {
    return some(3 * seed + 1, tokens * key_width_);
  }

 private:
  [[nodiscard]] std::span<const float> some(std::size_t seed, std::size_t count) const {
    const std::size_t begin = seed * 7919 % (numbers_.size() - count);
    return std::span(numbers_).subspan(begin, count);
  }

  std::size_t query_width_;
  std::size_t key_width_;
  std::vector<float> numbers_;
};

/// A function that does one step of a cache which is full and has evicted for a while.
/// \param cache an empty one
template <class Cache>
std::function<void()> steps_of(const std::shared_ptr<Cache>& cache, std::size_t slots) {
  struct State {
    std::shared_ptr<Cache> cache;
    StepInputs inputs;
    std::vector<float> output;
    Position position;
  };
  const CacheShape shape = cache->shape();
  const auto state = std::make_shared<State>(cache, StepInputs(shape),
                                             std::vector<float>(shape.query_heads * shape.head_dim),
                                             static_cast<Position>(slots));
  const auto check = [](Status status) {
    if (status != Status::ok) std::abort();
  };
  for (std::size_t layer = 0; layer < shape.layers; ++layer) {
    for (std::size_t begin = 0; begin < slots; begin += 128) {  // a prompt in chunks
      const std::size_t tokens = (std::min)(slots - begin, std::size_t{128});
      const std::size_t seed = layer * slots + begin;
      check(cache->prefill(layer, state->inputs.queries(seed, tokens),
                           state->inputs.keys(seed, tokens), state->inputs.keys(seed + 1, tokens)));
    }
  }
  const auto step = [state, check, layers = shape.layers] {
    State& s = *state;
    for (std::size_t layer = 0; layer < layers; ++layer) {
      const auto seed = static_cast<std::size_t>(s.position) * layers + layer;
      check(s.cache->append(layer, s.inputs.keys(seed), s.inputs.keys(seed + 1), s.position));
      check(s.cache->attend(layer, s.inputs.queries(seed), s.output));
    }
    ++s.position;
  };
  for (int warm = 0; warm < 40; ++warm) step();
  return step;
}
template <class Cache, class... Arguments>
std::function<void()> whole_steps(const CacheShape& shape, std::size_t slots,
                                  const Arguments&... arguments) {
  return steps_of(std::make_shared<Cache>(shape, arguments...), slots);
}

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_KERNELS_WHOLE_STEPS_HPP
