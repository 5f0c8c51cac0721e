// SPDX-License-Identifier: Apache-2.0
/// \file
/// The caches of each element type: one source file per type, because each has a cache for
/// every policy.
#ifndef MORPHKV_TOOLS_REPLAY_SESSIONS_HPP
#define MORPHKV_TOOLS_REPLAY_SESSIONS_HPP

#include <memory>

#include "replay/make_session.hpp"

namespace morphkv::replay {

extern template std::unique_ptr<Session> make_session<float>(const Settings&, const Trace&);
extern template std::unique_ptr<Session> make_session<Eigen::half>(const Settings&, const Trace&);
extern template std::unique_ptr<Session> make_session<Eigen::bfloat16>(const Settings&,
                                                                       const Trace&);

/// As Settings::scalar says.
[[nodiscard]] inline std::unique_ptr<Session> make_session_of_scalar(const Settings& settings,
                                                                     const Trace& trace) {
  if (settings.scalar == "half") return make_session<Eigen::half>(settings, trace);
  if (settings.scalar == "bfloat16") return make_session<Eigen::bfloat16>(settings, trace);
  return make_session<float>(settings, trace);
}

}  // namespace morphkv::replay

#endif  // MORPHKV_TOOLS_REPLAY_SESSIONS_HPP
