// SPDX-License-Identifier: Apache-2.0
//
// The library as Microsoft's compiler sees it: __GNUC__ and __clang__ are not defined, and the
// extensions of GCC and Clang are errors. The standard library and Eigen, which may use them, come
// first. Caches then run on the portable kernels.
#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <charconv>
#include <cmath>
#include <concepts>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <numeric>
#include <optional>
#include <ranges>
#include <set>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#undef __GNUC__
#undef __clang__
#define _MSC_VER 1930
// __builtin_bit_cast is an extension of all three.
#pragma GCC poison gnu asm __asm__ __attribute__ __extension__ __int128 __restrict __restrict__
#pragma GCC poison __builtin_prefetch __builtin_expect __builtin_unreachable \
    __builtin_assume_aligned
#pragma GCC poison __builtin_clz __builtin_clzll __builtin_ctz __builtin_ctzll __builtin_popcount
#pragma GCC poison __builtin_popcountll __builtin_shufflevector __builtin_convertvector

#define MORPHKV_TEST_UNIT main
#include "cache_unit.cpp"

#ifdef MORPHKV_KERNELS_X86
#error "these are no portable kernels"
#endif
