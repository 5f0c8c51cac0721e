// SPDX-License-Identifier: Apache-2.0
/// \file
/// Window-row scoring of a prompt with AVX-512.
#ifndef MORPHKV_KERNELS_AVX512_SCORE_PROMPT_HPP
#define MORPHKV_KERNELS_AVX512_SCORE_PROMPT_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/avx512/vector.hpp"
#include "morphkv/kernels/portable/score_prompt.hpp"

#ifdef MORPHKV_KERNELS_X86
#define MORPHKV_ISA avx512
MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_FEATURES)
#include "morphkv/kernels/vector/score_prompt.hpp"
MORPHKV_TARGET_END
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_AVX512_SCORE_PROMPT_HPP
