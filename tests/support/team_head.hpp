// SPDX-License-Identifier: Apache-2.0
/// \file
/// The eviction machine run by a team of threads, as a device runs it.
#ifndef MORPHKV_TESTS_SUPPORT_TEAM_HEAD_HPP
#define MORPHKV_TESTS_SUPPORT_TEAM_HEAD_HPP

#include <algorithm>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <utility>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/eviction/step.hpp"

namespace morphkv::testing {

/// Threads that share the slots as the blocks of a cluster do.
struct TeamMemory {
  explicit TeamMemory(std::uint32_t threads) : barrier(threads), values(threads) {}
  std::barrier<> barrier;
  std::vector<std::uint64_t> values;
};

class ThreadTeam {
 public:
  ThreadTeam(TeamMemory& memory, std::uint32_t rank) : memory_(memory), rank_(rank) {}

  [[nodiscard]] std::uint32_t begin() const { return rank_; }
  [[nodiscard]] static std::uint32_t end(std::uint32_t slots) { return slots; }
  [[nodiscard]] std::uint32_t stride() const {
    return static_cast<std::uint32_t>(memory_.values.size());
  }
  [[nodiscard]] bool is_leader() const { return rank_ == 0; }
  template <class T>
  [[nodiscard]] T least(T x) const {
    memory_.values[rank_] = x;
    memory_.barrier.arrive_and_wait();
    const auto lowest = static_cast<T>(*std::ranges::min_element(memory_.values));
    memory_.barrier.arrive_and_wait();
    return lowest;
  }
  void sync() const { memory_.barrier.arrive_and_wait(); }

 private:
  TeamMemory& memory_;
  std::uint32_t rank_;
};

/// The threads of a team, which run one function after the other.
class TeamThreads {
 public:
  explicit TeamThreads(std::uint32_t count) : memory_(count), gate_(count + 1) {
    for (std::uint32_t rank = 0; rank < count; ++rank) {
      threads_.emplace_back([this, rank] {
        for (;;) {
          gate_.arrive_and_wait();
          if (!body_) return;
          body_(ThreadTeam(memory_, rank));
          gate_.arrive_and_wait();
        }
      });
    }
  }
  TeamThreads(const TeamThreads&) = delete;
  TeamThreads& operator=(const TeamThreads&) = delete;
  ~TeamThreads() {
    body_ = nullptr;
    gate_.arrive_and_wait();
  }

  void run(std::function<void(const ThreadTeam&)> body) {
    body_ = std::move(body);
    gate_.arrive_and_wait();
    gate_.arrive_and_wait();
  }

 private:
  TeamMemory memory_;
  std::barrier<> gate_;  ///< of the threads and their owner: open before and after a function
  std::function<void(const ThreadTeam&)> body_;
  std::vector<std::jthread> threads_;
};

/// A head whose steps run on a team. With 0 threads it is the caller that runs them.
template <Score S>
class TeamHead {
 public:
  TeamHead(const EvictionPlan<S>& plan, std::uint32_t threads)
      : plan_(plan), layout_(layout_of(plan)), memory_(layout_.bytes) {
    if (threads > 0) threads_ = std::make_unique<TeamThreads>(threads);
    *view().head = HeadState{.quota = plan.rules.quota()};
  }

  /// Continues from the state of another driver.
  void take_over(std::span<const std::byte> state) { std::ranges::copy(state, memory_.data()); }

  [[nodiscard]] HeadView view() { return {memory_.data(), layout_}; }
  [[nodiscard]] std::span<const std::byte> state_bytes() const { return memory_.span(); }
  [[nodiscard]] std::size_t size() { return view().head->size; }
  [[nodiscard]] Position newest() { return view().head->newest; }

  Placement place(Position position) {
    Placement result;
    run([&](const auto& team, HeadState& state) {
      const Placement placement = morphkv::place(team, plan_, view(), position, state);
      if (team.is_leader()) result = placement;
    });
    return result;
  }

  Status observe(std::span<const float> row) {
    Status status = Status::ok;
    run([&](const auto& team, HeadState& state) {
      const auto weight_at = [&](Slot slot) { return row[slot]; };
      Status found = Status::ok;
      if (!is_valid_row(team, static_cast<std::uint32_t>(row.size()), weight_at)) {
        found = Status::bad_row;
      } else if (plan_.rules.evicts() && state.awaits_row == 0) {
        found = Status::out_of_step;
      } else if (plan_.rules.evicts()) {
        morphkv::observe(team, plan_, view(), state, weight_at);
      }
      if (team.is_leader()) status = found;
    });
    return status;
  }

 private:
  template <class Body>
  void run(const Body& body) {
    if (!threads_) {
      HeadState state = *view().head;
      body(SequentialTeam{}, state);
      *view().head = state;
      return;
    }
    HeadState result;
    threads_->run([&](const ThreadTeam& team) {
      HeadState state = *view().head;
      body(team, state);
      if (team.is_leader()) result = state;
    });
    *view().head = result;
  }

  EvictionPlan<S> plan_;
  HeadLayout layout_;
  AlignedBuffer<std::byte> memory_;
  std::unique_ptr<TeamThreads> threads_;
};

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_TEAM_HEAD_HPP
