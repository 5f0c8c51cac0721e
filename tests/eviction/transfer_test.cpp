// SPDX-License-Identifier: Apache-2.0
// A head that takes over the tokens of a head with other options holds what the oracle holds, and
// goes on like it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "oracle/half_rounding.hpp"
#include "support/contenders.hpp"
#include "support/duel.hpp"
#include "support/errors.hpp"

namespace morphkv::testing::transfer_test { namespace {

template <class Contender>
class TransferTest : public ::testing::Test {
 protected:
  using Policy = typename Contender::Policy;

  static Duel<Policy> duel(const Setting& setting, std::uint64_t seed) {
    return {Policy(Contender::options(setting)), Contender::reference(setting), seed};
  }
  static bool take_over(Duel<Policy>& match, const Setting& setting,
                        const std::vector<oracle::Row>* rows = nullptr) {
    Policy policy(Contender::options(setting));
    return match.take_over(policy, Contender::reference(setting).options(), rows);
  }
  /// Steps and small blocks.
  static void go_on(Duel<Policy>& match, std::size_t steps, Weights kind) {
    for (std::size_t step = 0; step < steps && !::testing::Test::HasFailure(); ++step) {
      if (match.random().chance(0.05)) match.block(1 + match.random().below(40), kind);
      match.step(kind, match.random().chance(0.1));
    }
  }
};
TYPED_TEST_SUITE(TransferTest, OracleContenders);

TYPED_TEST(TransferTest, ToEveryCapacityAndOn) {
  std::size_t taken = 0;
  for (const std::size_t before : {6U, 9U, 16U, 33U, 70U}) {
    for (const std::size_t after : {6U, 7U, 15U, 16U, 17U, 34U, 90U}) {
      for (const std::size_t prompt : {0U, 1U, 5U, 40U}) {
        for (const Weights kind : {Weights::grid, Weights::coarse, Weights::sparse}) {
          for (const bool is_mute : {false, true}) {
            Setting setting{.capacity = before, .window = 3, .sinks = 2, .max_tokens = 400};
            SCOPED_TRACE(::testing::Message() << setting << " to " << after << ", prompt " << prompt
                                              << ", " << kind << ", mute " << is_mute);
            auto match = this->duel(setting, before + 100 * after + prompt);
            match.block(prompt, kind);
            this->go_on(match, match.random().below(30), kind);
            match.step(kind, is_mute);
            setting.capacity = after;
            taken += this->take_over(match, setting) ? 1U : 0U;
            this->go_on(match, 40, kind);
            if (this->HasFailure()) return;
          }
        }
      }
    }
  }
  EXPECT_EQ(taken, 5U * 7 * 4 * 3 * 2);
}

/// A policy that evicts from prompts alone cuts blocks to its capacity before a token is generated,
/// and does not shrink what it held before them.
TYPED_TEST(TransferTest, APromptAloneAndBlocksAfterIt) {
  bool fits[2] = {};
  for (const std::size_t after : {6U, 15U, 19U, 20U, 21U, 34U}) {
    Setting setting{.capacity = 20, .window = 3, .sinks = 2, .max_tokens = 400};
    SCOPED_TRACE(::testing::Message() << setting << " to " << after);
    auto match = this->duel(setting, after);
    match.block(40, Weights::grid);
    setting.capacity = after;
    fits[this->take_over(match, setting) ? 1 : 0] = true;
    for (const std::size_t tokens : {1U, 9U, 30U}) match.block(tokens, Weights::grid);
    this->go_on(match, 40, Weights::grid);
    if (this->HasFailure()) return;
  }
  EXPECT_TRUE(fits[1]);
  const typename TypeParam::Policy policy(TypeParam::options({.capacity = 20, .window = 3}));
  EXPECT_EQ(fits[0], policy.plan().rules.schedule == Schedule::after_prompt);
}

TYPED_TEST(TransferTest, AnEmptyHeadStaysEmpty) {
  Setting setting{.capacity = 20, .window = 4};
  auto match = this->duel(setting, 1);
  setting.capacity = 9;
  ASSERT_TRUE(this->take_over(match, setting));
  this->go_on(match, 40, Weights::grid);
}

TYPED_TEST(TransferTest, TheProtectedPromptStaysOrTheHeadIsRefused) {
  bool fits[2] = {};
  for (const std::size_t capacity : {14U, 15U, 16U, 17U, 20U}) {
    Setting setting{
        .capacity = 20, .window = 3, .sinks = 2, .protect_prompt = true, .max_tokens = 30};
    auto match = this->duel(setting, capacity);
    match.block(12, Weights::grid);
    for (int step = 0; step < 10; ++step) match.step(Weights::grid);
    setting.capacity = capacity;
    setting.max_tokens = capacity + 6;
    fits[this->take_over(match, setting) ? 1 : 0] = true;
    for (int step = 0; step < 10; ++step) match.step(Weights::grid);
    if (this->HasFailure()) return;
  }
  EXPECT_TRUE(fits[1]);
  constexpr bool all_are_kept = std::same_as<TypeParam, StreamingLLMContender>;
  EXPECT_NE(fits[0], all_are_kept);  // its recent token is one
}

/// Those without a distance: from another one a token's score begins anew.
template <class Contender>
class WindowTransferTest : public TransferTest<Contender> {};
using WindowContenders = ::testing::Types<H2OPlain, H2ONormalised, DecayedMaxOfAll, TOVAContender,
                                          MorphKVSum, MorphKVMax>;
TYPED_TEST_SUITE(WindowTransferTest, WindowContenders);

/// The rows that a MorphKV window begins with: equal ones, of the sum or maximum of those before.
template <class Policy>
std::vector<oracle::Row> resumed(const Duel<Policy>& match, const MorphKV::Options& before,
                                 const MorphKV::Options& after) {
  const oracle::EvictionOracle& truth = match.reference();
  const std::size_t seen = truth.history().rows.size();
  const bool is_sum = before.fusion == Fusion::sum;
  oracle::Row row(static_cast<std::size_t>(truth.newest() + 1), 0.0);
  const std::vector<double> scores = truth.scores();
  for (std::size_t i = 0; i < scores.size(); ++i) {
    const double rows = is_sum ? static_cast<double>(seen) : 1;
    row[static_cast<std::size_t>(truth.kept()[i])] =
        oracle::round_to_half(static_cast<double>(static_cast<float>(scores[i] / rows)));
  }
  const std::size_t count = std::min({seen, is_sum ? before.window : 1, after.window});
  return std::vector<oracle::Row>(count, row);
}

/// Without reuse of slots: a window does not forget the weights of the token before at once.
TYPED_TEST(WindowTransferTest, ToEveryWindowAndOn) {
  constexpr bool is_window = std::same_as<typename TypeParam::Policy, MorphKV>;
  for (const std::size_t before : {1U, 3U, 8U}) {
    for (const std::size_t after : {1U, 2U, 5U, 9U, 25U}) {
      for (const std::size_t capacity : {12U, 30U, 45U}) {
        if (capacity < after + 3) continue;
        for (const std::size_t tokens : {1U, 4U, 40U, 80U}) {
          Setting setting{.capacity = is_window ? 80U : 16U, .window = before, .sinks = 2};
          SCOPED_TRACE(::testing::Message() << setting << " to " << capacity << ", window " << after
                                            << ", tokens " << tokens);
          auto match = this->duel(setting, before + 100 * after + capacity + tokens);
          match.block(tokens / 2, Weights::grid);
          for (std::size_t t = tokens / 2; t < tokens; ++t) match.step(Weights::grid);
          Setting other = setting;
          other.capacity = capacity;
          other.window = after;
          if constexpr (is_window) {
            const auto rows =
                resumed(match, TypeParam::options(setting), TypeParam::options(other));
            ASSERT_TRUE(this->take_over(match, other, before == after ? nullptr : &rows));
          } else {
            ASSERT_TRUE(this->take_over(match, other));
          }
          this->go_on(match, 60, Weights::grid);
          if (this->HasFailure()) return;
        }
      }
    }
  }
}

/// Also where slots are reused, the recent tokens and the best of those that were not recent stay,
/// and the default window, half of the capacity, moves with it.
TEST(Transfer, OfAWindowThatMovesWithTheCapacity) {
  for (const auto fusion : {Fusion::max, Fusion::sum}) {
    for (const std::size_t capacity : {20U, 50U, 64U, 130U}) {
      const MorphKV::Options options{.capacity = 40, .fusion = fusion};
      MorphKV policy(options);
      Random random(capacity);
      const auto step = [&](MorphKV& head) {
        const Position position = head.newest() + 1;
        ASSERT_EQ(head.place(position).status, Status::ok);
        std::vector<float> row(head.size());
        for (float& weight : row) weight = draw_weight(Weights::sparse, random);
        ASSERT_EQ(head.observe(row), Status::ok);
      };
      for (int t = 0; t < 200; ++t) step(policy);
      ByteWriter out;
      policy.save(out);
      MorphKV::Options other = options;
      other.capacity = capacity;
      MorphKV restored(other);
      ByteReader in(out.bytes());
      ASSERT_EQ(restored.restore(in).size(), (std::min)(capacity, std::size_t{40}));
      const std::size_t before = MorphKV::resolved(options).window;
      const std::size_t recent = MorphKV::resolved(other).window;
      ASSERT_NE(recent, before);
      for (std::size_t t = 0; t < 3 * capacity; ++t) {
        const std::vector<Position> held = kept(restored);
        ASSERT_EQ(held.size(), (std::min)(capacity, 40 + t));
        for (Position sink = 0; sink < 4; ++sink)
          ASSERT_EQ(held[static_cast<std::size_t>(sink)], sink);
        const std::size_t since = 200 + t - (std::min)(recent, before + t);
        for (std::size_t p = since; p < 200 + t; ++p) {
          ASSERT_TRUE(std::ranges::binary_search(held, static_cast<Position>(p))) << p;
        }
        step(restored);
      }
    }
  }
}

TEST(Transfer, OfAnotherKindOfPolicyIsRefusedByName) {
  const auto expect = [](const auto& from, auto to, const std::string& name) {
    ByteWriter out;
    from.save(out);
    ByteReader in(out.bytes());
    expect_refused([&] { (void)to.restore(in); }, name);
    EXPECT_EQ(to.size(), 0U);
  };
  const H2O h2o({.heavy = 8, .recent = 8});
  const TOVA tova({.capacity = 16});
  expect(h2o, tova, "schedule of a head of the snapshot = 1");
  expect(tova, MorphKV({.capacity = 16}), "window of the snapshot = 0");
  expect(tova, StreamingLLM({.capacity = 20}), "32-bit numbers of a score of the snapshot = 1");
  expect(MorphKV({.capacity = 16, .window = 4, .fusion = Fusion::sum}),
         MorphKV({.capacity = 16, .window = 4}), "32-bit numbers of a score of the snapshot = 1");
}

std::vector<std::byte> saved(const auto& policy) {
  ByteWriter out;
  policy.save(out);
  return {out.bytes().begin(), out.bytes().end()};
}

/// `arrived` of a head that has seen 50 tokens and held 5, and then has so many recent ones.
std::uint32_t arrived_with(std::size_t recent) {
  TOVA from({.capacity = 5, .recent = 1, .sinks = 0});
  for (Position position = 0; position < 50; ++position) {
    EXPECT_EQ(from.place(position).status, Status::ok);
    EXPECT_EQ(from.observe(std::vector<float>(from.size(), 0.0F)), Status::ok);
  }
  const std::vector<std::byte> bytes = saved(from);
  TOVA to({.capacity = 20, .recent = recent, .sinks = 0});
  ByteReader in(bytes);
  EXPECT_EQ(to.restore(in).size(), 5U);
  return view_of(to).head->arrived;
}

/// Beside the arriving token, recent - 1 are held.
TEST(Transfer, TokensThatHaveComeAreForgottenWhereRecentOnesAreGone) {
  EXPECT_EQ(arrived_with(1), 50U);
  EXPECT_EQ(arrived_with(6), 50U);
  EXPECT_EQ(arrived_with(7), 5U) << "as if no others had come";
}

/// Sinks that the new options would not have stay, and leave less room for pins than those ask for.
TEST(Transfer, PinsHaveTheRoomThatProtectedTokensLeave) {
  DecayedMax from({.capacity = 20, .recent = 4, .sinks = 4, .pins = 12});
  ASSERT_EQ(append_block(from, 0, std::vector<oracle::Row>(40)), Status::ok);
  ASSERT_EQ(view_of(from).head->pins, 12U);
  DecayedMax to({.capacity = 12, .recent = 4, .sinks = 0, .pins = 8});
  const std::vector<std::byte> bytes = saved(from);
  ByteReader in(bytes);
  EXPECT_EQ(to.restore(in).size(), 12U);
  EXPECT_EQ(view_of(to).head->pins, 4U);
}

/// As if no other tokens had come than those held, and the pins were given as long ago as they
/// were.
TEST(Transfer, PinsKeepTheirAgeWhereRecentTokensAreGone) {
  DecayedMax from({.capacity = 12, .recent = 2, .sinks = 0, .pins = 8});
  ASSERT_EQ(append_block(from, 0, std::vector<oracle::Row>(40)), Status::ok);
  for (Position position = 40; position < 43; ++position) {
    ASSERT_EQ(from.place(position).status, Status::ok);
    ASSERT_EQ(from.observe(std::vector<float>(from.size(), 0.0F)), Status::ok);
  }
  DecayedMax to({.capacity = 40, .recent = 16, .sinks = 0, .pins = 8});
  const std::vector<std::byte> bytes = saved(from);
  ByteReader in(bytes);
  ASSERT_EQ(to.restore(in).size(), 12U);
  EXPECT_EQ(view_of(to).head->arrived, 12U);
  EXPECT_EQ(view_of(to).head->pinned_at, 12U - 3);
}

TEST(Transfer, ADistanceIsBelowTheRecentTokensOrZero) {
  const DecayedMax::Options options{.capacity = 16, .recent = 5, .distance = 4};
  std::vector<std::byte> bytes = saved(DecayedMax(options));
  SavedPlan plan;
  std::memcpy(&plan, bytes.data(), sizeof plan);
  plan.distance = 5;
  std::memcpy(bytes.data(), &plan, sizeof plan);
  DecayedMax decayed(options);
  ByteReader in(bytes);
  expect_refused([&] { (void)decayed.restore(in); }, "distance of the snapshot = 5");

  bytes = saved(H2O({.heavy = 4, .recent = 0, .sinks = 0}));
  H2O h2o({.heavy = 3, .recent = 0, .sinks = 0});
  ByteReader without(bytes);
  EXPECT_TRUE(h2o.restore(without).empty());
}

/// A token that no distance has scored begins at 0 where a shorter one does, whatever lay there.
TEST(Transfer, ToAShorterDistanceTokensBeginAtZero) {
  const DecayedMax::Options options{
      .capacity = 12, .recent = 6, .half_life = 1e9, .distance = 5, .sinks = 0};
  DecayedMax from(options);
  const auto step = [](DecayedMax& policy, float newest, float others) {
    ASSERT_EQ(policy.place(policy.newest() + 1).status, Status::ok);
    std::vector<float> row(policy.size(), others);
    for (Slot slot = 0; slot < policy.size(); ++slot) {
      if (policy.positions()[slot] == policy.newest()) row[slot] = newest;
    }
    ASSERT_EQ(policy.observe(row), Status::ok);
  };
  for (int t = 0; t < 40; ++t) step(from, 0.5F, 0.5F);  // every column has been used
  DecayedMax::Options shorter = options;
  shorter.recent = 2;
  shorter.distance = 1;
  DecayedMax to(shorter);
  ByteWriter out;
  from.save(out);
  ByteReader in(out.bytes());
  EXPECT_EQ(to.restore(in).size(), 12U);
  // The tokens of age 1 ... 4 have 0, those of age 5 and more 0.5: they go in this order.
  for (Position evicted = 35; evicted < 39; ++evicted) {
    const Placement placement = to.place(to.newest() + 1);
    ASSERT_EQ(placement.evicted, evicted);
    const std::vector<float> row(to.size(), 0.0F);
    ASSERT_EQ(to.observe(row), Status::ok);
  }
}

}  // namespace
}  // namespace morphkv::testing::transfer_test
