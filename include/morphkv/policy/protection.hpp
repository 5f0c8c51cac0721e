// SPDX-License-Identifier: Apache-2.0
/// \file
/// Which tokens no score may evict. It composes with every policy.
#ifndef MORPHKV_POLICY_PROTECTION_HPP
#define MORPHKV_POLICY_PROTECTION_HPP

#include <cstddef>

namespace morphkv { inline namespace v0 {

/// Sinks the library keeps unless told otherwise: real models collapse without the first tokens
/// (StreamingLLM, arXiv 2309.17453, section 3).
inline constexpr std::size_t default_sinks = 4;

struct Protection {
  std::size_t sinks = default_sinks;  ///< the first tokens of the sequence
  bool prompt = false;                ///< every token that came with a prompt
  std::size_t recent = 0;             ///< the newest tokens
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_POLICY_PROTECTION_HPP
