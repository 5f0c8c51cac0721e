// SPDX-License-Identifier: Apache-2.0
// The authors' code, step for step: what each query head sees, and what stays.
#include "replay/morphkv_compat.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <functional>
#include <limits>
#include <ostream>
#include <span>
#include <vector>

#include "replay/compat_oracle.hpp"
#include "support/duel.hpp"
#include "support/errors.hpp"

namespace morphkv::testing::morphkv_compat_test { namespace {

using oracle::LogitRows;
using replay::MorphKVCompat;

struct Case {
  std::size_t capacity;
  std::size_t window;
  Fusion fusion = Fusion::sum;
  GroupFusion group_fusion = GroupFusion::max;
  std::size_t group = 1;
  double evict_after = 1;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << "capacity " << c.capacity << ", window " << c.window << ", "
       << (c.fusion == Fusion::sum ? "sum" : "max") << ", group fusion "
       << static_cast<int>(c.group_fusion) << ", group " << c.group << ", evict after "
       << c.evict_after;
}

constexpr float unseen = -std::numeric_limits<float>::infinity();

/// Logits by position in the order of columns.
std::vector<float> in_order(const LogitRows& row, std::span<const Position> columns) {
  std::vector<float> logits;
  for (const std::vector<double>& head : row) {
    for (const Position position : columns) {
      const auto index = static_cast<std::size_t>(position);
      const bool seen = position != no_position && index < head.size();
      logits.push_back(seen ? static_cast<float>(head[index]) : unseen);
    }
  }
  return logits;
}

class CompatDuel {
 public:
  CompatDuel(const Case& c, std::size_t max_tokens, bool all_equal, std::uint64_t seed)
      : group_(c.group),
        all_equal_(all_equal),
        policy_({.capacity = c.capacity,
                 .window = c.window,
                 .fusion = c.fusion,
                 .group = c.group_fusion,
                 .evict_after = c.evict_after,
                 .max_tokens = max_tokens},
                c.group),
        oracle_({.capacity = c.capacity,
                 .window = c.window,
                 .combine = c.fusion == Fusion::sum ? oracle::Combine::sum : oracle::Combine::max,
                 .fusion = c.group_fusion,
                 .evict_after = c.evict_after,
                 .group = c.group}),
        random_(seed) {}

  [[nodiscard]] const MorphKVCompat& policy() const { return policy_; }

  void block(std::size_t tokens) {
    if (tokens == 0) return;
    std::vector<LogitRows> rows;
    const Position first = next_;
    for (std::size_t t = 0; t < tokens; ++t) rows.push_back(draw(next_++));
    std::vector<Slot> slots(tokens);
    ASSERT_EQ(policy_.append_block(first, slots), Status::ok);
    for (std::size_t t = tokens - policy_.scoring_queries(tokens); t < tokens; ++t) {
      policy_.observe_query(in_order(rows[t], policy_.positions()));
    }
    oracle_.block(first, rows);
    ASSERT_EQ(kept(policy_), oracle_.kept());
  }

  void step(bool mute = false) {
    const Position position = next_++;
    ASSERT_EQ(policy_.place(position).status, Status::ok);
    oracle_.arrive(position);
    ASSERT_EQ(kept(policy_), oracle_.kept());
    for (std::size_t g = 0; g < group_; ++g) ASSERT_EQ(seen(g), oracle_.visible(g)) << "head " << g;
    if (mute) {
      oracle_.attend({});
      return;
    }
    const LogitRows row = draw(position);
    ASSERT_EQ(policy_.observe(in_order(row, policy_.positions())), Status::ok);
    oracle_.attend(row);
    ASSERT_EQ(kept(policy_), oracle_.kept());
  }

 private:
  /// Logits over all positions up to the query's own; float numbers.
  LogitRows draw(Position query) {
    LogitRows row;
    for (std::size_t g = 0; g < group_; ++g) {
      std::vector<double> logits;
      for (Position p = 0; p <= query; ++p) {
        logits.push_back(all_equal_ ? 0.5 : static_cast<double>(3 * random_.normal()));
      }
      row.push_back(std::move(logits));
    }
    return row;
  }

  [[nodiscard]] std::vector<Position> seen(std::size_t query_head) const {
    const auto bytes = policy_.visible(query_head);
    std::vector<Position> positions;
    for (std::size_t slot = 0; slot < bytes.size(); ++slot) {
      if (bytes[slot] != 0) positions.push_back(policy_.positions()[slot]);
    }
    std::sort(positions.begin(), positions.end());
    return positions;
  }

