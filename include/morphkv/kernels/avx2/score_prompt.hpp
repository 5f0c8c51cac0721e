// SPDX-License-Identifier: Apache-2.0
/// \file
/// Window-row scoring of a prompt with AVX2, FMA and F16C.
#ifndef MORPHKV_KERNELS_AVX2_SCORE_PROMPT_HPP
#define MORPHKV_KERNELS_AVX2_SCORE_PROMPT_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/avx2/vector.hpp"
#include "morphkv/kernels/portable/score_prompt.hpp"

#ifdef MORPHKV_KERNELS_X86
#define MORPHKV_ISA avx2
MORPHKV_TARGET_BEGIN(MORPHKV_AVX2_FEATURES)
#include "morphkv/kernels/vector/score_prompt.hpp"
MORPHKV_TARGET_END
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_AVX2_SCORE_PROMPT_HPP
