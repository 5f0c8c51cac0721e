// SPDX-License-Identifier: Apache-2.0
/// \file
/// Decode attention with NEON.
#ifndef MORPHKV_KERNELS_NEON_DECODE_ATTENTION_HPP
#define MORPHKV_KERNELS_NEON_DECODE_ATTENTION_HPP

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <type_traits>

#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/neon/vector.hpp"
#include "morphkv/kernels/portable/attention.hpp"
#include "morphkv/kernels/vector/read_ahead.hpp"

#ifdef MORPHKV_KERNELS_NEON
#define MORPHKV_ISA neon
#include "morphkv/kernels/vector/decode_attention.hpp"
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_NEON_DECODE_ATTENTION_HPP
