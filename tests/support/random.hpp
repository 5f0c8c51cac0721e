// SPDX-License-Identifier: Apache-2.0
/// \file
/// Random numbers that are the same on every standard library.
#ifndef MORPHKV_TESTS_SUPPORT_RANDOM_HPP
#define MORPHKV_TESTS_SUPPORT_RANDOM_HPP

#include <cstddef>
#include <cstdint>
#include <vector>

namespace morphkv::testing {

/// std distributions differ between libraries; these draws do not. The generator is SplitMix64
/// (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014): unlike a
/// Mersenne twister it is ready at once, and tests make one per token.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  /// Uniform in [0, bound).
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }
  /// Uniform in [0, 1).
  double unit() { return static_cast<double>(next() >> 11U) * 0x1p-53; }
  bool chance(double probability) { return unit() < probability; }
  /// Roughly normal: the sum of twelve uniform draws, centred.
  float normal() {
    std::uint64_t sum = 0;
    for (int i = 0; i < 3; ++i) {
      const std::uint64_t four = next();
      sum += (four & 0xffffU) + (four >> 16U & 0xffffU) + (four >> 32U & 0xffffU) + (four >> 48U);
    }
    return (static_cast<float>(sum) - 6 * 65535.0F) / 65536;
  }
  std::vector<float> normals(std::size_t count, float scale = 1.0F) {
    std::vector<float> numbers(count);
    for (float& number : numbers) number = scale * normal();
    return numbers;
  }

 private:
  std::uint64_t next() {
    std::uint64_t mixed = state_ += 0x9e3779b97f4a7c15U;
    mixed = (mixed ^ mixed >> 30U) * 0xbf58476d1ce4e5b9U;
    mixed = (mixed ^ mixed >> 27U) * 0x94d049bb133111ebU;
    return mixed ^ mixed >> 31U;
  }

  std::uint64_t state_;
};

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_RANDOM_HPP
