// SPDX-License-Identifier: Apache-2.0
//
// Whole decode steps of a cache with two tiers, against one format and the same slots.
#ifndef MORPHKV_BENCH_KERNELS_TIERED_STEPS_HPP
#define MORPHKV_BENCH_KERNELS_TIERED_STEPS_HPP

#include <benchmark/benchmark.h>

#include <Eigen/Core>
#include <cstddef>
#include <string>

#include "kernels/decoding.hpp"
#include "kernels/report.hpp"
#include "kernels/whole_steps.hpp"
#include "morphkv/policy/recommended.hpp"

namespace morphkv::bench {

/// The heads of an 8B model; a quarter of the slots is hot.
inline void measure_tiered_steps(benchmark::State& state) {
  for (auto _ : state) {
    constexpr std::size_t slots = 2048;
    constexpr CacheShape shape{.layers = 20, .query_heads = 32, .kv_heads = 8, .head_dim = 128};
    const auto options = recommended(slots);
    const auto steps = [&]<class Storage, class T = Eigen::half>(const auto&... tiers) {
      return whole_steps<KVCache<T, DecayedMax, Storage>>(shape, slots, options, tiers...);
    };
    const Tiers tiers{.hot = slots / 4};
    const Comparison times =
        compare(31, {steps.operator()<OwnedStorage<Eigen::half>>(),
                     steps.operator()<OwnedStorage<Q8_0>, Q8_0>(),
                     steps.operator()<TieredStorage<Eigen::half, Q8_0>>(tiers),
                     steps.operator()<TieredStorage<Eigen::half, Q4_0>>(tiers),
                     steps.operator()<TieredStorage<Q8_0, Q4_0>, Q8_0>(tiers)});
    const auto report = [&](const char* name, std::size_t variant) {
      const std::string measure = std::string("whole step, N = 2048, cold, ") + name + " over ";
      inform(measure + "half: time", times.ratio(variant), "x");
      inform(measure + "q8_0: time", times.ratio(variant) / times.ratio(1), "x");
    };
    report("half and q8_0", 2);
    report("half and q4_0", 3);
    report("q8_0 and q4_0", 4);
  }
}

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_KERNELS_TIERED_STEPS_HPP
