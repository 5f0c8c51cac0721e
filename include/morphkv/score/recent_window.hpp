// SPDX-License-Identifier: Apache-2.0
/// \file
/// The recent window: the sum or the maximum of the last R attention rows, for every slot, exact
/// and in constant time a slot and step.
///
/// Weights are rounded to IEEE binary16. Sums are integers in units of 2^-24, so they never drift
/// and are the same on every machine; maxima compare the 16-bit patterns. The sliding maximum is a
/// two-stack queue: a suffix maximum over the old rows, a prefix maximum over the new, and one flip
/// every R steps.
#ifndef MORPHKV_SCORE_RECENT_WINDOW_HPP
#define MORPHKV_SCORE_RECENT_WINDOW_HPP

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "morphkv/core/error.hpp"
#include "morphkv/core/half_bits.hpp"
#include "morphkv/core/row_matrix.hpp"
#include "morphkv/kernels/arguments.hpp"
#include "morphkv/kernels/search.hpp"
#include "morphkv/kernels/window_update.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace v0 {

/// The last `rows` rows over `columns` slots.
///
/// With `panes` = P below `rows`, the rows are kept as P partial aggregates of rows / P rows each,
/// which weigh P numbers a slot and not `rows`: the window then covers between rows - rows / P + 1
/// and `rows` rows, and of a complete pane the mean of its rows is stored, rounded to binary16
/// (sums only: maxima are exact). P = rows (or 0) is exact.
///
/// A column is not cleared when a new token takes its slot over: a policy that protects a new token
/// for `rows` steps (MorphKV does) never ranks it by its predecessor's weights.
///
/// Memory: 2 P bytes a slot, and 4 (sum), 8 (sum with panes) or 2 (max); with `history` = D, room
/// to take back D tokens, 2 (rows + D) bytes more.
/// Thread safety: none; one object a head.
class RecentWindow {
 public:
  using Value = std::uint32_t;

  struct Options {
    std::size_t columns = 0;
    std::size_t rows = 32;  ///< R; at most 255 with Fusion::sum, the limit of its 32-bit sums
    Fusion fusion = Fusion::sum;
    std::size_t panes = 0;    ///< a divisor of rows; 0 is rows, the exact window
    std::size_t history = 0;  ///< how many tokens pop() can take back
    std::size_t phase = 0;    ///< shifts the flips: give every head another one
  };

  /// \throws std::invalid_argument if rows is 0, above 255 with Fusion::sum, or no multiple of
  ///         panes.
  explicit RecentWindow(const Options& options)
      : options_(options),
        panes_(options.panes == 0 ? options.rows : options.panes),
        history_(options.history == 0 ? 0 : options.rows + options.history, options.columns) {
    require(options.rows > 0, "window", options.rows, "at least 1");
    require(options.fusion == Fusion::max || options.rows <= 255, "window", options.rows,
            "at most 255 with Fusion::sum");
    require(options.rows % panes_ == 0, "panes", options.panes,
            "a divisor of window = " + std::to_string(options.rows));
    rows_per_pane_ = options.rows / panes_;
    ring_ = RowMatrix<std::uint16_t>(panes_, options.columns);
    if (options.fusion == Fusion::sum) {
      sums_ = RowMatrix<std::uint32_t>(1, options.columns);
      if (rows_per_pane_ > 1) pane_sum_ = RowMatrix<std::uint32_t>(1, options.columns);
    } else {
      prefix_ = RowMatrix<std::uint16_t>(1, options.columns);
    }
    step_ = first_step();
  }

  /// Slides the window by one row. O(columns); every R-th call with Fusion::max flips: O(R
  /// columns).
  Slot push(std::span<const float> row, const Candidates& candidates) noexcept {
    MORPHKV_ASSERT(row.size() <= options_.columns && candidates.slots <= row.size());
    open_pane();
    const Value lowest = slide(row.data(), row.size(), 0, candidates.protected_bits);
    close_pane();
    return rows_per_pane_ > 1 ? least(candidates) : oldest_with(lowest, candidates);
  }

  /// The memory that the next push reads, for whoever can fetch it in time.
  [[nodiscard]] std::array<kernels::PrefetchHint, 3> prefetch_hints() const noexcept {
    const auto hint = [](const auto& rows, std::size_t index) {
      return kernels::PrefetchHint{rows.row(index), rows.stride() * sizeof(*rows.row(index))};
    };
    if (options_.fusion == Fusion::sum) return {hint(ring_, pane()), hint(sums_, 0)};
    return {hint(ring_, pane()), hint(prefix_, 0), hint(ring_, (pane() + 1) % panes_)};
  }

