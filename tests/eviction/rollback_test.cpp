// SPDX-License-Identifier: Apache-2.0
// Tokens that are taken back have never come: a policy that rolled back equals one that saw only
// what is left, byte for byte, and goes on like it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "support/allocation_counter.hpp"
#include "support/contenders.hpp"
#include "support/counted_new.hpp"
#include "support/duel.hpp"

namespace morphkv::testing::rollback_test { namespace {

/// A token that came alone, or a block.
struct Event {
  Position first = 0;
  std::vector<oracle::Row> rows;  ///< of a block's tokens; of a single token, none if it is mute
  bool block = false;

  [[nodiscard]] std::size_t tokens() const { return block ? rows.size() : 1; }
};

template <class Policy>
void play(Policy& policy, const Event& event) {
  if (event.block) {
    ASSERT_EQ(append_block(policy, event.first, event.rows), Status::ok);
    return;
  }
  ASSERT_EQ(policy.place(event.first).status, Status::ok);
  if (event.rows.empty()) return;
  ASSERT_EQ(policy.observe(in_slot_order(event.rows[0], policy.positions())), Status::ok);
}

template <class Contender>
class Rollback : public ::testing::Test {
 protected:
  using Policy = typename Contender::Policy;

  /// Everything from the beginning, for a policy without a history.
  [[nodiscard]] Policy replayed() const {
    Setting without = setting_;
    without.history = 0;
    Policy policy(Contender::options(without));
    for (const Event& event : events_) play(policy, event);
    return policy;
  }

  void expect_equal(const Policy& policy) const {
    const Policy expected = replayed();
    ASSERT_TRUE(std::ranges::equal(policy.state_bytes(), expected.state_bytes()));
  }

  [[nodiscard]] Event draw_event(const Policy& policy, bool block, std::size_t tokens) {
    Event event{policy.newest() + 1 + static_cast<Position>(random_.below(2)), {}, block};
    std::vector<Position> seen = kept(policy);
    for (std::size_t t = 0; t < tokens; ++t) {
      seen.push_back(event.first + static_cast<Position>(t));
      if (!block && random_.chance(0.1)) break;
      event.rows.push_back(draw_row(Weights::grid, seen, random_));
    }
    return event;
  }

  /// The script without its newest `count` tokens.
  void forget(std::size_t count) {
    while (count > 0) {
      Event& last = events_.back();
      const std::size_t gone = std::min(count, last.tokens());
      count -= gone;
      if (gone == last.tokens()) {
        events_.pop_back();
      } else {
        last.rows.resize(last.rows.size() - gone);
      }
    }
  }

