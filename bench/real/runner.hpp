// SPDX-License-Identifier: Apache-2.0
/// \file
/// Many readings, a few at a time, with progress.
#ifndef MORPHKV_BENCH_REAL_RUNNER_HPP
#define MORPHKV_BENCH_REAL_RUNNER_HPP

#include <algorithm>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "llama/model.hpp"
#include "real/contenders.hpp"
#include "real/side_by_side.hpp"

namespace morphkv::real {

/// Tokens that a reading takes: the prompt's once, the others' once per cache.
[[nodiscard]] inline std::size_t tokens_read(std::size_t tokens, std::size_t prompt,
                                             std::size_t caches) {
  return prompt + (tokens - prompt - 1) * caches;
}

/// A reading under fresh caches, without a judge.
[[nodiscard]] inline Reading make_reading(const std::vector<Contender>& contenders,
                                          std::vector<int> tokens, std::size_t prompt) {
  Reading reading{.tokens = std::move(tokens), .prompt = prompt, .caches = {}, .judge = {}};
  for (const Contender& contender : contenders) {
    reading.caches.push_back(contender.make(reading.tokens.size()));
  }
  return reading;
}

class Runner {
 public:
  using Advanced = std::function<void(std::size_t tokens, const std::string& what)>;

  /// \param side_by_side readings in one pass over the weights
  /// \param advanced     called as tokens are read; may be empty
  /// \pre `model` outlives this.
  Runner(const llama::Model& model, std::size_t threads, std::size_t side_by_side,
         Advanced advanced)
      : reader_(model, threads), side_by_side_(side_by_side), advanced_(std::move(advanced)) {}

  /// Reads make(0) ... make(count - 1), which are made when they are read. \param what for advanced
  template <class Make>
  void read(std::size_t count, const std::string& what, const Make& make) {
    for (std::size_t begin = 0; begin < count; begin += side_by_side_) {
      std::vector<Reading> readings;
      for (std::size_t k = begin; k < (std::min)(begin + side_by_side_, count); ++k) {
        readings.push_back(make(k));
      }
      reader_.read(readings, [&](std::size_t tokens) { advance(tokens, what); });
    }
  }

  /// Tells of tokens that were read elsewhere.
  void advance(std::size_t tokens, const std::string& what) const {
    if (advanced_) advanced_(tokens, what);
  }

 private:
  SideBySide reader_;
  std::size_t side_by_side_;
  Advanced advanced_;
};

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_RUNNER_HPP
