// SPDX-License-Identifier: Apache-2.0
/// \file
/// The scores of the device, one slot at a time.
///
/// A score is a view of a head's memory while one row passes: push(slot, weight, fetch(slot)) takes
/// the slot's weight and returns its new score, and value(slot) returns it again. fetch() only
/// reads, so that a thread can have the reads of several slots under way before its first write.
/// Each thread serves its own slots, so a score needs no synchronisation. Weights are from 0 to
/// greatest_weight.
#ifndef MORPHKV_CUDA_SCORES_HPP
#define MORPHKV_CUDA_SCORES_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "morphkv/core/config.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/core/weight_units.hpp"
#include "morphkv/cuda/head_state.hpp"
#include "morphkv/cuda/policy.hpp"
#include "morphkv/cuda/round_to_half.hpp"

namespace morphkv { inline namespace v0 { namespace cuda {

/// The sum over the last R rows, in units of 2^-24: RecentWindow with Fusion::sum. 12 bytes a slot
/// and row pass through memory.
class SumWindow {
 public:
  using Value = std::uint32_t;
  struct Fetched {
    Value sum;
    std::uint16_t oldest;
  };

  /// \param row the number of the row that comes, from 0
  MORPHKV_HOST_DEVICE SumWindow(const Policy& policy, const HeadView& view, std::uint32_t row)
      : oldest_(reinterpret_cast<std::uint16_t*>(view.ring) +
                std::size_t{row % policy.window} * view.stride),
        sums_(reinterpret_cast<std::uint32_t*>(view.scores)) {}

  [[nodiscard]] MORPHKV_HOST_DEVICE Fetched fetch(Slot slot) const noexcept {
    return {sums_[slot], oldest_[slot]};
  }
  MORPHKV_HOST_DEVICE Value push(Slot slot, float weight, const Fetched& before) const noexcept {
    const std::uint16_t bits = round_to_half(weight);
    const Value sum = before.sum + half_units(bits) - half_units(before.oldest);
    oldest_[slot] = bits;
    sums_[slot] = sum;
    return sum;
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE Value value(Slot slot) const noexcept { return sums_[slot]; }
  MORPHKV_HOST_DEVICE static void renew(const HeadView&, Slot) noexcept {}

 private:
  std::uint16_t* oldest_;
  std::uint32_t* sums_;
};

/// The maximum over the last R rows, as a binary16 pattern: RecentWindow with Fusion::max, in
/// constant time a row. 16 bytes a slot and row pass through memory.
///
/// Rows come in blocks of B = R / 2, rounded up; the ring holds two of them, and a new block is
/// written over the one before the last. The window is then the last rows of the old block, of
/// which there are suffix maxima; the middle block, of which there is the maximum; and the new
/// block so far, likewise. While the new block grows by a row, the middle one's suffix maxima grow
/// by one, from its end, so that they are there when it is the old block. With an odd R the window
/// ends, at the last row of a block, one row inside the middle block.
class MaxWindow {
 public:
  using Value = std::uint32_t;
  struct Fetched {
    std::uint16_t others;  ///< of the middle and the old block
    std::uint16_t prefix;
    std::uint16_t grown;
  };

  /// \param row the number of the row that comes, from 0
  MORPHKV_HOST_DEVICE MaxWindow(const Policy& policy, const HeadView& view, std::uint32_t row) {
    const std::uint32_t block_rows = (policy.window + 1) / 2;
    const std::uint32_t step = row % block_rows;
    const std::uint32_t parity = row / block_rows % 2;
    const std::size_t stride = view.stride;
    const auto ring_row = [&](std::uint32_t block, std::uint32_t index) {
      return reinterpret_cast<std::uint16_t*>(view.ring) +
             (std::size_t{block} * block_rows + index) * stride;
    };
    const auto maxima = [&](std::uint32_t block) {
      return reinterpret_cast<std::uint16_t*>(view.scores) + block * stride;
    };
    opens_ = step == 0;
    newest_ = ring_row(parity, step);
    prefix_ = maxima(parity);
    const std::uint32_t others = policy.window - (step + 1);  // rows of the other two blocks
    const std::uint32_t suffix = 2 * block_rows - others;     // where the old block's begin
    if (others >= block_rows) middle_ = maxima(1 - parity);
    if (others > 0 && others < block_rows) middle_ = ring_row(1 - parity, block_rows - others);
    if (suffix < block_rows) old_ = ring_row(parity, suffix);
    if (step > 0) grown_ = ring_row(1 - parity, block_rows - 1 - step);
    stride_ = view.stride;
  }

