// SPDX-License-Identifier: Apache-2.0
/// \file
/// Searches over rows of scores with NEON.
#ifndef MORPHKV_KERNELS_NEON_SEARCH_HPP
#define MORPHKV_KERNELS_NEON_SEARCH_HPP

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "morphkv/kernels/neon/vector.hpp"
#include "morphkv/kernels/portable/search.hpp"

#ifdef MORPHKV_KERNELS_NEON
#define MORPHKV_ISA neon
#include "morphkv/kernels/vector/search.hpp"
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_NEON_SEARCH_HPP
