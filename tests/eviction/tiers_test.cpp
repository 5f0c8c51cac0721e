// SPDX-License-Identifier: Apache-2.0
// Which token lies in which tier of a head's slots: every policy that evicts, against an oracle.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "oracle/tier_oracle.hpp"
#include "support/contenders.hpp"
#include "support/duel.hpp"

namespace morphkv::testing::tiers_test { namespace {

/// A policy whose first `hot` slots are a tier, as a cache drives it.
template <class Policy>
class TieredHead {
 public:
  TieredHead(Policy policy, std::size_t hot) : policy_(std::move(policy)), hot_(hot) {}

  [[nodiscard]] const Policy& policy() const { return policy_; }
  [[nodiscard]] std::vector<Position> cold() const {
    std::vector<Position> positions;
    for (std::size_t slot = hot_; slot < policy_.size(); ++slot) {
      if (policy_.positions()[slot] != no_position) positions.push_back(policy_.positions()[slot]);
    }
    std::sort(positions.begin(), positions.end());
    return positions;
  }

  Status place(Position position) {
    const Status status = policy_.can_place(position);
    if (status != Status::ok) return status;
    const std::vector<Position> before = slots_before(policy_.slots());
    const TokenMove move = policy_.make_hot_slot(hot_);
    if (move.from != no_slot) {
      EXPECT_LT(move.from, hot_);
      EXPECT_GE(move.to, hot_);
      EXPECT_EQ(policy_.positions()[move.to], before[move.from]);
      EXPECT_EQ(policy_.positions()[move.from], before[move.to]);
    }
    EXPECT_LT(policy_.next_slot(), hot_);
    const Placement placement = policy_.place(position);
    EXPECT_EQ(placement.slot, move.from != no_slot ? move.from : placement.slot);
    EXPECT_LT(placement.slot, hot_);
    EXPECT_EQ(policy_.positions()[placement.slot], position);
    // Whoever has not moved lies where it lay.
    for (std::size_t slot = 0; slot < policy_.size(); ++slot) {
      if (slot == move.to || slot == placement.slot) continue;
      EXPECT_EQ(policy_.positions()[slot], before[slot]);
    }
    return placement.status;
  }

  Status observe(std::span<const float> row) { return policy_.observe(row); }

  Status block(Position first, const std::vector<oracle::Row>& rows) {
    const std::vector<Position> before = slots_before(policy_.slots());
    BlockRows source(policy_.positions(), first, rows);
    auto selection = policy_.score_block(first, source.view());
    const Status status = policy_.select(selection, hot_);
    if (status != Status::ok) return status;
    policy_.commit(selection);
    std::vector<Position> expected(before.begin(),
                                   before.begin() + static_cast<std::ptrdiff_t>(policy_.size()));
    for (const TokenMove& move : selection.moves) {
      EXPECT_LT(move.from, hot_);
      EXPECT_GE(move.to, hot_);
      expected[move.to] = before[move.from];
    }
    for (std::size_t t = 0; t < rows.size(); ++t) {
      const Slot slot = selection.slots[t];
      if (slot != no_slot) expected[slot] = first + static_cast<Position>(t);
    }
    for (std::size_t slot = 0; slot < policy_.size(); ++slot) {
      const Position position = policy_.positions()[slot];
      EXPECT_TRUE(position == no_position || position == expected[slot]);
    }
    return status;
  }

 private:
  [[nodiscard]] std::vector<Position> slots_before(std::size_t slots) const {
    std::vector<Position> positions(policy_.positions().begin(), policy_.positions().end());
    positions.resize(slots, no_position);
    return positions;
  }

  Policy policy_;
  std::size_t hot_;
};

template <class Contender>
class TiersTest : public ::testing::Test {
 protected:
  using Policy = typename Contender::Policy;

  /// Turns of a block and of steps, one in `mute_every` of which does not attend.
  static void play(const Setting& setting, std::size_t hot, const std::vector<std::size_t>& turns,
                   std::size_t steps, Weights kind, std::size_t mute_every = 0) {
    SCOPED_TRACE(::testing::Message() << setting << ", hot " << hot << ", " << kind);
    TieredHead<Policy> head(Policy(Contender::options(setting)), hot);
    oracle::TierOracle truth(Contender::reference(setting), hot);
    Random random(hot + 1000 * setting.capacity);
    const auto compare = [&] {
      ASSERT_EQ(kept(head.policy()), truth.eviction().kept());
      std::vector<Position> cold = kept(head.policy());
      std::erase_if(cold, [&](Position position) { return !truth.is_cold(position); });
      ASSERT_EQ(head.cold(), cold) << "next token " << truth.eviction().newest() + 1;
    };
    for (const std::size_t turn : turns) {
      if (turn > 0) {
        const Position first = truth.eviction().newest() + 1;
        std::vector<Position> seen = truth.eviction().kept();
        std::vector<oracle::Row> rows;
        for (std::size_t i = 0; i < turn; ++i) {
          seen.push_back(first + static_cast<Position>(i));
          rows.push_back(draw_row(kind, seen, random));
        }
        ASSERT_EQ(head.block(first, rows), truth.block(first, rows));
        compare();
      }
      for (std::size_t s = 1; s <= steps; ++s) {
        const Position position = truth.eviction().newest() + 1;
        const Status status = truth.arrive(position);
        ASSERT_EQ(head.place(position), status);
        compare();
        if (::testing::Test::HasFailure()) return;
        if (status != Status::ok || (mute_every > 0 && s % mute_every == 0)) continue;
        const oracle::Row row = draw_row(kind, truth.eviction().kept(), random);
        ASSERT_EQ(head.observe(in_slot_order(row, head.policy().positions())), Status::ok);
        truth.attend(row);
        compare();
      }
    }
  }

