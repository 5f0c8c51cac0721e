// SPDX-License-Identifier: Apache-2.0
//
// The unit that CMake builds with -mavx512f and its kin, where it can. It has no tests, nor
// anything else that runs before main(), since the machine may not have AVX-512.
#include "kernels/mixed_flags_unit.hpp"

namespace morphkv::test {

UnitReport report_of_wide_unit() { return report(); }

}  // namespace morphkv::test
