// SPDX-License-Identifier: Apache-2.0
/// \file
/// A failure of GoogleTest ends the fuzzer, which then saves the input. Included by the file of the
/// fuzzer alone: it defines what libFuzzer and soak.cpp call first.
#ifndef MORPHKV_TESTS_FUZZ_GTEST_FAILURES_HPP
#define MORPHKV_TESTS_FUZZ_GTEST_FAILURES_HPP

#include <gtest/gtest.h>

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  ::testing::InitGoogleTest(argc, *argv);
  ::testing::GTEST_FLAG(throw_on_failure) = true;
  return 0;
}

#endif  // MORPHKV_TESTS_FUZZ_GTEST_FAILURES_HPP