  /// Slides the window by a row of zeros.
  void skip() noexcept {
    open_pane();
    constexpr float zeros[block] = {};
    slide_blocks([&](std::size_t) { return zeros; });
    close_pane();
  }

  [[nodiscard]] Slot least(const Candidates& candidates) const noexcept {
    return least_wanted(candidates, [&](Slot s) { return value(s); });
  }

  /// Nothing to do: see the class.
  void renew(Slot) noexcept {}

  /// Takes the newest `count` rows back, exactly. O(R columns).
  void pop(std::size_t count) noexcept {
    MORPHKV_ASSERT(count <= options_.history);
    if (count == 0) return;
    const std::size_t end = step_ - count;
    forget_aggregates();
    const std::size_t oldest_pane = (std::max<std::size_t>(end, 1) - 1) / rows_per_pane_;
    const std::size_t older = std::min(oldest_pane, panes_ - 1);
    for (step_ = std::max((oldest_pane - older) * rows_per_pane_, first_step()); step_ < end;) {
      open_pane();
      float weights[block];
      slide_blocks([&](std::size_t begin) {
        const std::uint16_t* bits = history_.row(step_ % history_.rows()) + begin;
        std::transform(bits, bits + block_size(begin), weights, from_half_bits);
        return weights;
      });
      close_pane();
    }
  }

  void clear() noexcept {
    forget_aggregates();
    history_.clear();
    step_ = first_step();
  }

  [[nodiscard]] std::size_t voters() const noexcept { return options_.rows; }
  [[nodiscard]] Fusion fusion() const noexcept { return options_.fusion; }

  /// The score of a slot: units of 2^-24 for sums, a binary16 pattern for maxima.
  [[nodiscard]] Value value(Slot slot) const noexcept {
    if (options_.fusion == Fusion::sum) return sums_.row(0)[slot];
    const std::uint16_t* suffix = suffix_row();
    const std::uint16_t prefix = prefix_.row(0)[slot];
    return suffix == nullptr ? prefix : std::max(prefix, suffix[slot]);
  }

  void values(std::span<const Position>, std::span<Value> out) const noexcept {
    for (Slot slot = 0; slot < out.size(); ++slot) out[slot] = value(slot);
  }

  [[nodiscard]] RecentWindow remapped(std::span<const Slot> sources, std::size_t columns) const {
    RecentWindow result(*this, columns);
    result.ring_ = ring_.remapped(sources, columns);
    result.sums_ = sums_.remapped(sources, columns);
    result.pane_sum_ = pane_sum_.remapped(sources, columns);
    result.prefix_ = prefix_.remapped(sources, columns);
    result.history_ = history_.remapped(sources, columns);
    return result;
  }

  [[nodiscard]] MemoryUsage memory() const noexcept {
    return {.window = ring_.bytes(),
            .scores = sums_.bytes() + pane_sum_.bytes() + prefix_.bytes(),
            .history = history_.bytes()};
  }

 private:
  static constexpr std::size_t block = 64;

  RecentWindow(const RecentWindow& other, std::size_t columns)
      : options_(other.options_),
        panes_(other.panes_),
        rows_per_pane_(other.rows_per_pane_),
        step_(other.step_) {
    options_.columns = columns;
  }

  /// The candidate with exactly this score and the lowest position.
  [[nodiscard]] Slot oldest_with(Value score, const Candidates& candidates) const noexcept {
    if (options_.fusion == Fusion::sum) {
      return kernels::oldest_with(score, sums_.row(0), candidates.slots, candidates.protected_bits,
                                  candidates.positions);
    }
    const std::uint16_t* prefix = prefix_.row(0);
    const std::uint16_t* suffix = suffix_row();
    return kernels::oldest_with_max(static_cast<std::uint16_t>(score), prefix,
                                    suffix == nullptr ? prefix : suffix, candidates.slots,
                                    candidates.protected_bits, candidates.positions);
  }

  void forget_aggregates() noexcept {
    ring_.clear();
    sums_.clear();
    pane_sum_.clear();
    prefix_.clear();
  }
  [[nodiscard]] std::size_t first_step() const noexcept {
    return options_.phase % panes_ * rows_per_pane_;
  }
  [[nodiscard]] std::size_t pane() const noexcept { return step_ / rows_per_pane_ % panes_; }
  [[nodiscard]] bool opens_pane() const noexcept { return step_ % rows_per_pane_ == 0; }
  [[nodiscard]] std::size_t block_size(std::size_t begin) const noexcept {
    return std::min(block, options_.columns - begin);
  }

