// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which positions each head holds over time.
#ifndef MORPHKV_TOOLS_COMPARISON_LIFETIMES_HPP
#define MORPHKV_TOOLS_COMPARISON_LIFETIMES_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "morphkv/core/shape.hpp"
#include "morphkv/core/types.hpp"

namespace morphkv::comparison {

/// An evicted token never returns, so one number per token suffices: the last step at which a head
/// still held it. Step 0 is after the prompt.
class Lifetimes {
 public:
  static constexpr std::uint16_t never = 0xFFFF;

  Lifetimes() = default;
  Lifetimes(const CacheShape& shape, std::size_t positions)
      : layers_(evenly_chosen(shape.layers)),
        heads_(evenly_chosen(shape.kv_heads)),
        last_(layers_.size() * heads_.size(), std::vector<std::uint16_t>(positions, never)) {}

  template <class Cache>
  void record(const Cache& cache, std::size_t step) {
    if (step >= never) return;
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      for (std::size_t h = 0; h < heads_.size(); ++h) {
        std::vector<std::uint16_t>& last = last_[l * heads_.size() + h];
        for (const Position position : cache.positions(layers_[l], heads_[h])) {
          if (position == no_position) continue;
          last[static_cast<std::size_t>(position)] = static_cast<std::uint16_t>(step);
        }
      }
    }
  }

  [[nodiscard]] const std::vector<std::size_t>& layers() const noexcept { return layers_; }
  [[nodiscard]] const std::vector<std::size_t>& heads() const noexcept { return heads_; }
  /// [layers() x heads()], one number per position.
  [[nodiscard]] const std::vector<std::vector<std::uint16_t>>& last() const noexcept {
    return last_;
  }

 private:
  /// At most four, the first and the last among them: to keep the page small.
  static std::vector<std::size_t> evenly_chosen(std::size_t count) {
    const std::size_t chosen = (std::min)(count, std::size_t{4});
    std::vector<std::size_t> result;
    for (std::size_t i = 0; i < chosen; ++i) {
      result.push_back(chosen == 1 ? 0 : i * (count - 1) / (chosen - 1));
    }
    return result;
  }

  std::vector<std::size_t> layers_;
  std::vector<std::size_t> heads_;
  std::vector<std::vector<std::uint16_t>> last_;
};

}  // namespace morphkv::comparison

#endif  // MORPHKV_TOOLS_COMPARISON_LIFETIMES_HPP
