// SPDX-License-Identifier: Apache-2.0
/// \file
/// Selection of the highest scores with NEON.
#ifndef MORPHKV_KERNELS_NEON_TOP_K_HPP
#define MORPHKV_KERNELS_NEON_TOP_K_HPP

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>

#include "morphkv/kernels/neon/vector.hpp"
#include "morphkv/kernels/portable/top_k.hpp"

#ifdef MORPHKV_KERNELS_NEON
#define MORPHKV_ISA neon
#include "morphkv/kernels/vector/top_k.hpp"
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_NEON_TOP_K_HPP
