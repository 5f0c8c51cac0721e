// SPDX-License-Identifier: Apache-2.0
//
// What the tests of the kernels share: versions to run, sizes, inputs.
#ifndef MORPHKV_TESTS_KERNELS_SUPPORT_HPP
#define MORPHKV_TESTS_KERNELS_SUPPORT_HPP

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/logits.hpp"
#include "morphkv/kernels/dispatch.hpp"
#include "support/is_near.hpp"

namespace morphkv::testing {

using kernels::Isa;
using Sizes = std::initializer_list<std::size_t>;

/// The versions that this machine can run, the portable one first.
inline std::vector<Isa> isas() {
  std::vector<Isa> all;
  for (int isa = 0; isa <= static_cast<int>(kernels::best_isa()); ++isa) {
    if (kernels::can_run(kernels::best_isa(), Isa{isa})) all.push_back(Isa{isa});
  }
  return all;
}

/// Runs kernels on one version for as long as it lives.
class OnIsa {
 public:
  explicit OnIsa(Isa isa) : trace_(__FILE__, __LINE__, std::string(kernels::to_string(isa))) {
    EXPECT_EQ(kernels::limit_isa(isa), isa);
  }
  ~OnIsa() { kernels::limit_isa(kernels::best_isa()); }
  OnIsa(const OnIsa&) = delete;
  OnIsa& operator=(const OnIsa&) = delete;

 private:
  ::testing::ScopedTrace trace_;
};

/// Sizes at which vector kernels go wrong: one, half a vector, a vector and one beside it, several
/// vectors and two more; for vectors of 4, 8, 16 and 32 lanes, and the tiles of the kernels.
inline std::vector<std::size_t> sizes() {
  return {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 34, 63, 64, 65, 66, 130, 258, 513};
}

/// A logit in double.
inline double exact_logit(double product, const Logits& logits) {
  const double scaled = product * static_cast<double>(logits.scale);
  const auto cap = static_cast<double>(logits.soft_cap);
  return cap > 0 ? cap * std::tanh(scaled / cap) : scaled;
}

/// Turns logits into weights, in place. \return the logarithm of the sum of exponentials
inline double exact_softmax(std::vector<double>& logits, double sink) {
  const double high = std::max(sink, *std::max_element(logits.begin(), logits.end()));
  double sum = std::exp(sink - high);
  for (double& logit : logits) sum += logit = std::exp(logit - high);
  for (double& logit : logits) logit /= sum;
  return high + std::log(sum);
}

/// Sinks of query heads: below and above the logits, and one that counts for nothing.
inline std::vector<float> some_sinks(std::size_t heads) {
  const float sinks[] = {0.5F, -std::numeric_limits<float>::infinity(), 9, -3};
  std::vector<float> result(heads);
  for (std::size_t h = 0; h < heads; ++h) result[h] = sinks[h % 4];
  return result;
}

/// Slopes of query heads by distance: of ALiBi, none, and one that prefers distant tokens.
inline std::vector<float> some_slopes(std::size_t heads) {
  const float slopes[] = {0.5F, 0, 0.0625F, -0.01F};
  std::vector<float> result(heads);
  for (std::size_t h = 0; h < heads; ++h) result[h] = slopes[h % 4];
  return result;
}

enum class Shape { uniform, log_normal, heavy_tailed, denormal, equal, zero };

inline std::vector<Shape> shapes() {
  return {Shape::uniform,  Shape::log_normal, Shape::heavy_tailed,
          Shape::denormal, Shape::equal,      Shape::zero};
}

/// One number of the shape; all of them lie in [0, 1].
inline float draw(Shape shape, std::mt19937& engine) {
  const float u = std::uniform_real_distribution<float>(0, 1)(engine);
  switch (shape) {
    case Shape::uniform:
      return u;
    case Shape::log_normal:
      return std::min(1.0F, std::exp(std::normal_distribution<float>(-7, 2)(engine)));
    case Shape::heavy_tailed:
      return std::min(1.0F, 1e-6F / (u * u + 1e-7F));
    case Shape::denormal:
      return u * 1e-39F;
    case Shape::equal:
      return 0.125F;
    case Shape::zero:
      return 0;
  }
  return 0;
}

/// Memory with `offset` elements before the data, so that nothing is aligned unless it is 0, and
/// guards after it.
template <class T>
class Misaligned {
 public:
  Misaligned(std::size_t size, std::size_t offset)
      : memory_(offset + size + guards), begin_(offset), size_(size) {
    for (std::size_t i = 0; i < memory_.size(); ++i) memory_[i] = guard();
  }
  [[nodiscard]] T* data() { return memory_.data() + begin_; }
  [[nodiscard]] const T* data() const { return memory_.data() + begin_; }
  [[nodiscard]] T& operator[](std::size_t i) { return data()[i]; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::vector<T> copy() const { return {data(), data() + size_}; }
  /// Whether nothing was written outside.
  [[nodiscard]] bool intact() const {
    for (std::size_t i = 0; i < memory_.size(); ++i) {
      const bool inside = i >= begin_ && i < begin_ + size_;
      if (!inside && !(memory_[i] == guard())) return false;
    }
    return true;
  }

 private:
  static constexpr std::size_t guards = 32;
  static T guard() { return static_cast<T>(77); }
  AlignedBuffer<T> memory_;
  std::size_t begin_;
  std::size_t size_;
};

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_KERNELS_SUPPORT_HPP
