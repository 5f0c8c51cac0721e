// SPDX-License-Identifier: Apache-2.0
//
// The unit that CMake builds with -mavx512f and its kin, or -mavx2, where the machine has them. It
// has no tests, nor anything else that runs before main(): the program may be run elsewhere.
#include "kernels/mixed_flags_unit.hpp"

namespace morphkv::testing {

UnitReport report_of_wide_unit() { return report(); }

#if defined(__AVX512BW__)
constinit const int wide_unit_needs = static_cast<int>(kernels::Isa::avx512);
#elif defined(__AVX2__)
constinit const int wide_unit_needs = static_cast<int>(kernels::Isa::avx2);
#else
constinit const int wide_unit_needs = static_cast<int>(kernels::Isa::portable);
#endif

}  // namespace morphkv::testing
