// SPDX-License-Identifier: Apache-2.0
/// \file
/// Conversion between floats and 16 bits with NEON.
#ifndef MORPHKV_KERNELS_NEON_CONVERT_HPP
#define MORPHKV_KERNELS_NEON_CONVERT_HPP

#include <cstddef>
#include <cstdint>

#include "morphkv/kernels/neon/vector.hpp"
#include "morphkv/kernels/portable/convert.hpp"

#ifdef MORPHKV_KERNELS_NEON
#define MORPHKV_ISA neon
#include "morphkv/kernels/vector/convert.hpp"
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_NEON_CONVERT_HPP
