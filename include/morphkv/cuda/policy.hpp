// SPDX-License-Identifier: Apache-2.0
/// \file
/// The policies of the device: the plans of the library's own policies.
///
///     const cuda::Policy policy = cuda::policy_of<MorphKV>({.capacity = 2048, .window = 32});
///
/// A kernel that takes a Policy serves all of the library's scores. For a score of your own, name
/// it as the last template argument, with an EvictionPlan of it: no line of it is written again.
#ifndef MORPHKV_CUDA_POLICY_HPP
#define MORPHKV_CUDA_POLICY_HPP

#include <cstddef>

#include "morphkv/eviction/head_state.hpp"
#include "morphkv/eviction/rules.hpp"
#include "morphkv/score/any_score.hpp"

namespace morphkv { inline namespace MORPHKV_ABI { namespace cuda {

using Policy = EvictionPlan<AnyScore>;

/// \throws std::invalid_argument as the policy does
template <class P>
[[nodiscard]] Policy policy_of(const typename P::Options& options) {
  const auto plan = P::plan_of(options);
  return {plan.rules, plan.score};
}

/// Bytes of the state of `sequences` sequences of a layer; it begins on 64 bytes. The heads'
/// states follow each other, cell = sequence * kv_heads + head.
template <Score S>
[[nodiscard]] std::size_t state_bytes(const EvictionPlan<S>& plan, std::size_t sequences,
                                      std::size_t kv_heads) noexcept {
  return layout_of(plan).bytes * sequences * kv_heads;
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_POLICY_HPP
