// SPDX-License-Identifier: Apache-2.0
/// \file
/// Window-row scoring of a prompt with NEON.
#ifndef MORPHKV_KERNELS_NEON_SCORE_PROMPT_HPP
#define MORPHKV_KERNELS_NEON_SCORE_PROMPT_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/neon/vector.hpp"
#include "morphkv/kernels/portable/score_prompt.hpp"

#ifdef MORPHKV_KERNELS_NEON
#define MORPHKV_ISA neon
#include "morphkv/kernels/vector/score_prompt.hpp"
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_NEON_SCORE_PROMPT_HPP
