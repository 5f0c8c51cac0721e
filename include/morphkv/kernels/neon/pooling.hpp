// SPDX-License-Identifier: Apache-2.0
/// \file
/// Pooling along a row with NEON.
#ifndef MORPHKV_KERNELS_NEON_POOLING_HPP
#define MORPHKV_KERNELS_NEON_POOLING_HPP

#include <algorithm>
#include <cstddef>

#include "morphkv/kernels/neon/vector.hpp"
#include "morphkv/kernels/portable/pooling.hpp"

#ifdef MORPHKV_KERNELS_NEON
#define MORPHKV_ISA neon
#include "morphkv/kernels/vector/pooling.hpp"
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_NEON_POOLING_HPP
