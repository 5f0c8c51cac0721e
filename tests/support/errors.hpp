// SPDX-License-Identifier: Apache-2.0
/// \file
/// Errors of configuration: the message names the option, the value and what is allowed.
#ifndef MORPHKV_TESTS_SUPPORT_ERRORS_HPP
#define MORPHKV_TESTS_SUPPORT_ERRORS_HPP

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace morphkv::testing {

/// The message of the std::invalid_argument that `make` throws.
template <class Make>
std::string refusal(const Make& make) {
  try {
    make();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "nothing was thrown";
}

/// Expects "morphkv: <option> = <given>: must be <something>".
template <class Make>
void expect_refused(const Make& make, const std::string& option_and_value) {
  const std::string message = refusal(make);
  const std::string start = "morphkv: " + option_and_value + ": must be ";
  EXPECT_EQ(message.substr(0, start.size()), start) << message;
  EXPECT_GT(message.size(), start.size() + 2) << "what is allowed? " << message;
}

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_ERRORS_HPP
