// SPDX-License-Identifier: Apache-2.0
/// \file
/// The window's update with NEON.
#ifndef MORPHKV_KERNELS_NEON_WINDOW_UPDATE_HPP
#define MORPHKV_KERNELS_NEON_WINDOW_UPDATE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "morphkv/kernels/neon/vector.hpp"
#include "morphkv/kernels/portable/window_update.hpp"

#ifdef MORPHKV_KERNELS_NEON
#define MORPHKV_ISA neon
#include "morphkv/kernels/vector/window_update.hpp"
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_NEON_WINDOW_UPDATE_HPP
