// SPDX-License-Identifier: Apache-2.0
/// \file
/// Conversion between floats and 16 bits with AVX2, FMA and F16C.
#ifndef MORPHKV_KERNELS_AVX2_CONVERT_HPP
#define MORPHKV_KERNELS_AVX2_CONVERT_HPP

#include <cstddef>
#include <cstdint>

#include "morphkv/kernels/avx2/vector.hpp"
#include "morphkv/kernels/portable/convert.hpp"

#ifdef MORPHKV_KERNELS_X86
#define MORPHKV_ISA avx2
MORPHKV_TARGET_BEGIN(MORPHKV_AVX2_FEATURES)
#include "morphkv/kernels/vector/convert.hpp"
MORPHKV_TARGET_END
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_AVX2_CONVERT_HPP
