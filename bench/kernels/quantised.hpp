// SPDX-License-Identifier: Apache-2.0
//
// Decode attention over quantised keys and values and those in E4M3, against 16 bits.
#ifndef MORPHKV_BENCH_KERNELS_QUANTISED_HPP
#define MORPHKV_BENCH_KERNELS_QUANTISED_HPP

#include <benchmark/benchmark.h>

#include <Eigen/Core>
#include <cstddef>
#include <string>

#include "kernels/decoding.hpp"
#include "kernels/report.hpp"

namespace morphkv::bench {

/// The layers one after the other, one at every call.
template <Storable T>
class EndlessLayers {
 public:
  EndlessLayers(std::size_t slots, bool cold) : layers_(slots, cold) {}

  void attend() { layers_.attend(at_++ % layers_.count()); }
  [[nodiscard]] double bytes() const { return static_cast<double>(layers_.layer_bytes()); }

 private:
  Layers<T> layers_;
  std::size_t at_ = 0;
};

inline void measure_quantised(benchmark::State& state, bool cold) {
  for (auto _ : state) {
    constexpr std::size_t slots = 2048;
    EndlessLayers<Eigen::half> half(slots, cold);
    EndlessLayers<Q8_0> q8(slots, cold);
    EndlessLayers<Q4_0> q4(slots, cold);
    EndlessLayers<E4M3> e4m3(slots, cold);
    const Comparison times = compare(61, {[&] { half.attend(); }, [&] { q8.attend(); },
                                          [&] { q4.attend(); }, [&] { e4m3.attend(); }});
    const auto report = [&](const char* name, std::size_t variant, double bytes, double target) {
      const std::string measure = std::string("attention, ") + name + " over half, N = 2048, ";
      const std::string note = in_words(bytes / times.time(variant) / 1e9, "GB/s");
      if (cold) {
        at_most(measure + "cold: time", times.ratio(variant), target, "x", note);
      } else {
        inform(measure + "hot: time", times.ratio(variant), "x", note);
      }
    };
    report("q8_0", 1, q8.bytes(), 0.60);
    report("q4_0", 2, q4.bytes(), 0.45);
    report("e4m3", 3, e4m3.bytes(), 0.60);
  }
}

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_KERNELS_QUANTISED_HPP
