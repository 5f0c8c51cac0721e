// SPDX-License-Identifier: Apache-2.0
/// \file
/// Rotary position embedding in double, from its definition.
#ifndef MORPHKV_TESTS_ORACLE_ROPE_ORACLE_HPP
#define MORPHKV_TESTS_ORACLE_ROPE_ORACLE_HPP

#include <cmath>
#include <cstddef>
#include <vector>

#include "morphkv/core/rope.hpp"
#include "morphkv/core/types.hpp"

namespace morphkv::oracle {

/// A key, rotated by some positions more.
inline std::vector<double> rotated(std::vector<double> key, const Rope& rope, Position by) {
  for (std::size_t i = 0; i < rope.frequencies.size(); ++i) {
    const std::size_t a = rope.first + (rope.has_neighbours ? 2 * i : i);
    const std::size_t b = rope.has_neighbours ? a + 1 : a + rope.frequencies.size();
    const double angle = by * double{rope.frequencies[i]};
    const double x = key.at(a);
    const double y = key.at(b);
    key[a] = x * std::cos(angle) - y * std::sin(angle);
    key[b] = x * std::sin(angle) + y * std::cos(angle);
  }
  return key;
}

}  // namespace morphkv::oracle

#endif  // MORPHKV_TESTS_ORACLE_ROPE_ORACLE_HPP