  /// The oldest pane leaves the window, where slide() does not see to it.
  void open_pane() noexcept {
    if (rows_per_pane_ == 1 || !opens_pane()) return;
    std::uint16_t* oldest = ring_.row(pane());
    for (std::size_t s = 0; s < options_.columns; ++s) {
      if (options_.fusion == Fusion::sum) sums_.row(0)[s] -= pane_units(oldest[s]);
      oldest[s] = 0;
    }
  }

  /// Adds `count` weights from column `begin` on; the least score counts only if panes are rows.
  Value slide(const float* row, std::size_t count, std::size_t begin,
              const std::uint64_t* protected_bits) noexcept {
    std::uint16_t* newest = ring_.row(pane()) + begin;
    if (history_.rows() > 0) {
      std::transform(row, row + count, history_.row(step_ % history_.rows()) + begin, to_half_bits);
    }
    if (options_.fusion == Fusion::max) return slide_maxima(row, count, begin, protected_bits);
    std::uint32_t* sums = sums_.row(0) + begin;
    if (rows_per_pane_ == 1) return kernels::slide_sum(row, count, protected_bits, newest, sums);
    return kernels::add_to_pane(row, count, protected_bits, pane_sum_.row(0) + begin, sums);
  }

  Value slide_maxima(const float* row, std::size_t count, std::size_t begin,
                     const std::uint64_t* protected_bits) noexcept {
    std::uint16_t* newest = ring_.row(pane()) + begin;
    std::uint16_t* prefix = prefix_.row(0) + begin;
    if (rows_per_pane_ == 1) {
      const std::uint16_t* suffix = pane() + 1 < panes_ ? ring_.row(pane() + 1) + begin : nullptr;
      return kernels::slide_max(row, count, protected_bits, suffix, newest, prefix);
    }
    for (std::size_t s = 0; s < count; ++s) {
      newest[s] = std::max(newest[s], to_half_bits(row[s]));
      prefix[s] = std::max(prefix[s], newest[s]);
    }
    return 0;
  }

  /// Ends the step; a full pane is rounded (sums), and the last pane of a cycle flips (maxima).
  void close_pane() noexcept {
    const std::size_t closed = pane();
    ++step_;
    if (!opens_pane()) return;
    if (options_.fusion == Fusion::max) {
      if (closed + 1 < panes_) return;
      kernels::suffix_max(ring_.row(0), ring_.stride(), panes_, options_.columns);
      prefix_.clear();
    } else if (rows_per_pane_ > 1) {
      for (std::size_t s = 0; s < options_.columns; ++s) round_pane(closed, s);
    }
  }

  /// The pane's sum is stored as the mean of its rows in binary16, and the window's sum follows the
  /// rounding, so that the pane leaves with exactly what it brought.
  void round_pane(std::size_t index, std::size_t slot) noexcept {
    std::uint32_t& sum = pane_sum_.row(0)[slot];
    const auto mean = static_cast<double>(sum) / static_cast<double>(rows_per_pane_ << 24U);
    ring_.row(index)[slot] = to_half_bits(static_cast<float>(mean));
    sums_.row(0)[slot] += pane_units(ring_.row(index)[slot]) - sum;
    sum = 0;
  }

  [[nodiscard]] std::uint32_t pane_units(std::uint16_t mean) const noexcept {
    return half_units(mean) * static_cast<std::uint32_t>(rows_per_pane_);
  }

  /// The maxima of the old rows that are still in the window, or null if none is.
  [[nodiscard]] const std::uint16_t* suffix_row() const noexcept {
    if (step_ % (panes_ * rows_per_pane_) == 0) return ring_.row(0);  // just flipped
    const std::size_t next = (step_ - 1) / rows_per_pane_ % panes_ + 1;
    return next < panes_ ? ring_.row(next) : nullptr;
  }

  template <class WeightsAt>
  void slide_blocks(const WeightsAt& weights_at) noexcept {
    constexpr std::uint64_t none[1] = {};
    for (std::size_t begin = 0; begin < options_.columns; begin += block) {
      slide(weights_at(begin), block_size(begin), begin, none);
    }
  }

  Options options_;
  std::size_t panes_ = 1;
  std::size_t rows_per_pane_ = 1;
  std::size_t step_ = 0;               ///< rows pushed, counted from the phase
  RowMatrix<std::uint16_t> ring_;      ///< panes (rows if exact); suffix maxima once flipped
  RowMatrix<std::uint32_t> sums_;      ///< sum: over the whole window
  RowMatrix<std::uint32_t> pane_sum_;  ///< sum with panes: over the open pane
  RowMatrix<std::uint16_t> prefix_;    ///< max: over the rows since the flip
  RowMatrix<std::uint16_t> history_;   ///< the raw rows, if pop() is wanted
};

static_assert(Score<RecentWindow>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_RECENT_WINDOW_HPP
