// SPDX-License-Identifier: Apache-2.0
/// \file
/// One decode step of attention for one KV head: the output of all its query heads, and the row
/// that its policy observes.
#ifndef MORPHKV_KERNELS_DECODE_ATTENTION_HPP
#define MORPHKV_KERNELS_DECODE_ATTENTION_HPP

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <limits>
#include <type_traits>

#include "morphkv/core/scalar.hpp"
#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/portable/attention.hpp"
#include "morphkv/kernels/vector/read_ahead.hpp"

#define MORPHKV_LOOPS "morphkv/kernels/vector/decode_attention.hpp"
#include "morphkv/kernels/isa/for_each.hpp"
#define MORPHKV_LOOPS "morphkv/kernels/vector/quantised_attention.hpp"
#include "morphkv/kernels/isa/for_each.hpp"
#define MORPHKV_LOOPS "morphkv/kernels/vector/quantised_pairs.hpp"
#include "morphkv/kernels/isa/for_each.hpp"
#if defined(MORPHKV_KERNELS_X86) && !defined(MORPHKV_KERNELS_ELSEWHERE)
#define MORPHKV_ISA avx512_bf16
MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_BF16_FEATURES)
#include "morphkv/kernels/vector/quantised_attention.hpp"
#include "morphkv/kernels/vector/quantised_pairs.hpp"
MORPHKV_TARGET_END
#undef MORPHKV_ISA
#endif
#if defined(MORPHKV_NEON_DOTPROD_FEATURES) && !defined(MORPHKV_KERNELS_ELSEWHERE)
#define MORPHKV_ISA neon_dotprod
MORPHKV_TARGET_BEGIN(MORPHKV_NEON_DOTPROD_FEATURES)
#include "morphkv/kernels/vector/quantised_attention.hpp"
#include "morphkv/kernels/vector/quantised_bytes.hpp"
MORPHKV_TARGET_END
#undef MORPHKV_ISA
#endif
#include "morphkv/kernels/vector/decode_attention_bf16.hpp"

namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels::inline MORPHKV_BUILD {

/// value_scale * softmax(logits of query . keys) . values for the whole group, and the group's
/// fused row.
///
/// A logit of minus infinity is a weight of 0. One pass over keys and values; no memory but the
/// arguments'. O(tokens group head_dim).
/// \return whether every weight is finite; if not, `output` and `row` hold no meaning.
template <Storable T>
[[nodiscard]] bool decode_attention(const DecodeAttention<T>& a) noexcept
    MORPHKV_KERNEL_BODY(decode_attention(a));

#ifdef MORPHKV_KERNEL_INSTANCE
MORPHKV_KERNEL_INSTANCE bool decode_attention(const DecodeAttention<float>&) noexcept;
MORPHKV_KERNEL_INSTANCE bool decode_attention(const DecodeAttention<Eigen::half>&) noexcept;
MORPHKV_KERNEL_INSTANCE bool decode_attention(const DecodeAttention<Eigen::bfloat16>&) noexcept;
MORPHKV_KERNEL_INSTANCE bool decode_attention(const DecodeAttention<E4M3>&) noexcept;
MORPHKV_KERNEL_INSTANCE bool decode_attention(const DecodeAttention<Q8_0>&) noexcept;
MORPHKV_KERNEL_INSTANCE bool decode_attention(const DecodeAttention<Q4_0>&) noexcept;
#endif

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD

#endif  // MORPHKV_KERNELS_DECODE_ATTENTION_HPP
