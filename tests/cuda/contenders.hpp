// SPDX-License-Identifier: Apache-2.0
/// \file
/// The policies of the device, each beside the same one of the portable library.
#ifndef MORPHKV_TESTS_CUDA_CONTENDERS_HPP
#define MORPHKV_TESTS_CUDA_CONTENDERS_HPP

#include <cstddef>
#include <cstdint>

#include "morphkv/cuda/policy.hpp"
#include "support/contenders.hpp"

namespace morphkv::testing {

/// A policy of the device with the common setting of all policies.
template <class Contender>
cuda::Policy device_policy(const Setting& s) {
  const auto capacity = static_cast<std::uint32_t>(s.capacity);
  const auto window = static_cast<std::uint32_t>(s.window);
  const auto sinks = static_cast<std::uint32_t>(s.sinks);
  const auto max_tokens = static_cast<std::uint32_t>(s.max_tokens);
  cuda::Policy policy;
  if constexpr (std::same_as<Contender, MorphKVSum>) {
    policy = cuda::morphkv(capacity, window, Fusion::sum, sinks);
  } else if constexpr (std::same_as<Contender, MorphKVMax>) {
    policy = cuda::morphkv(capacity, window, Fusion::max, sinks);
  } else if constexpr (std::same_as<Contender, H2OPlain>) {
    policy = cuda::h2o(capacity - window, window, sinks);
  } else if constexpr (std::same_as<Contender, TOVAContender>) {
    policy = cuda::tova(capacity, window, sinks);
  } else if constexpr (std::same_as<Contender, StreamingLLMContender>) {
    policy = cuda::streaming_llm(capacity, sinks);
  } else if constexpr (std::same_as<Contender, SnapKVAverage>) {
    policy = cuda::snapkv(capacity, max_tokens, window, 5, Pooling::average, sinks);
  } else if constexpr (std::same_as<Contender, SnapKVMax>) {
    policy = cuda::snapkv(capacity, max_tokens, window, 7, Pooling::max, sinks);
  } else {
    static_assert(std::same_as<Contender, FullContender>);
    policy = cuda::full(max_tokens);
  }
  policy.group = s.group;
  policy.protect_prompt = s.protect_prompt;
  return policy;
}

using DeviceContenders =
    ::testing::Types<MorphKVSum, MorphKVMax, H2OPlain, TOVAContender, StreamingLLMContender,
                     SnapKVAverage, SnapKVMax, FullContender>;

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_CUDA_CONTENDERS_HPP
