// SPDX-License-Identifier: Apache-2.0
/// \file
/// Compile-time configuration. Every macro of the library begins with MORPHKV_, and a user may
/// define those below before the first include.
///
/// | macro | effect |
/// |---|---|
/// | MORPHKV_NO_EXCEPTIONS | a configuration error prints its message and aborts; set by itself
/// under -fno-exceptions | | MORPHKV_ASSERT(condition) | checks a precondition; `assert` by
/// default, so nothing under NDEBUG |
#ifndef MORPHKV_CORE_CONFIG_HPP
#define MORPHKV_CORE_CONFIG_HPP

#include <cassert>

#if !defined(MORPHKV_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define MORPHKV_NO_EXCEPTIONS
#endif

#ifndef MORPHKV_ASSERT
#define MORPHKV_ASSERT(condition) assert(condition)
#endif

#endif  // MORPHKV_CORE_CONFIG_HPP