  /// The fewest, the recent tokens and those about them, all but one.
  static std::vector<std::size_t> hot_sizes(const Setting& setting) {
    const std::size_t slots = Policy(Contender::options(setting)).slots();
    std::vector<std::size_t> sizes{1, 2, setting.window, setting.window + 1, slots / 2, slots - 1};
    std::sort(sizes.begin(), sizes.end());
    sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
    std::erase_if(sizes, [&](std::size_t hot) { return hot == 0 || hot >= slots; });
    return sizes;
  }
};

using Evicting =
    ::testing::Types<MorphKVSum, MorphKVMax, H2OPlain, H2ONormalised, DecayedMaxOfAll,
                     DecayedMaxOfDistant, DecayedMaxWithPins, StreamingLLMContender, TOVAContender>;
TYPED_TEST_SUITE(TiersTest, Evicting);

TYPED_TEST(TiersTest, SmallSizesAllPromptLengthsAllWeights) {
  for (const std::size_t window : {1U, 2U, 5U}) {
    for (const std::size_t distant : {1U, 6U}) {
      for (const std::size_t sinks : {0U, 1U}) {
        if (sinks > distant) continue;
        const Setting setting{.capacity = window + distant, .window = window, .sinks = sinks};
        for (const std::size_t hot : this->hot_sizes(setting)) {
          for (const std::size_t prompt : {std::size_t{0}, std::size_t{1}, setting.capacity - 1,
                                           setting.capacity, 2 * setting.capacity + 3}) {
            for (const Weights kind : all_weights) {
              this->play(setting, hot, {prompt}, 2 * setting.capacity, kind);
              if (this->HasFailure()) return;
            }
          }
        }
      }
    }
  }
}

TYPED_TEST(TiersTest, TurnsAndChunks) {
  const Setting setting{.capacity = 24, .window = 6, .sinks = 3};
  for (const std::size_t hot : this->hot_sizes(setting)) {
    for (const Weights kind : all_weights) {
      this->play(setting, hot, {10, 3, 30, 1, 6, 24, 60, 2, 7, 7}, 9, kind);
      this->play(setting, hot, {9, 9, 9, 9, 40, 40}, 0, kind);
      this->play(setting, hot, {5, 20, 4}, 40, kind, 3);
      this->play(setting, hot, {30, 2}, 30, kind, 1);
      if (this->HasFailure()) return;
    }
  }
}

TYPED_TEST(TiersTest, AProtectedPromptAndLongSequences) {
  for (const std::size_t prompt : {1U, 6U, 10U, 13U}) {
    const Setting setting{.capacity = 16, .window = 3, .sinks = 2, .protect_prompt = true};
    for (const std::size_t hot : this->hot_sizes(setting)) {
      this->play(setting, hot, {prompt}, 60, Weights::grid);
    }
  }
  const Setting setting{.capacity = 90, .window = 40};
  for (const std::size_t hot : {20U, 45U, 70U}) {
    this->play(setting, hot, {150}, 400, Weights::grid);
    this->play(setting, hot, {150}, 400, Weights::sparse);
  }
}

/// Only H2O can be without recent tokens.
using TiersOfH2O = TiersTest<H2OPlain>;
TEST_F(TiersOfH2O, WithoutRecentTokens) {
  const Setting setting{.capacity = 9, .window = 0, .sinks = 1};
  for (const std::size_t hot : hot_sizes(setting)) {
    for (const Weights kind : all_weights) play(setting, hot, {20, 3, 12}, 20, kind);
  }
}

/// No oracle foretells its choices: what is evicted is what is evicted without tiers.
TEST(TiersOfRandom, EvictsTheSame) {
  const Setting setting{.capacity = 20, .window = 5, .sinks = 2};
  using Policy = RandomContender::Policy;
  for (const std::size_t hot : {1U, 4U, 5U, 10U, 19U}) {
    TieredHead<Policy> head(Policy(RandomContender::options(setting)), hot);
    Policy plain(RandomContender::options(setting));
    Position next = 0;
    Random random(hot);
    const auto step = [&] {
      ASSERT_EQ(head.place(next), plain.place(next).status);
      const oracle::Row row = draw_row(Weights::grid, kept(plain), random);
      ASSERT_EQ(head.observe(in_slot_order(row, head.policy().positions())), Status::ok);
      ASSERT_EQ(plain.observe(in_slot_order(row, plain.positions())), Status::ok);
      ++next;
    };
    for (int round = 0; round < 60; ++round) {
      step();
      ASSERT_EQ(kept(head.policy()), kept(plain));
      ASSERT_LE(head.cold().size(), setting.capacity - hot);
      ASSERT_EQ(head.cold().empty(), next <= static_cast<Position>(hot));
    }
    ASSERT_EQ(head.cold().size(), setting.capacity - hot);
    // Sinks rank above recent tokens.
    const std::size_t recent = std::min<std::size_t>(hot - std::min<std::size_t>(hot, 2), 5);
    ASSERT_LT(head.cold().back(), next - static_cast<Position>(recent));
  }
}

}  // namespace
}  // namespace morphkv::testing::tiers_test
