// SPDX-License-Identifier: Apache-2.0
/// \file
/// The device's bookkeeping of one head, run by one thread of the host.
#ifndef MORPHKV_TESTS_CUDA_HOST_HEAD_HPP
#define MORPHKV_TESTS_CUDA_HOST_HEAD_HPP

#include <cstddef>
#include <span>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/cuda/eviction.hpp"

namespace morphkv::testing {

class HostHead {
 public:
  explicit HostHead(const cuda::Policy& policy)
      : policy_(policy),
        memory_(cuda::state_bytes(policy, 1, 1)),
        view_(memory_.data(), cuda::layout_of(policy), 0) {
    state() = cuda::HeadState{};
  }

  [[nodiscard]] const cuda::Policy& policy() const { return policy_; }
  [[nodiscard]] const cuda::HeadView& view() const { return view_; }
  [[nodiscard]] cuda::HeadState& state() { return *view_.head; }
  [[nodiscard]] std::span<const Position> positions() const {
    return {view_.positions, view_.head->size};
  }

  Placement place(Position position) {
    return cuda::place(cuda::SequentialTeam{}, policy_, view_, position, state());
  }

  Status observe(std::span<const float> row) {
    const auto weight_at = [&](Slot slot) { return row[slot]; };
    const auto size = static_cast<std::uint32_t>(row.size());
    if (!cuda::is_valid_row(cuda::SequentialTeam{}, size, weight_at)) return Status::bad_row;
    if (!policy_.evicts()) return Status::ok;
    if (state().awaits_row == 0) return Status::out_of_step;
    cuda::observe(cuda::SequentialTeam{}, policy_, view_, state(), weight_at);
    return Status::ok;
  }

 private:
  cuda::Policy policy_;
  AlignedBuffer<std::byte> memory_;
  cuda::HeadView view_;
};

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_CUDA_HOST_HEAD_HPP
