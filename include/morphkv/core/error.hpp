// SPDX-License-Identifier: Apache-2.0
/// \file
/// Errors of configuration: `std::invalid_argument` that names the option, the value given and the
/// values allowed. They are raised where options and shapes enter, before anything has changed;
/// inside a decode step the library reports a \ref morphkv::Status instead.
#ifndef MORPHKV_CORE_ERROR_HPP
#define MORPHKV_CORE_ERROR_HPP

#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "morphkv/core/config.hpp"

#ifdef MORPHKV_NO_EXCEPTIONS
#include <cstdio>
#include <cstdlib>
#endif

namespace morphkv { inline namespace MORPHKV_ABI {

/// Throws `std::invalid_argument(message)`; prints and aborts under MORPHKV_NO_EXCEPTIONS.
[[noreturn]] inline void raise_invalid_argument(const std::string& message) {
#ifdef MORPHKV_NO_EXCEPTIONS
  std::fprintf(stderr, "%s\n", message.c_str());
  std::abort();
#else
  throw std::invalid_argument(message);
#endif
}

/// Raises "morphkv: <option> = <given>: must be <allowed>" unless `valid`.
template <class Value>
void require(bool valid, std::string_view option, const Value& given, std::string_view allowed) {
  if (valid) return;
  std::ostringstream message;
  message << "morphkv: " << option << " = " << given << ": must be " << allowed;
  raise_invalid_argument(message.str());
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_ERROR_HPP
