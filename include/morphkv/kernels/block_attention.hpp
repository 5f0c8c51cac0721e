// SPDX-License-Identifier: Apache-2.0
/// \file
/// Causal attention of a block of queries over one KV head: the outputs of a prompt, its
/// log-sum-exp, and the rows that a policy observes.
#ifndef MORPHKV_KERNELS_BLOCK_ATTENTION_HPP
#define MORPHKV_KERNELS_BLOCK_ATTENTION_HPP

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <limits>
#include <type_traits>

#include "morphkv/core/scalar.hpp"
#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/portable/attention.hpp"

#define MORPHKV_LOOPS "morphkv/kernels/vector/block_attention.hpp"
#include "morphkv/kernels/isa/for_each.hpp"
#include "morphkv/kernels/vector/block_attention_bf16.hpp"

namespace morphkv { inline namespace MORPHKV_ABI { namespace kernels::inline MORPHKV_BUILD {

/// For a block of queries and the whole group, over the tokens that query r sees, each where it is
/// wanted:
///
///     outputs[r]     = value_scale * softmax(logits of queries[r] . keys) . values
///     log_sum_exp[r] = log(sum of exp(logits of queries[r] . keys))
///     fused_rows[r]  = the weights of the group's heads, fused; zeros for tokens that r does not
///     see
///
/// Keys and values are read once for many queries, and no logit leaves the nearest caches: sums so
/// far are scaled down when a greater logit comes (the online softmax of Milakov and Gimelshein,
/// arXiv 1805.02867, as in FlashAttention, arXiv 2205.14135). Rows take no second product: the
/// weights are kept in the workspace until their sum is known.
///
/// For an engine with an attention kernel of its own: no outputs, and its log-sum-exp as
/// `known_log_sum_exp`, give the rows in one pass over the keys. Natural logarithms; kernels that
/// return them to the base of 2 need a factor of ln 2.
///
/// With a window, tiles of tokens that no query of a panel sees are not read.
///
/// What a query gets does not depend on the other queries, except that bfloat16 products are used
/// only where bfloat16 holds all queries exactly. A logit of minus infinity is a weight of 0. A
/// value that is not finite may spoil the outputs of queries up to `block_queries` before its
/// token. No memory but the arguments'. O(rows group tokens head_dim). \return whether every weight
/// is finite; if not, nothing that was written has a meaning
template <Scalar T>
[[nodiscard]] bool block_attention(const BlockAttention<T>& a) noexcept
    MORPHKV_KERNEL_BODY(block_attention(a));

#ifdef MORPHKV_KERNEL_INSTANCE
MORPHKV_KERNEL_INSTANCE bool block_attention(const BlockAttention<float>&) noexcept;
MORPHKV_KERNEL_INSTANCE bool block_attention(const BlockAttention<Eigen::half>&) noexcept;
MORPHKV_KERNEL_INSTANCE bool block_attention(const BlockAttention<Eigen::bfloat16>&) noexcept;
#endif

}}}  // namespace morphkv::v0::kernels::MORPHKV_BUILD

#endif  // MORPHKV_KERNELS_BLOCK_ATTENTION_HPP
