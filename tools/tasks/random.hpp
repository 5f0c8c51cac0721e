// SPDX-License-Identifier: Apache-2.0
#ifndef MORPHKV_BENCH_TASKS_RANDOM_HPP
#define MORPHKV_BENCH_TASKS_RANDOM_HPP

#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace morphkv::tasks {

// Raw outputs of std::mt19937_64 only: the same numbers with every standard library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}

  // A whole number in [low, high], both included.
  int uniform(int low, int high) {
    const auto range = static_cast<std::uint64_t>(high - low) + 1;
    return low + static_cast<int>((engine_() >> 11U) % range);
  }

  // In [0, 1).
  double fraction() { return static_cast<double>(engine_() >> 11U) * 0x1p-53; }

  template <class T>
  void shuffle(std::vector<T>& items) {
    for (std::size_t i = items.size(); i > 1; --i) {
      std::swap(items[i - 1], items[static_cast<std::size_t>(uniform(0, static_cast<int>(i) - 1))]);
    }
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace morphkv::tasks

#endif  // MORPHKV_BENCH_TASKS_RANDOM_HPP
