// SPDX-License-Identifier: Apache-2.0
/// \file
/// Includes the loops of one operation once for every instruction set that this compiler knows:
///
///     #define MORPHKV_LOOPS "morphkv/kernels/vector/scores.hpp"
///     #include "morphkv/kernels/isa/for_each.hpp"
///
/// Each time MORPHKV_ISA is the namespace of a vocabulary: the loops put their functions there, and
/// the compiler may use what the set offers. The file of loops includes nothing; what it needs is
/// included before. Where another unit compiles the kernels it does nothing. This header has no
/// include guard, on purpose.
#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/isa/avx2.hpp"
#include "morphkv/kernels/isa/avx512.hpp"
#include "morphkv/kernels/isa/neon.hpp"

#if defined(MORPHKV_KERNELS_X86) && !defined(MORPHKV_KERNELS_ELSEWHERE)
#define MORPHKV_ISA avx2
MORPHKV_TARGET_BEGIN(MORPHKV_AVX2_FEATURES)
#include MORPHKV_LOOPS
MORPHKV_TARGET_END
#undef MORPHKV_ISA
#define MORPHKV_ISA avx512
MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_FEATURES)
#include MORPHKV_LOOPS
MORPHKV_TARGET_END
#undef MORPHKV_ISA
#endif
#if defined(MORPHKV_KERNELS_NEON) && !defined(MORPHKV_KERNELS_ELSEWHERE)
#define MORPHKV_ISA neon
#include MORPHKV_LOOPS
#undef MORPHKV_ISA
#endif
#undef MORPHKV_LOOPS
