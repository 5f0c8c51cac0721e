// SPDX-License-Identifier: Apache-2.0
/// \file
/// The window's update with AVX2, FMA and F16C.
#ifndef MORPHKV_KERNELS_AVX2_WINDOW_UPDATE_HPP
#define MORPHKV_KERNELS_AVX2_WINDOW_UPDATE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "morphkv/kernels/avx2/vector.hpp"
#include "morphkv/kernels/portable/window_update.hpp"

#ifdef MORPHKV_KERNELS_X86
#define MORPHKV_ISA avx2
MORPHKV_TARGET_BEGIN(MORPHKV_AVX2_FEATURES)
#include "morphkv/kernels/vector/window_update.hpp"
MORPHKV_TARGET_END
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_AVX2_WINDOW_UPDATE_HPP
