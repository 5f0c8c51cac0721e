// SPDX-License-Identifier: Apache-2.0
// Options that do not fit, and rows that may not vote.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "support/contenders.hpp"
#include "support/duel.hpp"
#include "support/errors.hpp"

namespace morphkv::testing::options_test { namespace {

struct BadOptions {
  const char* named;  ///< option = value
  std::function<void()> make;
};

template <class Policy>
std::function<void()> making(const typename Policy::Options& options) {
  return [options] { Policy policy(options); };
}

constexpr auto minus_four = static_cast<std::size_t>(-4);

TEST(Options, AreCheckedByName) {
  const BadOptions all[] = {
      {"capacity = 32", making<MorphKV>({.capacity = 32, .window = 32, .sinks = 0})},
      {"capacity = 0", making<MorphKV>({.capacity = 0, .window = 4})},
      {"sinks = 4", making<MorphKV>({.capacity = 7, .window = 4, .sinks = 4})},
      {"capacity = 1", making<MorphKV>({.capacity = 1})},
      {"capacity = 0", making<MorphKV>({.capacity = 0})},
      {"window = 256", making<MorphKV>({.capacity = 512, .window = 256, .fusion = Fusion::sum})},
      {"panes = 3", making<MorphKV>({.capacity = 64, .window = 32, .panes = 3})},
      {"panes = 64", making<MorphKV>({.capacity = 64, .window = 32, .panes = 64})},
      {"capacity = 32", making<SnapKV>({.capacity = 32, .window = 32, .sinks = 0})},
      {"sinks = 4", making<SnapKV>({.capacity = 7, .window = 4, .sinks = 4})},
      {"window = 0", making<SnapKV>({.capacity = 32, .window = 0})},
      {"kernel = 4", making<SnapKV>({.capacity = 32, .window = 4, .kernel = 4})},
      {"kernel = 0", making<SnapKV>({.capacity = 32, .window = 4, .kernel = 0})},
      {"sinks = 4", making<StreamingLLM>({.capacity = 4, .sinks = 4})},
      {"capacity = 0", making<StreamingLLM>({.capacity = 0, .sinks = 0})},
      {"sinks = 4", making<TOVA>({.capacity = 5, .recent = 2, .sinks = 4})},
      {"capacity = 1", making<TOVA>({.capacity = 1, .recent = 1, .sinks = 0})},
      {"capacity = 1", making<morphkv::Random>({.capacity = 1, .recent = 1, .sinks = 0})},
      {"pins = 13", making<DecayedMax>({.capacity = 32, .recent = 16, .pins = 13})},
      {"pins = 1", making<DecayedMax>({.capacity = 32, .recent = 0, .pins = 1})},
      {"pin_half_life = 0", making<DecayedMax>({.pin_half_life = 0})},
      {"half_life = 0", making<DecayedMax>({.half_life = 0})},
      {"distance = 32", making<DecayedMax>({.recent = 32, .distance = 32})},
      {"half_life = -1", making<DecayedMax>({.half_life = -1})},
      {"half_life = nan", making<DecayedMax>({.half_life = std::nan("")})},
      {"max_tokens = 0", making<Full>({.max_tokens = 0})},
  };
  for (const BadOptions& bad : all) {
    SCOPED_TRACE(bad.named);
    expect_refused(bad.make, bad.named);
  }
}

TEST(Options, OfMoreSlotsThanAHeadCanHaveSayHowManyThereMayBe) {
  const std::string most = "at most " + std::to_string(max_head_slots - 64);
  for (const char* name : {"spare_slots", "response_slots"}) {
    DecayedMax::Options options{.capacity = 64};
    (name[0] == 's' ? options.spare_slots : options.response_slots) = max_head_slots;
    const std::string message = refusal(making<DecayedMax>(options));
    EXPECT_NE(message.find(std::string(name) + " = 1073741824: must be " + most), std::string::npos)
        << message;
  }
}

TEST(Options, AWindowOfHalfTheCapacity) {
  for (std::size_t capacity = 2; capacity < 3000; ++capacity) {
    for (const Fusion fusion : {Fusion::sum, Fusion::max}) {
      const MorphKV::Options o =
          MorphKV::resolved({.capacity = capacity, .fusion = fusion, .sinks = 0});
      ASSERT_NO_THROW(MorphKV{o}) << capacity;
      ASSERT_LE(o.window, capacity / 2);
      ASSERT_GT(o.window + 8,
                fusion == Fusion::sum ? std::min<std::size_t>(capacity / 2, 255) : capacity / 2);
    }
  }
  const MorphKV::Options given{.capacity = 64, .window = 12};
  EXPECT_EQ(MorphKV::resolved(given), given);
  EXPECT_EQ(MorphKV::resolved({.capacity = 512}).window, 256U);
  EXPECT_EQ(MorphKV::resolved({.capacity = 512}).panes, 8U);
}

TEST(Options, OfH2OAreNamedAsItsOwn) {
  expect_refused(making<H2O>({.heavy = 0, .recent = 8, .sinks = 0}), "heavy = 0");
  const std::string message = refusal(making<H2O>({.heavy = 3, .recent = 8, .sinks = 4}));
  EXPECT_EQ(message.find("capacity ="), std::string::npos) << "it has no such option: " << message;
}

TEST(Options, ANegativeNumberIsNotTakenForAHugeOne) {
  // As unsigned numbers these wrap: a sum of two may look small.
  EXPECT_THROW(MorphKV({.capacity = 8, .window = 4, .sinks = minus_four}), std::invalid_argument);
  EXPECT_THROW(TOVA({.capacity = 8, .recent = minus_four, .sinks = 4}), std::invalid_argument);
  EXPECT_THROW(StreamingLLM({.capacity = 8, .sinks = static_cast<std::size_t>(-1)}),
               std::invalid_argument);
  EXPECT_THROW(H2O({.heavy = 8, .recent = 4, .sinks = minus_four}), std::invalid_argument);
  EXPECT_THROW(SnapKV({.capacity = 8, .window = minus_four, .sinks = 4}), std::invalid_argument);
}

TEST(Options, TheSmallestThatFit) {
  EXPECT_EQ(MorphKV({.capacity = 2, .window = 1, .sinks = 0}).slots(), 2U);
  EXPECT_EQ(MorphKV({.capacity = 8, .window = 4, .sinks = 4}).slots(), 8U);
  EXPECT_EQ(MorphKV({.capacity = 256, .window = 255, .sinks = 1}).slots(), 256U);
  EXPECT_EQ(H2O({.heavy = 1, .recent = 0, .sinks = 0}).slots(), 2U);
  EXPECT_EQ(StreamingLLM({.capacity = 5, .sinks = 4}).slots(), 5U);
  EXPECT_EQ(TOVA({.capacity = 2, .recent = 1, .sinks = 0}).slots(), 2U);
  EXPECT_EQ(Full({.max_tokens = 1}).slots(), 1U);
}

template <class Contender>
class BadRowTest : public ::testing::Test {};
TYPED_TEST_SUITE(BadRowTest, OracleContenders);

TYPED_TEST(BadRowTest, IsRefusedAndChangesNothing) {
  const Setting setting{.capacity = 12, .window = 4, .sinks = 2};
  typename TypeParam::Policy policy(TypeParam::options(setting));
  auto reference = policy;
  testing::Random random(4);
  const float too_much = 1.0F + 0x1.02p-10F;
  for (Position t = 0; t < 40; ++t) {
    ASSERT_EQ(policy.place(t).slot, reference.place(t).slot);
    std::vector<float> row(policy.size());
    for (float& weight : row) weight = draw_weight(Weights::grid, random);
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity(), -0x1p-20F, too_much, 2.0F}) {
      std::vector<float> broken = row;
      broken[random.below(broken.size())] = bad;
      ASSERT_EQ(policy.observe(broken), Status::bad_row) << bad;
    }
    std::vector<float> longer = row;
    longer.push_back(0);
    ASSERT_EQ(policy.observe(longer), Status::wrong_size);
    ASSERT_EQ(policy.observe(std::span(row).first(row.size() - 1)), Status::wrong_size);
    if (t % 3 == 0) continue;  // no valid row follows at all
    ASSERT_EQ(policy.observe(row), Status::ok);
    ASSERT_EQ(reference.observe(row), Status::ok);
    ASSERT_EQ(kept(policy), kept(reference));
  }
}

