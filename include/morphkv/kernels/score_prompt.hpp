// SPDX-License-Identifier: Apache-2.0
/// \file
/// Window-row scoring of a prompt: what its last queries paid to each of its tokens.
#ifndef MORPHKV_KERNELS_SCORE_PROMPT_HPP
#define MORPHKV_KERNELS_SCORE_PROMPT_HPP

#include <concepts>

#include "morphkv/core/scalar.hpp"
#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/avx2/score_prompt.hpp"
#include "morphkv/kernels/avx512/score_prompt.hpp"
#include "morphkv/kernels/avx512/score_prompt_bf16.hpp"
#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/neon/score_prompt.hpp"
#include "morphkv/kernels/portable/score_prompt.hpp"

namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {

/// sums[t] = sum over the queries of their fused weight of token t, causal.
///
/// With the engine's log-sum-exp one pass over the keys is enough; without it there are two. No
/// memory but the arguments' and some tens of kilobytes of stack. O(rows group tokens head_dim).
/// \return whether every logarithm and every sum is finite; if not, `sums` holds no meaning
template <Scalar T>
[[nodiscard]] bool score_prompt(const ScorePrompt<T>& a) noexcept {
  switch (active_isa()) {
#if defined(MORPHKV_KERNELS_X86)
    case Isa::avx512_bf16:
      if constexpr (std::same_as<T, Eigen::bfloat16>) return avx512_bf16::score_prompt(a);
      [[fallthrough]];
    case Isa::avx512:
      return avx512::score_prompt(a);
    case Isa::avx2:
      return avx2::score_prompt(a);
#elif defined(MORPHKV_KERNELS_NEON)
    case Isa::neon:
      return neon::score_prompt(a);
#endif
    default:
      return portable::score_prompt(a);
  }
}

#ifdef MORPHKV_KERNEL_INSTANCE
MORPHKV_KERNEL_INSTANCE bool score_prompt(const ScorePrompt<float>&) noexcept;
MORPHKV_KERNEL_INSTANCE bool score_prompt(const ScorePrompt<Eigen::half>&) noexcept;
MORPHKV_KERNEL_INSTANCE bool score_prompt(const ScorePrompt<Eigen::bfloat16>&) noexcept;
#endif

}}}}  // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD

#endif  // MORPHKV_KERNELS_SCORE_PROMPT_HPP
