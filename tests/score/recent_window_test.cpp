// SPDX-License-Identifier: Apache-2.0
// The sliding sum and maximum against brute force.
#include "morphkv/score/recent_window.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "oracle/window_oracle.hpp"
#include "score/score_memory.hpp"
#include "support/weights.hpp"

namespace morphkv::testing::recent_window_test { namespace {

struct Case {
  std::size_t window;
  Fusion fusion;
  std::size_t panes = 0;
  std::size_t slots = 37;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << "window" << c.window << (c.fusion == Fusion::sum ? "sum" : "max") << "panes" << c.panes
       << "slots" << c.slots;
}

/// A score in units as a number.
double number(const RecentWindow& score, RecentWindow::Value value) {
  return score.fusion == Fusion::sum ? std::ldexp(static_cast<double>(value), -24)
                                     : oracle::from_half_bits(static_cast<std::uint16_t>(value));
}

/// A window and its oracle over slots whose protection changes all the time.
class WindowDuel {
 public:
  explicit WindowDuel(const Case& c)
      : score_(make_recent_window(c.window, c.panes, c.fusion)),
        cells_(score_.memory(), c.slots),
        oracle_(c.window, c.panes == 0 ? c.window : c.panes,
                c.fusion == Fusion::sum ? oracle::Combine::sum : oracle::Combine::max),
        random_(c.window + 7 * c.slots) {
    std::vector<Position>& positions = cells_.positions();
    for (std::size_t i = c.slots; i > 1; --i) {
      std::swap(positions[i - 1], positions[random_.below(i)]);
    }
  }

  [[nodiscard]] Random& random() { return random_; }

  /// A row of fewer slots than there are leaves the others as if it had been zero there.
  void push(Weights kind, std::size_t slots) {
    const std::vector<float> row = draw_weights(kind, slots, random_);
    const BitMask guard = draw_protection(slots, random_);
    const Candidates candidates{slots, guard.data(), cells_.view().positions};
    const Slot found = score_.with_row(
        cells_.view(), row_, [&](const auto& pushed) { return pushed.push_row(row, candidates); });
    oracle_.push({row.begin(), row.end()});
    ++row_;
    for (Slot slot = 0; slot < cells_.positions().size(); ++slot) {
      ASSERT_EQ(number(score_, value_of(score_, cells_.view(), row_ - 1, slot)),
                oracle_.value(slot))
          << "slot " << slot << ", row " << row_ - 1;
      ASSERT_EQ(score_.number(value_of(score_, cells_.view(), row_ - 1, slot)) * 0x1p-24,
                oracle_.value(slot));
    }
    ASSERT_EQ(found, expected_victim(slots, guard));
  }

 private:
  [[nodiscard]] Slot expected_victim(std::size_t slots, const BitMask& guard) {
    Slot best = no_slot;
    for (Slot slot = 0; slot < slots; ++slot) {
      if (guard.test(slot)) continue;
      const double difference = best == no_slot ? -1 : oracle_.value(slot) - oracle_.value(best);
      const auto& positions = cells_.positions();
      if (difference < 0 || (difference == 0 && positions[slot] < positions[best])) best = slot;
    }
    return best;
  }

  RecentWindow score_;
  ScoreCells cells_;
  oracle::WindowOracle oracle_;
  Random random_;
  std::uint32_t row_ = 0;
};

class RecentWindowTest : public ::testing::TestWithParam<Case> {};

TEST_P(RecentWindowTest, EqualsBruteForce) {
  const std::size_t slots = GetParam().slots;
  for (const Weights kind : all_weights) {
    SCOPED_TRACE(kind);
    WindowDuel duel(GetParam());
    const std::size_t rows = std::max<std::size_t>(3 * GetParam().window + 20, 100);
    for (std::size_t row = 0; row < rows; ++row) {
      // Rows grow as slots are taken, and are full from then on.
      duel.push(kind, std::min(slots, 1 + row / 2));
      if (HasFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Exact, RecentWindowTest,
    ::testing::Values(Case{1, Fusion::sum}, Case{1, Fusion::max}, Case{2, Fusion::sum},
                      Case{2, Fusion::max}, Case{3, Fusion::sum, 3}, Case{3, Fusion::max, 3},
                      Case{4, Fusion::max}, Case{5, Fusion::max}, Case{31, Fusion::sum},
                      Case{31, Fusion::max}, Case{32, Fusion::sum}, Case{32, Fusion::max},
                      Case{200, Fusion::sum}, Case{200, Fusion::max}, Case{255, Fusion::sum},
                      Case{255, Fusion::max}, Case{300, Fusion::max}, Case{5, Fusion::sum, 0, 1},
                      Case{5, Fusion::max, 0, 1}, Case{7, Fusion::sum, 0, 129},
                      Case{7, Fusion::max, 0, 129}, Case{4, Fusion::sum, 0, 1025},
                      Case{4, Fusion::max, 0, 1025}));

INSTANTIATE_TEST_SUITE_P(Panes, RecentWindowTest,
                         ::testing::Values(Case{8, Fusion::sum, 4}, Case{8, Fusion::max, 4},
                                           Case{8, Fusion::sum, 1}, Case{8, Fusion::max, 1},
                                           Case{8, Fusion::sum, 2}, Case{8, Fusion::max, 2},
                                           Case{9, Fusion::sum, 3}, Case{9, Fusion::max, 3},
                                           Case{20, Fusion::max, 5}, Case{200, Fusion::sum, 8},
                                           Case{200, Fusion::max, 8}, Case{12, Fusion::sum, 3},
                                           Case{12, Fusion::max, 3}));

TEST(RecentWindowSum, IsExactForeverAtItsLimits) {
  const RecentWindow score = make_recent_window(255, 0, Fusion::sum);
  ScoreCells cells(score.memory(), 2);
  std::uint32_t row = 0;
  for (; row < 100'000; ++row) push(score, cells.view(), row, {max_weight, 0x1p-24F});
  EXPECT_EQ(number(score, value_of(score, cells.view(), row, 0)),
            255 * oracle::round_to_half(double{max_weight}));
  EXPECT_EQ(number(score, value_of(score, cells.view(), row, 1)), std::ldexp(255, -24));
  for (int zeros = 0; zeros < 255; ++zeros) push(score, cells.view(), row++, {0.0F, 0.0F});
  EXPECT_EQ(value_of(score, cells.view(), row, 0), 0U);
  EXPECT_EQ(value_of(score, cells.view(), row, 1), 0U);
}

TEST(RecentWindowMemory, IsAsDocumented) {
  struct Expected {
    std::size_t window;
    std::size_t panes;
    Fusion fusion;
    std::size_t bytes;   ///< per slot
    std::size_t scores;  ///< of these, what is no row of the window
  };
  for (const Expected& e :
       {Expected{8, 8, Fusion::sum, 2 * 8 + 4, 4}, Expected{8, 4, Fusion::sum, 4 * 4 + 4, 4},
        Expected{8, 8, Fusion::max, 2 * 8 + 4, 4}, Expected{9, 3, Fusion::max, 2 * 3 + 4 + 2, 4}}) {
    const RecentWindow score = make_recent_window(e.window, e.panes, e.fusion);
    EXPECT_EQ(score.memory().bytes(1), e.bytes);
    EXPECT_EQ(score.window_memory().bytes(1), e.bytes - e.scores);
  }
}

}  // namespace
}  // namespace morphkv::testing::recent_window_test
