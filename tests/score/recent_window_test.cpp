// SPDX-License-Identifier: Apache-2.0
// The sliding sum and maximum against brute force.
#include "morphkv/score/recent_window.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <vector>

#include "morphkv/kernels/row_check.hpp"
#include "oracle/window_oracle.hpp"
#include "support/weights.hpp"

namespace morphkv::testing::recent_window_test {
namespace {

struct Case {
  std::size_t rows;
  Fusion fusion;
  std::size_t panes = 0;
  std::size_t history = 0;
  std::size_t phase = 0;
  std::size_t columns = 37;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << "rows" << c.rows << (c.fusion == Fusion::sum ? "sum" : "max") << "panes" << c.panes
       << "history" << c.history << "phase" << c.phase << "columns" << c.columns;
}

/// A window and its oracle over slots whose protection changes all the time.
class WindowDuel {
 public:
  explicit WindowDuel(const Case& c)
      : window_({.columns = c.columns,
                 .rows = c.rows,
                 .fusion = c.fusion,
                 .panes = c.panes,
                 .history = c.history,
                 .phase = c.phase}),
        oracle_(c.rows, c.panes == 0 ? c.rows : c.panes,
                c.fusion == Fusion::sum ? oracle::Combine::sum : oracle::Combine::max),
        positions_(c.columns),
        protected_(c.columns),
        random_(c.rows + 7 * c.columns) {
    std::iota(positions_.begin(), positions_.end(), 100);
    for (std::size_t i = c.columns; i > 1; --i) {
      std::swap(positions_[i - 1], positions_[random_.below(i)]);
    }
  }

  [[nodiscard]] RecentWindow& window() { return window_; }
  [[nodiscard]] Random& random() { return random_; }

  void push(Weights kind, std::size_t columns) {
    std::vector<float> row(columns);
    for (float& weight : row) weight = draw_weight(kind, random_);
    shuffle_protection(columns);
    const Candidates candidates{columns, protected_.data(), positions_.data()};
    const Slot found = window_.push(row, candidates);
    oracle_.push({row.begin(), row.end()});
    compare();
    ASSERT_EQ(found, expected_victim(columns));
    ASSERT_EQ(window_.least(candidates), found);
  }
  void skip() {
    window_.skip();
    oracle_.push({});
    compare();
  }
  void pop(std::size_t count) {
    window_.pop(count);
    oracle_.pop(count);
    compare();
  }

  void compare() const { compare(window_); }
  void compare(const RecentWindow& window) const {
    for (Slot slot = 0; slot < positions_.size(); ++slot) {
      ASSERT_EQ(number(window, window.value(slot)), oracle_.value(slot)) << "slot " << slot;
    }
    std::vector<RecentWindow::Value> values(positions_.size());
    window.values(positions_, values);
    for (Slot slot = 0; slot < positions_.size(); ++slot) {
      ASSERT_EQ(values[slot], window.value(slot));
    }
  }

  [[nodiscard]] static double number(const RecentWindow& window, RecentWindow::Value value) {
    return window.fusion() == Fusion::sum
               ? std::ldexp(static_cast<double>(value), -24)
               : static_cast<double>(from_half_bits(static_cast<std::uint16_t>(value)));
  }

 private:
  void shuffle_protection(std::size_t columns) {
    protected_.clear();
    const bool all = random_.chance(0.05);
    for (std::size_t slot = 0; slot < columns; ++slot) {
      if (all || random_.chance(0.4)) protected_.set(slot);
    }
  }

  [[nodiscard]] Slot expected_victim(std::size_t columns) const {
    Slot best = no_slot;
    for (Slot slot = 0; slot < columns; ++slot) {
      if (protected_.test(slot)) continue;
      const double difference = best == no_slot ? -1 : oracle_.value(slot) - oracle_.value(best);
      if (difference < 0 || (difference == 0 && positions_[slot] < positions_[best])) best = slot;
    }
    return best;
  }

