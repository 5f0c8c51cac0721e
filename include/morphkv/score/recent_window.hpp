// SPDX-License-Identifier: Apache-2.0
/// \file
/// The recent window: the sum or the maximum of the last R attention rows, for every slot, exact
/// and in constant time per slot and row (MorphKV, arXiv 2503.00979, section 3).
///
/// Weights are rounded to IEEE binary16. Sums are integers in units of 2^-24, so they never drift
/// and are the same on every machine; maxima compare the 16-bit patterns.
///
/// A slot's column is not cleared when a new token overwrites its token: a policy must protect a
/// new token for R rows, as MorphKV does; by then the window holds the new token's weights alone.
#ifndef MORPHKV_SCORE_RECENT_WINDOW_HPP
#define MORPHKV_SCORE_RECENT_WINDOW_HPP

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "morphkv/core/error.hpp"
#include "morphkv/core/weight_units.hpp"
#include "morphkv/kernels/prefetch_hint.hpp"
#include "morphkv/kernels/scores.hpp"
#include "morphkv/score/score.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// The last `window` rows, as `panes` partial results of window / panes rows each. With as many
/// panes as rows the window is exact. With fewer it weighs less, and covers between
/// window - window / panes + 1 and `window` rows: the pane that is being filled and those before
/// it.
///
/// Memory per slot, with P panes: sum 2 P + 4 bytes where exact, else 4 P + 4; max 2 P + 4, and 2
/// more where P is odd.
struct RecentWindow {
  using Value = std::uint32_t;  ///< units of 2^-24 for sums, a binary16 pattern for maxima

  std::uint32_t window = 32;  ///< R; at most 255 with Fusion::sum, the limit of its 32-bit sums
  std::uint32_t panes = 32;   ///< a divisor of window
  Fusion fusion = Fusion::sum;

  struct ExactSum;
  struct PaneSum;
  class Maximum;

