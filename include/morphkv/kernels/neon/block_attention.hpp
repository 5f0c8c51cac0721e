// SPDX-License-Identifier: Apache-2.0
/// \file
/// Attention of a block of queries with NEON.
#ifndef MORPHKV_KERNELS_NEON_BLOCK_ATTENTION_HPP
#define MORPHKV_KERNELS_NEON_BLOCK_ATTENTION_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <type_traits>

#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/neon/score_prompt.hpp"
#include "morphkv/kernels/neon/vector.hpp"

#ifdef MORPHKV_KERNELS_NEON
#define MORPHKV_ISA neon
#include "morphkv/kernels/vector/block_attention.hpp"
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_NEON_BLOCK_ATTENTION_HPP
