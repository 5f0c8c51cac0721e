// SPDX-License-Identifier: Apache-2.0
/// \file
/// Conversion between floats and 16 bits with AVX-512.
#ifndef MORPHKV_KERNELS_AVX512_CONVERT_HPP
#define MORPHKV_KERNELS_AVX512_CONVERT_HPP

#include <cstddef>
#include <cstdint>

#include "morphkv/kernels/avx512/vector.hpp"
#include "morphkv/kernels/portable/convert.hpp"

#ifdef MORPHKV_KERNELS_X86
#define MORPHKV_ISA avx512
MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_FEATURES)
#include "morphkv/kernels/vector/convert.hpp"
MORPHKV_TARGET_END
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_AVX512_CONVERT_HPP