  std::size_t group_;
  bool all_equal_;
  MorphKVCompat policy_;
  oracle::CompatOracle oracle_;
  Random random_;
  Position next_ = 0;
};

class MorphKVCompatTest : public ::testing::TestWithParam<Case> {};

TEST_P(MorphKVCompatTest, EqualsTheAuthorsStepForStep) {
  const Case& c = GetParam();
  for (const std::size_t prompt :
       {std::size_t{0}, std::size_t{1}, c.window, c.capacity, c.capacity + 1, 2 * c.capacity + 5}) {
    for (const bool all_equal : {false, true}) {
      SCOPED_TRACE(::testing::Message() << "prompt " << prompt << ", all equal " << all_equal);
      CompatDuel duel(c, prompt + 1, all_equal, prompt);
      duel.block(prompt);
      for (std::size_t s = 0; s < 5 * c.capacity; ++s) {
        duel.step();
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(MorphKVCompatTest, SeveralTurns) {
  CompatDuel duel(GetParam(), GetParam().capacity + 40, false, 3);
  for (const std::size_t turn : {3U, 8U, 1U, 12U}) {
    duel.block(turn);
    for (std::size_t s = 0; s < 2 * GetParam().capacity; ++s) duel.step();
    if (HasFailure()) return;
  }
}

TEST_P(MorphKVCompatTest, QueriesThatDoNotAttendScoreNothing) {
  CompatDuel duel(GetParam(), 30, false, 4);
  duel.block(20);
  for (std::size_t s = 0; s < 60; ++s) {
    duel.step(s % 3 == 0);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(All, MorphKVCompatTest,
                         ::testing::Values(Case{2, 1}, Case{3, 2}, Case{9, 1},
                                           Case{9, 1, Fusion::max},
                                           Case{12, 4, Fusion::sum, GroupFusion::max, 1},
                                           Case{12, 4, Fusion::max, GroupFusion::max, 1},
                                           Case{12, 4, Fusion::sum, GroupFusion::max, 4},
                                           Case{12, 4, Fusion::max, GroupFusion::max, 3},
                                           Case{12, 4, Fusion::sum, GroupFusion::mean, 4},
                                           Case{12, 4, Fusion::max, GroupFusion::sum, 8},
                                           Case{13, 5, Fusion::sum, GroupFusion::max, 2, 1.5},
                                           Case{13, 5, Fusion::max, GroupFusion::max, 2, 3},
                                           Case{13, 5, Fusion::sum, GroupFusion::max, 2, 1.04},
                                           Case{40, 31, Fusion::sum, GroupFusion::max, 2},
                                           Case{40, 32, Fusion::max, GroupFusion::max, 2}));

TEST(MorphKVCompat, HasTheSlotsThatItsOptionsAskFor) {
  EXPECT_EQ(MorphKVCompat({.capacity = 4, .window = 2, .max_tokens = 10}, 1).slots(), 10U);
  EXPECT_EQ(MorphKVCompat({.capacity = 4, .window = 2}, 1).slots(), 6U);
  EXPECT_EQ(MorphKVCompat({.capacity = 4, .window = 2, .evict_after = 3}, 1).slots(), 15U);
}

TEST(MorphKVCompat, ChecksItsOptionsByName) {
  const auto making = [](const MorphKVCompat::Options& options, std::size_t group) {
    return [options, group] { (void)MorphKVCompat(options, group); };
  };
  expect_refused(making({.capacity = 4, .window = 4}, 1), "capacity = 4");
  expect_refused(making({.capacity = 4, .window = 0}, 1), "window = 0");
  expect_refused(making({.capacity = 4, .window = 2}, 0), "group_size = 0");
  expect_refused(making({.capacity = 4, .window = 2, .evict_after = 0.5}, 1), "evict_after = 0.5");
}

TEST(MorphKVCompat, RefusesBadLogits) {
  MorphKVCompat policy({.capacity = 4, .window = 2}, 2);
  for (Position t = 0; t < 3; ++t) ASSERT_EQ(policy.place(t).status, Status::ok);
  std::vector<float> logits(6, 0.0F);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    logits[4] = bad;
    EXPECT_EQ(policy.observe(logits), Status::bad_row);
  }
  logits[4] = 0;
  EXPECT_EQ(policy.observe(std::span(logits).first(5)), Status::wrong_size);
  EXPECT_EQ(policy.observe(logits), Status::ok);
  EXPECT_EQ(policy.observe(logits), Status::out_of_step);
  EXPECT_EQ(policy.place(2).status, Status::position_backwards);
  std::vector<Slot> slots(2);
  EXPECT_EQ(policy.append_block(2, slots), Status::position_backwards);
  std::vector<Slot> too_many(4);
  EXPECT_EQ(policy.append_block(3, too_many), Status::full);
}

}  // namespace
}  // namespace morphkv::testing::morphkv_compat_test