TYPED_TEST(BadRowTest, SlightlyAboveOneIsAllowed) {
  typename TypeParam::Policy policy(TypeParam::options({}));
  ASSERT_EQ(policy.place(0).status, Status::ok);
  EXPECT_EQ(policy.observe(std::vector<float>{1.0F + 0x1p-10F}), Status::ok);
}

TYPED_TEST(BadRowTest, PositionsGoForwards) {
  typename TypeParam::Policy policy(TypeParam::options({}));
  ASSERT_EQ(policy.place(5).status, Status::ok);
  for (const Position backwards : {5, 4, 0, -1}) {
    EXPECT_EQ(policy.place(backwards).status, Status::position_backwards);
    EXPECT_EQ(append_block(policy, backwards, {{}, {}}), Status::position_backwards);
  }
  EXPECT_EQ(kept(policy), std::vector<Position>{5});
  EXPECT_EQ(policy.place(6).status, Status::ok);
}

TYPED_TEST(BadRowTest, ABlockWithABadRowIsRefused) {
  typename TypeParam::Policy policy(TypeParam::options({.capacity = 8, .window = 4, .sinks = 2}));
  if (std::same_as<TypeParam, StreamingLLMContender> || std::same_as<TypeParam, FullContender>) {
    return;  // they ask for no rows
  }
  std::vector<oracle::Row> rows(20, oracle::Row(20, 0.0));
  rows.back()[3] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(append_block(policy, 0, rows), Status::bad_row);
  EXPECT_EQ(policy.size(), 0U);
  rows.back()[3] = 0;
  EXPECT_EQ(append_block(policy, 0, rows), Status::ok);
}