  [[nodiscard]] MORPHKV_HOST_DEVICE Fetched fetch(Slot slot) const noexcept {
    const auto at = [&](const std::uint16_t* row, std::size_t column) {
      return row == nullptr ? std::uint16_t{0} : row[column];
    };
    return {greater(at(middle_, slot), at(old_, slot)), opens_ ? std::uint16_t{0} : prefix_[slot],
            greater(at(grown_, slot), at(grown_, slot + std::size_t{stride_}))};
  }
  MORPHKV_HOST_DEVICE Value push(Slot slot, float weight, const Fetched& before) const noexcept {
    const std::uint16_t bits = round_to_half(weight);
    const std::uint16_t prefix = greater(before.prefix, bits);
    if (grown_ != nullptr) grown_[slot] = before.grown;
    newest_[slot] = bits;
    prefix_[slot] = prefix;
    return greater(prefix, before.others);
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE Value value(Slot slot) const noexcept {
    return greater(prefix_[slot], fetch(slot).others);
  }
  MORPHKV_HOST_DEVICE static void renew(const HeadView&, Slot) noexcept {}

 private:
  [[nodiscard]] MORPHKV_HOST_DEVICE static std::uint16_t greater(std::uint16_t a,
                                                                 std::uint16_t b) noexcept {
    return a < b ? b : a;
  }

  std::uint16_t* newest_ = nullptr;
  std::uint16_t* prefix_ = nullptr;        ///< the new block so far
  const std::uint16_t* middle_ = nullptr;  ///< what the window holds of the middle block
  const std::uint16_t* old_ = nullptr;     ///< and of the old one
  std::uint16_t* grown_ = nullptr;         ///< the middle block's next suffix; its last one follows
  std::uint32_t stride_ = 0;
  bool opens_ = false;  ///< the row is the first of its block
};

/// The sum of all rows since the token came, in units of 2^-40: RunningSum. 16 bytes a slot and
/// row.
class AllRows {
 public:
  using Value = std::uint64_t;
  using Fetched = Value;

  MORPHKV_HOST_DEVICE AllRows(const Policy&, const HeadView& view, std::uint32_t)
      : sums_(reinterpret_cast<std::uint64_t*>(view.scores)) {}

  [[nodiscard]] MORPHKV_HOST_DEVICE Fetched fetch(Slot slot) const noexcept { return sums_[slot]; }
  MORPHKV_HOST_DEVICE Value push(Slot slot, float weight, Fetched before) const noexcept {
    return sums_[slot] = before + fine_units(weight);
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE Value value(Slot slot) const noexcept { return sums_[slot]; }
  MORPHKV_HOST_DEVICE static void renew(const HeadView& view, Slot slot) noexcept {
    reinterpret_cast<std::uint64_t*>(view.scores)[slot] = 0;
  }

 private:
  std::uint64_t* sums_;
};

/// The newest row: LastRow. Patterns of non-negative numbers order as the numbers do. 4 bytes a
/// slot and row.
class NewestRow {
 public:
  using Value = std::uint32_t;
  struct Fetched {};

  MORPHKV_HOST_DEVICE NewestRow(const Policy&, const HeadView& view, std::uint32_t)
      : weights_(reinterpret_cast<std::uint32_t*>(view.scores)) {}

  [[nodiscard]] MORPHKV_HOST_DEVICE static Fetched fetch(Slot) noexcept { return {}; }
  MORPHKV_HOST_DEVICE Value push(Slot slot, float weight, Fetched) const noexcept {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &weight, sizeof bits);
    return weights_[slot] = bits & 0x7fffffffU;  // minus zero is zero
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE Value value(Slot slot) const noexcept { return weights_[slot]; }
  MORPHKV_HOST_DEVICE static void renew(const HeadView&, Slot) noexcept {}

 private:
  std::uint32_t* weights_;
};

/// The position: Age. No memory.
class ByAge {
 public:
  using Value = std::uint32_t;
  using Fetched = Value;

  MORPHKV_HOST_DEVICE ByAge(const Policy&, const HeadView& view, std::uint32_t)
      : positions_(view.positions) {}

  [[nodiscard]] MORPHKV_HOST_DEVICE Fetched fetch(Slot slot) const noexcept { return value(slot); }
  MORPHKV_HOST_DEVICE static Value push(Slot, float, Fetched age) noexcept { return age; }
  [[nodiscard]] MORPHKV_HOST_DEVICE Value value(Slot slot) const noexcept {
    return static_cast<Value>(positions_[slot]);
  }
  MORPHKV_HOST_DEVICE static void renew(const HeadView&, Slot) noexcept {}

 private:
  const Position* positions_;
};

/// Calls function(score) with the policy's score at a row. \pre policy.evicts()
template <class Function>
MORPHKV_HOST_DEVICE auto with_score(const Policy& policy, const HeadView& view, std::uint32_t row,
                                    const Function& function) {
  switch (policy.score) {
    case ScoreKind::window_sum:
      return function(SumWindow(policy, view, row));
    case ScoreKind::window_max:
      return function(MaxWindow(policy, view, row));
    case ScoreKind::running_sum:
      return function(AllRows(policy, view, row));
    case ScoreKind::last_row:
      return function(NewestRow(policy, view, row));
    default:
      return function(ByAge(policy, view, row));
  }
}

}}}  // namespace morphkv::v0::cuda

#endif  // MORPHKV_CUDA_SCORES_HPP