  [[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t rows_per_pane() const noexcept {
    return window / panes;
  }
  /// Panes of one of the two blocks of a maximum; see Maximum.
  [[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t block_panes() const noexcept {
    return (panes + 1) / 2;
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE double number(Value value) const noexcept {
    return fusion == Fusion::sum ? value : half_units(static_cast<std::uint16_t>(value));
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE constexpr ScoreMemory memory() const noexcept {
    if (fusion == Fusion::max) return {.rows16 = 2 * block_panes() + 2};
    if (panes == window) return {.rows32 = 1, .rows16 = window};
    return {.rows32 = panes + 1};
  }
  /// Of that, the rows of the window.
  [[nodiscard]] constexpr ScoreMemory window_memory() const noexcept {
    if (fusion == Fusion::max) return {.rows16 = 2 * block_panes()};
    if (panes == window) return {.rows16 = window};
    return {.rows32 = panes};
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE constexpr std::uint32_t scoring_queries() const noexcept {
    return window;
  }
  MORPHKV_CALLS_FUNCTION
  template <class Function>
  MORPHKV_HOST_DEVICE auto with_row(const ScoreView& view, std::uint32_t rows,
                                    const Function& function) const;
  MORPHKV_HOST_DEVICE void start(const ScoreView&, Slot, std::uint32_t) const noexcept {}

  /// The same score over another window. \throws std::invalid_argument as make_recent_window
  [[nodiscard]] RecentWindow with_window(std::size_t window, std::size_t panes) const;

  // A window that goes on from another one, `from`, which has seen `rows` rows: it begins with as
  // many equal rows as resumed_rows() says, whose sum or maximum is that of `from`, or the part of
  // the sum that fits where `from` was longer.
  [[nodiscard]] std::uint32_t resumed_rows(const RecentWindow& from,
                                           std::uint32_t rows) const noexcept {
    const std::uint32_t most =
        fusion == Fusion::max ? 1 : (from.window < window ? from.window : window);
    return rows < most ? rows : most;
  }
  /// Begins a slot of zeros. \param source where its token lies in `old`
  void resume(const ScoreView& view, Slot slot, const RecentWindow& from, const ScoreView& old,
              Slot source, std::uint32_t rows) const noexcept;
};

/// \throws std::invalid_argument if window is 0, above 255 with Fusion::sum, or not a multiple of
///         panes; 0 panes means as many as rows.
[[nodiscard]] inline RecentWindow make_recent_window(std::size_t window, std::size_t panes,
                                                     Fusion fusion) {
  constexpr std::size_t max_window = 1U << 20U;
  require(window > 0 && window <= max_window, "window", window,
          "from 1 to " + std::to_string(max_window));
  require(fusion == Fusion::max || window <= 255, "window", window, "at most 255 with Fusion::sum");
  require(panes == 0 || (panes <= window && window % panes == 0), "panes", panes,
          "0 or a divisor of window = " + std::to_string(window));
  return {.window = static_cast<std::uint32_t>(window),
          .panes = static_cast<std::uint32_t>(panes == 0 ? window : panes),
          .fusion = fusion};
}

/// sum += row - (the row that leaves the window); 12 bytes per slot pass through memory.
struct RecentWindow::ExactSum {
  using Value = RecentWindow::Value;
  struct Fetched {
    Value sum;
    std::uint16_t oldest;
  };
  std::uint16_t* oldest;  ///< the row that leaves
  Value* sums;

  [[nodiscard]] MORPHKV_HOST_DEVICE Fetched fetch(Slot slot) const noexcept {
    return {sums[slot], oldest[slot]};
  }
  MORPHKV_HOST_DEVICE Value push(Slot slot, float weight, const Fetched& before) const noexcept {
    const std::uint16_t bits = to_half_bits(weight);
    const Value sum = before.sum + half_units(bits) - half_units(before.oldest);
    oldest[slot] = bits;
    sums[slot] = sum;
    return sum;
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE Value value(Slot slot) const noexcept { return sums[slot]; }
  /// What a row reads and writes.
  [[nodiscard]] kernels::PrefetchHints prefetch_hints(std::size_t slots) const noexcept {
    return {{{oldest, slots * sizeof *oldest}, {sums, slots * sizeof *sums}}};
  }
  Slot push_row(std::span<const float> row, const Candidates& c) const noexcept {
    const Value lowest = kernels::slide_sum(row, c.protected_bits, oldest, sums);
    return kernels::oldest_with(lowest, sums, c);
  }
};

/// The same, where a pane of several rows leaves at once: when the next pane opens in its place.
struct RecentWindow::PaneSum {
  using Value = RecentWindow::Value;
  struct Fetched {
    Value sum;
    Value pane;
  };
  Value* pane;  ///< that is being filled
  Value* sums;
  bool opens;  ///< the pane

  [[nodiscard]] MORPHKV_HOST_DEVICE Fetched fetch(Slot slot) const noexcept {
    return {sums[slot], pane[slot]};
  }
  MORPHKV_HOST_DEVICE Value push(Slot slot, float weight, const Fetched& before) const noexcept {
    const Value units = half_units(to_half_bits(weight));
    const Value leaving = opens ? before.pane : 0;
    pane[slot] = before.pane - leaving + units;
    return sums[slot] = before.sum - leaving + units;
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE Value value(Slot slot) const noexcept { return sums[slot]; }
  /// What a row reads and writes.
  [[nodiscard]] kernels::PrefetchHints prefetch_hints(std::size_t slots) const noexcept {
    return {{{pane, slots * sizeof *pane}, {sums, slots * sizeof *sums}}};
  }
  Slot push_row(std::span<const float> row, const Candidates& c) const noexcept {
    if (opens) {
      for (std::size_t s = 0; s < row.size(); ++s) {
        sums[s] -= pane[s];
        pane[s] = 0;
      }
    }
    const Value lowest = kernels::add_to_pane(row, c.protected_bits, pane, sums);
    return kernels::oldest_with(lowest, sums, c);
  }
};

/// The maximum over the panes of the window, in constant time and without a step that costs more
/// than the others.
///
/// Panes come in blocks of B = ceil(P / 2), kept in two of them in turn. The window spans the block
/// that is being filled, all or the end of the one before (the middle block), and at first the end
/// of the one before that (the old block), whose panes the new ones overwrite. A block that is
/// complete has its maximum, which its panes built up as they came; of the end of a block, suffix
/// maxima are needed. They are built in place, one pane for each that comes, from the end of the
/// middle block, so that they are ready when it is the old block.
class RecentWindow::Maximum {
 public:
  using Value = RecentWindow::Value;
  struct Fetched {
    std::uint16_t newest;
    std::uint16_t prefix;
    std::uint16_t others;  ///< of the middle and the old block
    std::uint16_t suffix;
  };

  MORPHKV_HOST_DEVICE Maximum(const RecentWindow& score, const ScoreView& view,
                              std::uint32_t rows) noexcept {
    const std::uint32_t pane = rows / score.rows_per_pane();
    const std::uint32_t block = score.block_panes();
    const std::uint32_t step = pane % block;
    const std::uint32_t parity = pane / block % 2;
    const auto pane_row = [&](std::uint32_t which, std::uint32_t index) {
      return view.row16(std::size_t{which} * block + index);
    };
    const auto maxima = [&](std::uint32_t which) { return view.row16(2 * block + which); };
    const bool opens_pane = rows % score.rows_per_pane() == 0;
    rows_.opens_pane = opens_pane;
    rows_.opens_block = opens_pane && step == 0;
    rows_.newest = pane_row(parity, step);
    rows_.prefix = maxima(parity);
    const std::uint32_t others = score.panes - (step + 1);  // panes of the other two blocks
    const std::uint32_t old_panes = others > block ? others - block : 0;
    if (others >= block) rows_.middle = maxima(1 - parity);
    if (others > 0 && others < block) rows_.middle = pane_row(1 - parity, block - others);
    if (old_panes > 0) rows_.old = pane_row(parity, block - old_panes);
    if (opens_pane && step > 0) {
      rows_.suffix = pane_row(1 - parity, block - 1 - step);
      rows_.next_suffix = pane_row(1 - parity, block - step);
    }
  }

  [[nodiscard]] MORPHKV_HOST_DEVICE Fetched fetch(Slot slot) const noexcept {
    return {rows_.opens_pane ? std::uint16_t{0} : rows_.newest[slot],
            rows_.opens_block ? std::uint16_t{0} : rows_.prefix[slot],
            max(at(rows_.middle, slot), at(rows_.old, slot)),
            max(at(rows_.suffix, slot), at(rows_.next_suffix, slot))};
  }
  MORPHKV_HOST_DEVICE Value push(Slot slot, float weight, const Fetched& before) const noexcept {
    const std::uint16_t bits = to_half_bits(weight);
    const std::uint16_t prefix = max(before.prefix, bits);
    if (rows_.suffix != nullptr) rows_.suffix[slot] = before.suffix;
    rows_.newest[slot] = max(before.newest, bits);
    rows_.prefix[slot] = prefix;
    return max(prefix, before.others);
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE Value value(Slot slot) const noexcept {
    return max(rows_.prefix[slot], max(at(rows_.middle, slot), at(rows_.old, slot)));
  }
  /// What a row reads and writes, but for the smallest part.
  [[nodiscard]] kernels::PrefetchHints prefetch_hints(std::size_t slots) const noexcept {
    const std::size_t bytes = slots * sizeof(std::uint16_t);
    return {{{rows_.newest, bytes},
             {rows_.prefix, bytes},
             {rows_.middle, bytes},
             {rows_.old == nullptr ? rows_.suffix : rows_.old, bytes}}};
  }
  Slot push_row(std::span<const float> row, const Candidates& c) const noexcept {
    const std::uint16_t lowest = kernels::slide_max(row, c.protected_bits, rows_);
    const auto* prefix = rows_.prefix;
    const kernels::Maxima maxima{prefix, rows_.middle == nullptr ? prefix : rows_.middle,
                                 rows_.old == nullptr ? prefix : rows_.old};
    return kernels::oldest_with(lowest, maxima, c);
  }

 private:
  [[nodiscard]] MORPHKV_HOST_DEVICE static std::uint16_t at(const std::uint16_t* row,
                                                            Slot slot) noexcept {
    return row == nullptr ? std::uint16_t{0} : row[slot];
  }
  [[nodiscard]] MORPHKV_HOST_DEVICE static std::uint16_t max(std::uint16_t a,
                                                             std::uint16_t b) noexcept {
    return a < b ? b : a;
  }

  kernels::MaxWindowRows rows_;
};

MORPHKV_CALLS_FUNCTION
template <class Function>
MORPHKV_HOST_DEVICE auto RecentWindow::with_row(const ScoreView& view, std::uint32_t rows,
                                                const Function& function) const {
  if (fusion == Fusion::max) return function(Maximum(*this, view, rows));
  if (panes == window) return function(ExactSum{view.row16(rows % window), view.row32(0)});
  const std::uint32_t pane = rows / rows_per_pane() % panes;
  return function(PaneSum{view.row32(1 + pane), view.row32(0), rows % rows_per_pane() == 0});
}

inline RecentWindow RecentWindow::with_window(std::size_t length, std::size_t parts) const {
  return make_recent_window(length, parts, fusion);
}

inline void RecentWindow::resume(const ScoreView& view, Slot slot, const RecentWindow& from,
                                 const ScoreView& old, Slot source,
                                 std::uint32_t rows) const noexcept {
  float weight = 0;
  (void)from.with_row(old, newest_row(rows), [&](const auto& row) {
    const std::uint32_t seen = rows < from.window ? rows : from.window;
    const double equal_rows = fusion == Fusion::max || seen == 0 ? 1 : seen;
    weight = static_cast<float>(from.number(row.value(source)) * 0x1p-24 / equal_rows);
    return no_slot;
  });
  for (std::uint32_t r = 0; r < resumed_rows(from, rows); ++r) {
    (void)with_row(view, r, [&](const auto& row) {
      (void)row.push(slot, weight, row.fetch(slot));
      return no_slot;
    });
  }
}

static_assert(Score<RecentWindow>);

}}  // namespace morphkv::v0

#endif  // MORPHKV_SCORE_RECENT_WINDOW_HPP
