// SPDX-License-Identifier: Apache-2.0
/// \file
/// The policies that a replay runs: its own, and that of a header which was named when the program
/// was configured.
#ifndef MORPHKV_TOOLS_REPLAY_POLICIES_HPP
#define MORPHKV_TOOLS_REPLAY_POLICIES_HPP

#include "policies/registry.hpp"
#include "replay/settings.hpp"

#if defined(MORPHKV_REPLAY_POLICY)
#include MORPHKV_REPLAY_POLICY
#endif

namespace morphkv::replay {

/// visit(entry) for each policy.
inline constexpr auto each_policy = [](auto&& visit) {
  each_own_policy(visit);
#if defined(MORPHKV_REPLAY_POLICY)
  visit(replay_policy);
#endif
};

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_POLICIES_HPP
