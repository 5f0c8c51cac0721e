// SPDX-License-Identifier: Apache-2.0
/// \file
/// The policies that cut a prompt and keep the whole response.
#ifndef MORPHKV_BENCH_REAL_PRESSES_HPP
#define MORPHKV_BENCH_REAL_PRESSES_HPP

#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "morphkv/policy/recommended.hpp"
#include "policies/registry.hpp"
#include "real/contenders.hpp"

namespace morphkv::real {

namespace detail {

/// \param kept slots per head for the prompt
template <class Policy>
[[nodiscard]] Contender press(std::string policy, const CacheShape& shape, std::size_t kept,
                              typename Policy::Options options) {
  return {std::move(policy), kept, kept, 0,
          [=](std::size_t tokens) mutable -> std::unique_ptr<comparison::AnyCache> {
            if constexpr (requires { options.max_tokens; }) options.max_tokens = kept + tokens;
            if constexpr (requires { options.response_slots; }) options.response_slots = tokens;
            return comparison::make_any_cache<Cache<Policy>>(shape, options);
          }};
}

}  // namespace detail

/// Each with its registered options. Add a line for another policy.
/// \param kept slots per head for the prompt
[[nodiscard]] inline std::vector<Contender> presses(const CacheShape& shape, std::size_t kept) {
  std::vector<Contender> result;
  result.push_back(detail::press<DecayedMax>("recommended_for_prompts", shape, kept,
                                             recommended_for_prompts(kept)));
  result.push_back(
      detail::press<SnapKV>("snapkv", shape, kept, policies::detail::at_capacity<SnapKV>(kept)));
  return result;
}

}  // namespace morphkv::real

#endif  // MORPHKV_BENCH_REAL_PRESSES_HPP
