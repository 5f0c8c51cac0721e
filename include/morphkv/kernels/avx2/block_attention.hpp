// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention of a block of queries with AVX2, FMA and F16C.
#ifndef MORPHKV_KERNELS_AVX2_BLOCK_ATTENTION_HPP
#define MORPHKV_KERNELS_AVX2_BLOCK_ATTENTION_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>

#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/avx2/score_prompt.hpp"
#include "morphkv/kernels/avx2/vector.hpp"

#ifdef MORPHKV_KERNELS_X86
#define MORPHKV_ISA avx2
MORPHKV_TARGET_BEGIN(MORPHKV_AVX2_FEATURES)
#include "morphkv/kernels/vector/block_attention.hpp"
MORPHKV_TARGET_END
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_AVX2_BLOCK_ATTENTION_HPP
