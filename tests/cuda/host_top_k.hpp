// SPDX-License-Identifier: Apache-2.0
/// \file
/// The device's selection, run by one thread of the host.
#ifndef MORPHKV_TESTS_CUDA_HOST_TOP_K_HPP
#define MORPHKV_TESTS_CUDA_HOST_TOP_K_HPP

#include <array>
#include <cstdint>
#include <vector>

#include "morphkv/cuda/ranked_key.hpp"

namespace morphkv::testing {

/// The indices of the highest keys, by the steps of detail::block_top_k.
template <class Key>
std::vector<std::uint32_t> host_top_k(const std::vector<Key>& keys, std::uint32_t k) {
  std::vector<std::uint32_t> indices;
  if (k == 0) return indices;
  auto search = cuda::DigitSearch<Key>::of(k);
  std::uint32_t equals = 0;
  while (!search.is_done()) {
    search.next_digit();
    std::array<std::uint32_t, 256> bins{};
    for (const Key key : keys) {
      if (search.agrees(key)) ++bins[search.digit(key)];
    }
    std::uint32_t above = 0;
    std::uint32_t digit = 255;
    while (above + bins[digit] < search.k) above += bins[digit--];
    search.found(digit, above);
    equals = bins[digit];
  }
  std::uint32_t higher = 0;
  std::uint32_t equal = 0;
  indices.resize(k);
  for (std::uint32_t i = 0; i < keys.size(); ++i) {
    const std::uint32_t rank = cuda::kept_before(higher, equal, equals, search.k);
    if (keys[i] > search.prefix) {
      indices[rank] = i;
      ++higher;
    } else if (keys[i] == search.prefix) {
      if (equal >= equals - search.k) indices[rank] = i;
      ++equal;
    }
  }
  return indices;
}

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_CUDA_HOST_TOP_K_HPP
