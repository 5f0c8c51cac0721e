// SPDX-License-Identifier: Apache-2.0
/// \file
/// The window's update with AVX-512.
#ifndef MORPHKV_KERNELS_AVX512_WINDOW_UPDATE_HPP
#define MORPHKV_KERNELS_AVX512_WINDOW_UPDATE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "morphkv/kernels/avx512/vector.hpp"
#include "morphkv/kernels/portable/window_update.hpp"

#ifdef MORPHKV_KERNELS_X86
#define MORPHKV_ISA avx512
MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_FEATURES)
#include "morphkv/kernels/vector/window_update.hpp"
MORPHKV_TARGET_END
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_AVX512_WINDOW_UPDATE_HPP
