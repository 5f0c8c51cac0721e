// SPDX-License-Identifier: Apache-2.0
/// \file
/// Random numbers that are the same on every standard library.
#ifndef MORPHKV_TESTS_SUPPORT_RANDOM_HPP
#define MORPHKV_TESTS_SUPPORT_RANDOM_HPP

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace morphkv::testing {

/// std distributions differ between libraries; these draws do not.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  /// Uniform in [0, bound).
  std::uint64_t below(std::uint64_t bound) { return engine_() % bound; }
  /// Uniform in [0, 1).
  double unit() { return static_cast<double>(engine_() >> 11U) * 0x1p-53; }
  bool chance(double probability) { return unit() < probability; }
  /// Roughly normal: the sum of twelve uniform draws, centred.
  float normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += unit();
    return static_cast<float>(sum);
  }
  std::vector<float> normals(std::size_t count, float scale = 1.0F) {
    std::vector<float> numbers(count);
    for (float& number : numbers) number = scale * normal();
    return numbers;
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_RANDOM_HPP
