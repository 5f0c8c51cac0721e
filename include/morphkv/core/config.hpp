// SPDX-License-Identifier: Apache-2.0
/// \file
/// Compile-time configuration. Every macro of the library begins with MORPHKV_, and a user may
/// define those below before the first include.
///
/// - MORPHKV_NO_EXCEPTIONS: an error of configuration prints its message and aborts. It is set by
///   itself under -fno-exceptions.
/// - MORPHKV_ASSERT(condition): checks a precondition; `assert` by default: nothing under NDEBUG.
#ifndef MORPHKV_CORE_CONFIG_HPP
#define MORPHKV_CORE_CONFIG_HPP

#include <cassert>

#if !defined(MORPHKV_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define MORPHKV_NO_EXCEPTIONS
#endif

#ifndef MORPHKV_ASSERT
#define MORPHKV_ASSERT(condition) assert(condition)
#endif

// MORPHKV_HOST_DEVICE: before a function that device code may call too. MORPHKV_CALLS_FUNCTION:
// before the template of such a function that calls one it is given, which may be of the host.
#if defined(__CUDACC__)
#define MORPHKV_HOST_DEVICE __host__ __device__
#define MORPHKV_CALLS_FUNCTION _Pragma("nv_exec_check_disable")
#else
#define MORPHKV_HOST_DEVICE
#define MORPHKV_CALLS_FUNCTION
#endif

#endif  // MORPHKV_CORE_CONFIG_HPP