  Setting setting_{.capacity = 14, .window = 5, .sinks = 2, .max_tokens = 3000, .history = 6};
  std::vector<Event> events_;
  testing::Random random_{11};
};

TYPED_TEST_SUITE(Rollback, AllContenders);

TYPED_TEST(Rollback, EqualsAPolicyThatNeverSawTheTokens) {
  typename TypeParam::Policy policy(TypeParam::options(this->setting_));
  for (int round = 0; round < 150; ++round) {
    SCOPED_TRACE(::testing::Message() << "round " << round);
    // Blocks short and long, single tokens, and then some of them taken back.
    if (this->random_.chance(0.5)) {
      const std::size_t tokens = 1 + this->random_.below(this->random_.chance(0.1) ? 30 : 6);
      this->events_.push_back(this->draw_event(policy, true, tokens));
      play(policy, this->events_.back());
    }
    for (std::size_t step = this->random_.below(8); step > 0; --step) {
      this->events_.push_back(this->draw_event(policy, false, 1));
      play(policy, this->events_.back());
    }
    if (this->HasFailure()) return;
    ASSERT_LE(policy.recorded(), this->setting_.history);
    const std::size_t count = this->random_.below(policy.recorded() + 1);
    ASSERT_GE(policy.undone_by(count), count);
    const std::size_t again = policy.undone_by(count) - count;
    const std::span<const Slot> slots = policy.rollback(count);
    this->forget(count);
    ASSERT_EQ(slots.size(), count > 0 ? again : 0U);
    for (std::size_t t = 0; t < slots.size(); ++t) {
      if (slots[t] == no_slot) continue;
      ASSERT_EQ(policy.positions()[slots[t]],
                this->events_.back().first + static_cast<Position>(t));
    }
    this->expect_equal(policy);
    if (this->HasFailure()) return;
  }
}

TYPED_TEST(Rollback, ReachesBackAWholeHistoryOfSteps) {
  typename TypeParam::Policy policy(TypeParam::options(this->setting_));
  for (std::size_t step = 0; step < 60; ++step) {
    this->events_.push_back(this->draw_event(policy, false, 1));
    play(policy, this->events_.back());
    ASSERT_EQ(policy.recorded(), std::min(step + 1, this->setting_.history));
  }
  (void)policy.rollback(policy.recorded());
  this->forget(this->setting_.history);
  this->expect_equal(policy);
  EXPECT_EQ(policy.recorded(), 0U);
}

TYPED_TEST(Rollback, AllocatesNothing) {
  typename TypeParam::Policy policy(TypeParam::options(this->setting_));
  for (int round = 0; round < 8; ++round) {
    this->events_.push_back(this->draw_event(policy, true, 5));
    play(policy, this->events_.back());
    const std::size_t before = allocations.count;
    ASSERT_GT(before, 0U) << "allocations are not counted";
    (void)policy.rollback(static_cast<std::size_t>(round) % 5 + 1);
    EXPECT_EQ(allocations.count.load(), before);
    this->forget(static_cast<std::size_t>(round) % 5 + 1);
  }
}

TYPED_TEST(Rollback, AResetForgetsWhatWasRecorded) {
  typename TypeParam::Policy policy(TypeParam::options(this->setting_));
  for (int step = 0; step < 20; ++step) {
    this->events_.push_back(this->draw_event(policy, false, 1));
    play(policy, this->events_.back());
  }
  policy.reset();
  this->events_.clear();
  EXPECT_EQ(policy.recorded(), 0U);
  this->expect_equal(policy);
  for (int step = 0; step < 3; ++step) {
    this->events_.push_back(this->draw_event(policy, false, 1));
    play(policy, this->events_.back());
  }
  (void)policy.rollback(2);
  this->forget(2);
  this->expect_equal(policy);
}

TEST(RollbackOfTokens, ARefusedTokenIsNotRecorded) {
  MorphKV policy({.capacity = 12, .window = 4, .history = 3});
  for (Position position = 0; position < 20; ++position) {
    ASSERT_EQ(policy.place(position).status, Status::ok);
    ASSERT_EQ(policy.observe(std::vector<float>(policy.size(), 0.25F)), Status::ok);
  }
  const MorphKV before = policy;
  EXPECT_EQ(policy.place(3).status, Status::position_backwards);
  EXPECT_EQ(policy.place(max_position + 1).status, Status::position_too_large);
  EXPECT_EQ(policy.recorded(), 3U);
  MorphKV expected = before;
  (void)expected.rollback(2);
  (void)policy.rollback(2);
  EXPECT_TRUE(std::ranges::equal(policy.state_bytes(), expected.state_bytes()));
}

/// A block without tokens is a block: what came before it cannot be taken back.
TEST(RollbackOfTokens, ABlockOfNoTokensEndsTheHistory) {
  for (const std::size_t history : {0U, 3U}) {
    MorphKV policy({.capacity = 12, .window = 4, .history = history});
    for (Position position = 0; position < 20; ++position) {
      ASSERT_EQ(policy.place(position).status, Status::ok);
      ASSERT_EQ(policy.observe(std::vector<float>(policy.size(), 0.25F)), Status::ok);
    }
    const std::vector<Position> before = kept(policy);
    ASSERT_EQ(append_block(policy, 20, {}), Status::ok);
    EXPECT_EQ(kept(policy), before);
    EXPECT_EQ(policy.newest(), 19);
    EXPECT_EQ(policy.recorded(), 0U);
  }
}

TEST(RollbackOfTokens, AnAssignedPolicyHasTheMemoryOfTheOther) {
  MorphKV policy({.capacity = 12, .window = 4, .history = 2});
  MorphKV other({.capacity = 30, .window = 4, .history = 20});
  policy = other;
  EXPECT_EQ(policy.memory(), other.memory());
  ASSERT_EQ(append_block(policy, 0, std::vector<oracle::Row>(20)), Status::ok);
  const std::size_t before = allocations.count;
  (void)policy.rollback(1);
  EXPECT_EQ(allocations.count.load(), before);
}

TEST(RollbackOfTokens, AHistoryCountsAllItsBytes) {
  const auto uncounted = [](std::size_t history) {
    const std::size_t before = allocations.live;
    const MorphKV policy({.capacity = 12, .window = 4, .history = history});
    return allocations.live - before - policy.memory().total();
  };
  EXPECT_EQ(uncounted(200), uncounted(8));
}

}  // namespace
}  // namespace morphkv::testing::rollback_test
