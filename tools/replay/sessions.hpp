// SPDX-License-Identifier: Apache-2.0
/// \file
/// The caches of each element type. They are compiled once, in the library replay_sessions, a
/// source file per type, because each has a cache for every policy; only the user's policy is
/// compiled here.
#ifndef MORPHKV_TOOLS_REPLAY_SESSIONS_HPP
#define MORPHKV_TOOLS_REPLAY_SESSIONS_HPP

#include <memory>

#include "replay/make_session.hpp"
#include "replay/policies.hpp"

namespace morphkv::replay {

extern template std::unique_ptr<Session> make_session<float>(const Settings&, const Trace&);
extern template std::unique_ptr<Session> make_session<Eigen::half>(const Settings&, const Trace&);
extern template std::unique_ptr<Session> make_session<Eigen::bfloat16>(const Settings&,
                                                                       const Trace&);

/// The same, and under the user's policy.
template <Scalar T>
[[nodiscard]] std::unique_ptr<Session> make_any_session(const Settings& settings,
                                                        const Trace& trace) {
#if defined(MORPHKV_REPLAY_POLICY)
  if (settings.policy == replay_policy.name) {
    return detail::make_cache_session<T>(replay_policy, settings, trace);
  }
#endif
  return make_session<T>(settings, trace);
}

/// As Settings::scalar says.
[[nodiscard]] inline std::unique_ptr<Session> make_session_of_scalar(const Settings& settings,
                                                                     const Trace& trace) {
  if (settings.scalar == "half") return make_any_session<Eigen::half>(settings, trace);
  if (settings.scalar == "bfloat16") return make_any_session<Eigen::bfloat16>(settings, trace);
  return make_any_session<float>(settings, trace);
}

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_SESSIONS_HPP
