// SPDX-License-Identifier: Apache-2.0
//
// What two translation units with different compiler flags say of the kernels they would run.
#ifndef MORPHKV_TESTS_KERNELS_MIXED_FLAGS_HPP
#define MORPHKV_TESTS_KERNELS_MIXED_FLAGS_HPP

#include <cstdint>
#include <string>
#include <vector>

#include "morphkv/kernels/dispatch.hpp"

namespace morphkv::testing {

struct UnitReport {
  std::string build;   ///< the inline namespace of its names
  const void* kernel;  ///< a kernel's address
  int isa;             ///< the version in use
  std::vector<float> output;
};

UnitReport report_of_baseline_unit();
UnitReport report_of_wide_unit();

extern const int wide_unit_needs;  ///< Isa of the CPU, for the flags that it was built with

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_KERNELS_MIXED_FLAGS_HPP
