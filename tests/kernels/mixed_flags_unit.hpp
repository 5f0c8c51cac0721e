// SPDX-License-Identifier: Apache-2.0
//
// The body of both units.
#ifndef MORPHKV_TESTS_KERNELS_MIXED_FLAGS_UNIT_HPP
#define MORPHKV_TESTS_KERNELS_MIXED_FLAGS_UNIT_HPP

#include "kernels/mixed_flags.hpp"
#include "morphkv/kernels/decode_attention.hpp"

#define MORPHKV_TEST_TEXT(...) #__VA_ARGS__
#define MORPHKV_TEST_NAME(...) MORPHKV_TEST_TEXT(__VA_ARGS__)

namespace morphkv::testing { namespace {

UnitReport report() {
  constexpr std::size_t tokens = 37;
  constexpr std::size_t dim = 40;
  std::vector<float> keys(tokens * dim);
  for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = static_cast<float>(i % 7) - 3;
  std::vector<float> weights(tokens), row(tokens);
  UnitReport result{MORPHKV_TEST_NAME(MORPHKV_ABI),
                    reinterpret_cast<const void*>(&kernels::decode_attention<float>),
                    static_cast<int>(kernels::active_isa()), std::vector<float>(dim)};
  kernels::DecodeAttention<float> a;
  a.query = keys.data();
  a.keys = a.values = {keys.data(), dim};
  a.tokens = a.weight_stride = tokens;
  a.head_dim = dim;
  a.weights = weights.data();
  a.row = row.data();
  a.output = result.output.data();
  if (!kernels::decode_attention(a)) result.output.clear();
  return result;
}

}  // namespace
}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_KERNELS_MIXED_FLAGS_UNIT_HPP
