// SPDX-License-Identifier: Apache-2.0
/// \file
/// Row gather and compaction with NEON.
#ifndef MORPHKV_KERNELS_NEON_GATHER_HPP
#define MORPHKV_KERNELS_NEON_GATHER_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "morphkv/kernels/neon/vector.hpp"
#include "morphkv/kernels/portable/gather.hpp"

#ifdef MORPHKV_KERNELS_NEON
#define MORPHKV_ISA neon
#include "morphkv/kernels/vector/gather.hpp"
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_NEON_GATHER_HPP
