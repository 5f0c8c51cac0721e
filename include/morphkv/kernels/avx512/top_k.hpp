// SPDX-License-Identifier: Apache-2.0
/// \file
/// Selection of the highest scores with AVX-512.
#ifndef MORPHKV_KERNELS_AVX512_TOP_K_HPP
#define MORPHKV_KERNELS_AVX512_TOP_K_HPP

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include "morphkv/kernels/avx512/vector.hpp"
#include "morphkv/kernels/portable/top_k.hpp"

#ifdef MORPHKV_KERNELS_X86
#define MORPHKV_ISA avx512
MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_FEATURES)
#include "morphkv/kernels/vector/top_k.hpp"
MORPHKV_TARGET_END
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_AVX512_TOP_K_HPP
