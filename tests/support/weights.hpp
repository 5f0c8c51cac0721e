// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention weights that tests draw.
#ifndef MORPHKV_TESTS_SUPPORT_WEIGHTS_HPP
#define MORPHKV_TESTS_SUPPORT_WEIGHTS_HPP

#include <array>
#include <ostream>

#include "support/random.hpp"

namespace morphkv::testing {

/// All kinds are sums of few bits, so that double and the library's integers add them exactly; all
/// but `fine` are binary16 numbers too, so that a window does not round them.
enum class Weights {
  grid,    ///< multiples of 2^-12 below 1/2: few ties
  coarse,  ///< 0, 2^-12 or 2^-11: nearly everything ties
  zeros,   ///< everything ties
  sparse,  ///< one token in eight has a weight
  fine,    ///< multiples of 2^-36 over a wide range: a window rounds them, binary16 denormals too
};

inline constexpr std::array all_weights{Weights::grid, Weights::coarse, Weights::zeros,
                                        Weights::sparse, Weights::fine};

inline std::ostream& operator<<(std::ostream& out, Weights kind) {
  constexpr std::array names{"grid", "coarse", "zeros", "sparse", "fine"};
  return out << names.at(static_cast<std::size_t>(kind));
}

inline float draw_weight(Weights kind, Random& random) {
  const auto multiple = [&](std::uint64_t bound, double unit) {
    return static_cast<float>(static_cast<double>(random.below(bound)) * unit);
  };
  switch (kind) {
    case Weights::grid:
      return multiple(2048, 0x1p-12);
    case Weights::coarse:
      return multiple(3, 0x1p-12);
    case Weights::zeros:
      return 0.0F;
    case Weights::sparse:
      return random.below(8) == 0 ? multiple(2048, 0x1p-12) : 0.0F;
    case Weights::fine:
      return multiple(1U << 24U, 0x1p-24 / static_cast<double>(1U << random.below(13)));
  }
  return 0.0F;
}

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_WEIGHTS_HPP