  RecentWindow window_;
  oracle::WindowOracle oracle_;
  std::vector<Position> positions_;
  BitMask protected_;
  Random random_;
};

class RecentWindowTest : public ::testing::TestWithParam<Case> {};

TEST_P(RecentWindowTest, EqualsBruteForce) {
  const std::size_t columns = GetParam().columns;
  for (const Weights kind : all_weights) {
    SCOPED_TRACE(kind);
    WindowDuel duel(GetParam());
    const std::size_t steps = std::max<std::size_t>(3 * GetParam().rows + 20, 100);
    for (std::size_t step = 0; step < steps; ++step) {
      // Rows grow as slots are taken, and are full from then on.
      const std::size_t used = std::min(columns, 1 + step / 2);
      duel.random().chance(0.05) ? duel.skip() : duel.push(kind, used);
      if (HasFailure()) return;
    }
  }
}

TEST_P(RecentWindowTest, ClearedEqualsFresh) {
  WindowDuel used(GetParam());
  for (std::size_t step = 0; step < 2 * GetParam().rows + 3; ++step) {
    used.push(Weights::grid, GetParam().columns);
  }
  used.window().clear();
  WindowDuel fresh(GetParam());
  fresh.compare(used.window());
  for (std::size_t step = 0; step < 2 * GetParam().rows + 3; ++step) {
    std::vector<float> row(GetParam().columns);
    for (float& weight : row) weight = draw_weight(Weights::grid, used.random());
    const BitMask none(row.size());
    const std::vector<Position> positions(row.size());
    const Candidates candidates{row.size(), none.data(), positions.data()};
    ASSERT_EQ(used.window().push(row, candidates), fresh.window().push(row, candidates));
    for (Slot slot = 0; slot < row.size(); ++slot) {
      ASSERT_EQ(used.window().value(slot), fresh.window().value(slot));
    }
  }
}

class RecentWindowHistoryTest : public ::testing::TestWithParam<Case> {};

TEST_P(RecentWindowHistoryTest, TakesRowsBackExactly) {
  const std::size_t history = GetParam().history;
  WindowDuel duel(GetParam());
  std::size_t recorded = 0;
  for (int round = 0; round < 120; ++round) {
    const std::size_t rows = duel.random().below(GetParam().rows + 3);
    for (std::size_t r = 0; r < rows; ++r) {
      duel.random().chance(0.1) ? duel.skip() : duel.push(Weights::grid, GetParam().columns);
    }
    recorded = std::min(history, recorded + rows);
    const std::size_t back = duel.random().below(recorded + 1);
    duel.pop(back);
    recorded -= back;
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Exact, RecentWindowTest,
    ::testing::Values(Case{1, Fusion::sum}, Case{1, Fusion::max}, Case{2, Fusion::sum},
                      Case{2, Fusion::max}, Case{3, Fusion::sum, 3}, Case{3, Fusion::max, 3},
                      Case{31, Fusion::sum}, Case{31, Fusion::max}, Case{32, Fusion::sum},
                      Case{32, Fusion::max}, Case{200, Fusion::sum}, Case{200, Fusion::max},
                      Case{255, Fusion::sum}, Case{255, Fusion::max}, Case{300, Fusion::max},
                      Case{5, Fusion::sum, 0, 0, 0, 1}, Case{5, Fusion::max, 0, 0, 0, 1},
                      Case{7, Fusion::sum, 0, 0, 0, 129}, Case{7, Fusion::max, 0, 0, 0, 129},
                      Case{4, Fusion::sum, 0, 0, 0, 1025}, Case{4, Fusion::max, 0, 0, 0, 1025}));

/// The phase shifts the work, not the result.
INSTANTIATE_TEST_SUITE_P(
    Phases, RecentWindowTest,
    ::testing::Values(Case{5, Fusion::max, 0, 0, 1}, Case{5, Fusion::max, 0, 0, 4},
                      Case{5, Fusion::max, 0, 0, 5}, Case{5, Fusion::max, 0, 3, 13},
                      Case{5, Fusion::sum, 0, 3, 2}, Case{1, Fusion::max, 0, 1, 9}));

INSTANTIATE_TEST_SUITE_P(Panes, RecentWindowTest,
                         ::testing::Values(Case{8, Fusion::sum, 4}, Case{8, Fusion::max, 4},
                                           Case{8, Fusion::sum, 1}, Case{8, Fusion::max, 1},
                                           Case{9, Fusion::sum, 3}, Case{9, Fusion::max, 3},
                                           Case{200, Fusion::sum, 8}, Case{200, Fusion::max, 8},
                                           Case{12, Fusion::sum, 3, 5}, Case{12, Fusion::max, 3, 5},
                                           Case{12, Fusion::sum, 2, 20},
                                           Case{12, Fusion::max, 2, 20}));

INSTANTIATE_TEST_SUITE_P(Exact, RecentWindowHistoryTest,
                         ::testing::Values(Case{1, Fusion::sum, 0, 1}, Case{1, Fusion::max, 0, 1},
                                           Case{2, Fusion::max, 0, 4}, Case{6, Fusion::sum, 0, 4},
                                           Case{6, Fusion::max, 0, 4}, Case{6, Fusion::max, 0, 6},
                                           Case{6, Fusion::max, 0, 20}, Case{6, Fusion::sum, 0, 20},
                                           Case{31, Fusion::max, 0, 8},
                                           Case{5, Fusion::max, 0, 3, 13},
                                           Case{5, Fusion::sum, 0, 3, 2},
                                           Case{1, Fusion::max, 0, 1, 9}));

INSTANTIATE_TEST_SUITE_P(Panes, RecentWindowHistoryTest,
                         ::testing::Values(Case{12, Fusion::sum, 3, 5}, Case{12, Fusion::max, 3, 5},
                                           Case{12, Fusion::sum, 2, 20},
                                           Case{12, Fusion::max, 2, 20}, Case{8, Fusion::sum, 1, 3},
                                           Case{12, Fusion::max, 4, 7, 3},
                                           Case{12, Fusion::sum, 4, 7, 3}));

/// Remapping keeps every column's past, wherever the column goes.
TEST(RecentWindowRemap, ColumnsKeepTheirPast) {
  for (const Fusion fusion : {Fusion::sum, Fusion::max}) {
    for (const std::size_t pushed : {0U, 1U, 3U, 4U, 7U, 8U, 23U}) {
      constexpr std::size_t columns = 6;
      RecentWindow window({.columns = columns, .rows = 4, .fusion = fusion, .history = 3});
      const BitMask none(16);
      const std::vector<Position> positions(16);
      Random random(pushed);
      const auto push = [&](RecentWindow& to, const std::vector<float>& row) {
        (void)to.push(row, Candidates{row.size(), none.data(), positions.data()});
      };
      const auto draw = [&](std::size_t count) {
        std::vector<float> row(count);
        for (float& weight : row) weight = draw_weight(Weights::grid, random);
        return row;
      };
      for (std::size_t r = 0; r < pushed; ++r) push(window, draw(columns));
      const std::vector<Slot> sources{5, no_slot, 0, 0, 3};
      RecentWindow moved = window.remapped(sources, 9);
      for (int r = 0; r < 10; ++r) {
        for (Slot c = 0; c < 9; ++c) {
          const Slot source = c < sources.size() ? sources[c] : no_slot;
          ASSERT_EQ(moved.value(c), source == no_slot ? 0U : window.value(source));
        }
        std::vector<float> row = draw(columns);
        std::vector<float> other(9, 0.0F);
        for (std::size_t c = 0; c < sources.size(); ++c) {
          if (sources[c] != no_slot) other[c] = row[sources[c]];
        }
        push(window, row);
        push(moved, other);
      }
    }
  }
}

TEST(RecentWindowSum, IsExactForeverAtItsLimits) {
  RecentWindow window({.columns = 2, .rows = 255, .fusion = Fusion::sum});
  const BitMask none(2);
  const std::vector<Position> positions{0, 1};
  const std::vector<float> row{kernels::greatest_weight, 0x1p-24F};
  for (int step = 0; step < 100'000; ++step) {
    (void)window.push(row, Candidates{2, none.data(), positions.data()});
  }
  EXPECT_EQ(WindowDuel::number(window, window.value(0)),
            255 * oracle::round_to_half(double{kernels::greatest_weight}));
  EXPECT_EQ(WindowDuel::number(window, window.value(1)), std::ldexp(255, -24));
  for (int step = 0; step < 255; ++step) window.skip();
  EXPECT_EQ(window.value(0), 0U);
  EXPECT_EQ(window.value(1), 0U);
}

}  // namespace
}  // namespace morphkv::testing::recent_window_test
