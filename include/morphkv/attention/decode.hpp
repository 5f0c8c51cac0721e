// SPDX-License-Identifier: Apache-2.0
/// \file
/// One decode step of attention over one KV head.
#ifndef MORPHKV_ATTENTION_DECODE_HPP
#define MORPHKV_ATTENTION_DECODE_HPP

#include <algorithm>
#include <cstddef>

#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/scalar.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/kernels/decode_attention.hpp"
#include "morphkv/policy/eviction_policy.hpp"

namespace morphkv { inline namespace v0 {

/// Working space of one head's step, in floats. Nothing is owned; see scratch_floats.
struct DecodeScratch {
  float* query = nullptr;    ///< [group][head_dim]
  float* output = nullptr;   ///< [group][head_dim]
  float* weights = nullptr;  ///< [group][stride]
  float* row = nullptr;      ///< [stride]
  std::size_t stride = 0;    ///< at least the slots of the head
};

/// What one KV head holds. Nothing is owned: the rows may lie in a KVCache or in the engine's
/// memory.
template <Scalar T>
struct DecodeHead {
  KvView<const T> keys;    ///< [slots]
  KvView<const T> values;  ///< [slots], where the keys are: the same strides and pages
  std::size_t group = 1;
  std::size_t head_dim = 1;
  float scale = 1;
  GroupFusion fusion = GroupFusion::max;
};

/// Attends with scratch.query: writes scratch.output, and scratch.row for the policy.
/// \return Status::bad_row if a weight is not finite, and then the output means nothing;
///         Status::out_of_step, and no output, if no token was placed since the last step. The
///         policy does not change.
/// O(slots x group x head_dim); it neither allocates nor throws.
template <Scalar T, EvictionPolicy Policy>
Status attend_head(const DecodeHead<T>& head, const Policy& policy,
                   const DecodeScratch& scratch) noexcept {
  if (const Status status = policy.can_observe(); status != Status::ok) return status;
  kernels::DecodeAttention<T> arguments{.query = scratch.query,
                                        .keys = head.keys.data,
                                        .values = head.values.data,
                                        .tokens = policy.size(),
                                        .group = head.group,
                                        .head_dim = head.head_dim,
                                        .stride = head.keys.stride,
                                        .pages = head.keys.pages,
                                        .page_rows = head.keys.page_rows,
                                        .page_stride = head.keys.page_stride,
                                        .scale = head.scale,
                                        .fusion = head.fusion,
                                        .weights = scratch.weights,
                                        .weight_stride = scratch.stride,
                                        .output = scratch.output,
                                        .row = scratch.row,
                                        .log_sum_exp = nullptr};
  if constexpr (requires { policy.prefetch_hints(); }) {
    arguments.next = policy.prefetch_hints();
  }
  return kernels::decode_attention(arguments) ? Status::ok : Status::bad_row;
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_ATTENTION_DECODE_HPP