TEST(Everything, IsProtected) {
  morphkv::Random policy({.capacity = 6, .sinks = 2, .protect_prompt = true});
  EXPECT_EQ(append_block(policy, 0, std::vector<oracle::Row>(7)), Status::nothing_to_evict);
  EXPECT_EQ(policy.size(), 0U);
  EXPECT_EQ(append_block(policy, 0, std::vector<oracle::Row>(6)), Status::ok);
  EXPECT_EQ(policy.place(6).status, Status::nothing_to_evict);
  EXPECT_EQ(policy.newest(), 5);
}

/// P = R panes are the exact window.
TEST(MorphKVPanes, AsManyAsRowsAreExact) {
  for (const Fusion fusion : {Fusion::sum, Fusion::max}) {
    const auto combine = fusion == Fusion::sum ? oracle::Combine::sum : oracle::Combine::max;
    Duel<MorphKV> duel(MorphKV({.capacity = 20, .window = 6, .fusion = fusion, .panes = 6}),
                       oracle::morphkv_oracle(20, 6, combine, default_sinks, false), 8);
    duel.block(30, Weights::fine);
    for (int s = 0; s < 300; ++s) duel.step(Weights::fine);
  }
}

/// With fewer, a token is still protected for the whole window, so that no vote on its predecessor
/// in the slot can count for it.
TEST(MorphKVPanes, NoSlotInheritsVotes) {
  for (const Fusion fusion : {Fusion::sum, Fusion::max}) {
    MorphKV policy({.capacity = 16, .window = 8, .fusion = fusion, .sinks = 0, .panes = 2});
    // Token 0 is loved by all; it goes only if the others have as much. Rows love one token each.
    testing::Random random(1);
    for (Position t = 0; t < 400; ++t) {
      ASSERT_EQ(policy.place(t).status, Status::ok);
      std::vector<float> row(policy.size(), 0.0F);
      for (std::size_t slot = 0; slot < row.size(); ++slot) {
        if (policy.positions()[slot] % 50 == 0) row[slot] = 0.5F;
      }
      ASSERT_EQ(policy.observe(row), Status::ok);
    }
    // All multiples of 50 are loved, nothing else ever was: eight of them fit, of nine that came.
    const std::vector<Position> expected{0,   50,  100, 150, 200, 250, 300, 350,
                                         392, 393, 394, 395, 396, 397, 398, 399};
    EXPECT_EQ(kept(policy), expected);
  }
}

}  // namespace
}  // namespace morphkv::testing::options_test
