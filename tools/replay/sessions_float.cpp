// SPDX-License-Identifier: Apache-2.0
#include "replay/make_session.hpp"

template std::unique_ptr<morphkv::replay::Session> morphkv::replay::make_session<float>(
    const Settings&, const Trace&);
