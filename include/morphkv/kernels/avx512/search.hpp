// SPDX-License-Identifier: Apache-2.0
/// \file
/// Searches over rows of scores with AVX-512.
#ifndef MORPHKV_KERNELS_AVX512_SEARCH_HPP
#define MORPHKV_KERNELS_AVX512_SEARCH_HPP

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "morphkv/kernels/avx512/vector.hpp"
#include "morphkv/kernels/portable/search.hpp"

#ifdef MORPHKV_KERNELS_X86
#define MORPHKV_ISA avx512
MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_FEATURES)
#include "morphkv/kernels/vector/search.hpp"
MORPHKV_TARGET_END
#undef MORPHKV_ISA
#endif

#endif  // MORPHKV_KERNELS_AVX512_SEARCH_HPP
