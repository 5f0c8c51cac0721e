// SPDX-License-Identifier: Apache-2.0
#include "replay/make_session.hpp"

template std::unique_ptr<morphkv::replay::Session> morphkv::replay::make_session<Eigen::bfloat16>(
    const Settings&, const Trace&);
