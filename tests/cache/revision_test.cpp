// SPDX-License-Identifier: Apache-2.0
// What fork, rollback and reset promise: a sequence that was taken back might as well never have
// been.
#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

#include "support/contenders.hpp"
#include "support/script.hpp"

namespace morphkv::testing::revision_test { namespace {

template <class Contender>
class RevisionTest : public ::testing::Test {
 protected:
  using Policy = typename Contender::Policy;
  template <class T = float>
  using Cache = KVCache<T, Policy>;

  inline static const CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 4};

  template <class T = float>
  static Cache<T> make(std::size_t history, std::size_t window = 5) {
    return Cache<T>(shape, Contender::options({.capacity = window + 9,
                                               .window = window,
                                               .sinks = 2,
                                               .max_tokens = 600,
                                               .history = history}));
  }

  /// Rounds of a draft of which a part is rejected, beside a cache that never saw that part.
  static void speculate(Cache<>& cache, std::size_t rounds, std::size_t history) {
    const Script truth(1);
    const Script rejected(2);
    Cache<> reference = cache;
    Random random(history);
    for (std::size_t round = 0; round < rounds; ++round) {
      const std::size_t accepted = random.below(history + 3);
      ASSERT_EQ(truth.decode(cache, accepted), truth.decode(reference, accepted));
      const std::size_t draft = random.below(history + 1);
      (void)rejected.decode(cache, draft);
      ASSERT_EQ(cache.rollback(draft), Status::ok);
      ASSERT_EQ(state_of(cache), state_of(reference)) << "round " << round << ", draft " << draft;
    }
    ASSERT_EQ(truth.decode(cache, 30), truth.decode(reference, 30));
    ASSERT_EQ(state_of(cache), state_of(reference));
  }
};

TYPED_TEST_SUITE(RevisionTest, AllContenders);

TYPED_TEST(RevisionTest, ARejectedDraftNeverWas) {
  for (const std::size_t history : {1U, 2U, 3U, 8U, 13U}) {
    for (const std::size_t window : {1U, 2U, 5U, 8U}) {
      for (const std::size_t prompt : {0U, 3U, 30U}) {
        if (prompt > 9 && std::same_as<TypeParam, RandomContender>) continue;  // all protected
        SCOPED_TRACE(::testing::Message()
                     << "history " << history << ", window " << window << ", prompt " << prompt);
        auto cache = this->make(history, window);
        if (prompt > 0) (void)Script().prefill(cache, prompt);
        this->speculate(cache, 25, history);
        if (this->HasFailure()) return;
      }
    }
  }
}

TYPED_TEST(RevisionTest, ATokenThatHasNotAttendedIsTakenBackToo) {
  auto cache = this->make(4);
  const Script script;
  (void)script.decode(cache, 40);
  auto reference = cache;
  for (const std::size_t attended : {0U, 1U, 3U}) {
    (void)script.decode(cache, attended);
    script.append(cache);
    ASSERT_EQ(cache.rollback(attended + 1), Status::ok);
    ASSERT_EQ(state_of(cache), state_of(reference));
    ASSERT_EQ(script.decode(cache, 6), script.decode(reference, 6));
    ASSERT_EQ(state_of(cache), state_of(reference));
  }
}

TYPED_TEST(RevisionTest, ATokenBeforeTheDraftMayNotHaveAttended) {
  auto cache = this->make(4);
  const Script script;
  (void)script.decode(cache, 40);
  script.append(cache);
  auto reference = cache;
  (void)Script(2).decode(cache, 3);
  ASSERT_EQ(cache.rollback(3), Status::ok);
  ASSERT_EQ(script.decode(cache, 20), script.decode(reference, 20));
  ASSERT_EQ(state_of(cache), state_of(reference));
}

TYPED_TEST(RevisionTest, TakenBackOneByOneOrAtOnce) {
  auto cache = this->make(6);
  (void)Script().decode(cache, 50);
  auto other = cache;
  for (int i = 0; i < 6; ++i) ASSERT_EQ(cache.rollback(1), Status::ok);
  ASSERT_EQ(other.rollback(6), Status::ok);
  EXPECT_EQ(state_of(cache), state_of(other));
  EXPECT_EQ(cache.next_position(0), 44);
  EXPECT_EQ(Script().decode(cache, 20), Script().decode(other, 20));
}

TYPED_TEST(RevisionTest, TheHistoryEnds) {
  auto cache = this->make(5);
  const auto refuses = [&](std::size_t tokens) {
    const auto before = state_of(cache);
    EXPECT_EQ(cache.rollback(tokens), Status::too_far_back);
    EXPECT_EQ(state_of(cache), before);
  };
  refuses(1);
  (void)Script().decode(cache, 3);
  refuses(4);
  (void)Script().decode(cache, 40);
  refuses(6);
  EXPECT_EQ(cache.rollback(5), Status::ok);
  refuses(1);
  (void)Script().decode(cache, 2);
  (void)Script().prefill(cache, 6);  // longer than the history
  refuses(1);
  (void)Script().decode(cache, 2);
  refuses(3);
  EXPECT_EQ(cache.rollback(0), Status::ok);
  EXPECT_EQ(cache.rollback(2), Status::ok);
  EXPECT_EQ(cache.next_position(0), 46);
  (void)Script().prefill(cache, 3);  // what came before a block cannot be taken back
  refuses(4);
  EXPECT_EQ(cache.rollback(3), Status::ok);
  EXPECT_EQ(cache.next_position(0), 46);
}

/// A draft that is verified as one block: of its tokens the first ones may be right.
TYPED_TEST(RevisionTest, ABlockIsTakenBackWholeOrInPart) {
  const Script script(2);
  for (const std::size_t history : {1U, 2U, 5U, 8U}) {
    for (const std::size_t window : {1U, 5U}) {
      for (std::size_t block = 1; block <= history; ++block) {
        SCOPED_TRACE(::testing::Message()
                     << "history " << history << ", window " << window << ", block " << block);
        auto cache = this->make(history, window);
        (void)Script().decode(cache, 33);
        Script().append(cache);  // a token that has not attended
        auto before = cache;
        for (std::size_t taken = 1; taken <= block; ++taken) {
          for (const std::size_t steps : {std::size_t{0}, history - block}) {
            auto draft = before;
            auto expected = before;
            (void)script.prefill(draft, block);
            (void)script.decode(draft, steps);
            ASSERT_EQ(draft.rollback(steps + taken), Status::ok);
            if (block > taken) (void)script.prefill(expected, block - taken);
            ASSERT_EQ(state_of(draft), state_of(expected)) << "taken " << taken;
            if (block > taken) {  // and what was committed again can be taken back too
              auto less = draft;
              ASSERT_EQ(less.rollback(block - taken), Status::ok);
              ASSERT_EQ(state_of(less), state_of(before));
              auto original = before;
              ASSERT_EQ(script.decode(less, 9), script.decode(original, 9));
            }
            ASSERT_EQ(Script(3).decode(draft, 12), Script(3).decode(expected, 12));
            ASSERT_EQ(state_of(draft), state_of(expected));
          }
        }
      }
    }
  }
}

TYPED_TEST(RevisionTest, ATokenThatIsTakenBackLeavesNoTraceInALaterPrompt) {
  auto cache = this->make(4);
  auto expected = cache;
  (void)Script(2).decode(cache, 3);
  ASSERT_EQ(cache.rollback(3), Status::ok);
  EXPECT_EQ(Script().prefill(cache, 40), Script().prefill(expected, 40));
  EXPECT_EQ(state_of(cache), state_of(expected));
}

TYPED_TEST(RevisionTest, WithoutHistoryNothingIsTakenBack) {
  auto cache = this->make(0);
  (void)Script().decode(cache, 20);
  EXPECT_EQ(cache.rollback(1), Status::too_far_back);
  EXPECT_EQ(cache.rollback(0), Status::ok);
}

TYPED_TEST(RevisionTest, AForkIsIndependent) {
  auto cache = this->make(3);
  (void)Script().prefill(cache, 8);
  (void)Script().decode(cache, 30);
  const auto before = state_of(cache);
  auto reference = this->make(3);
  (void)Script().prefill(reference, 8);
  (void)Script().decode(reference, 30);

  auto fork = cache;
  EXPECT_EQ(state_of(fork), before);
  EXPECT_EQ(fork.memory(), cache.memory());
  (void)Script(2).decode(fork, 25);
  EXPECT_EQ(state_of(cache), before);
  EXPECT_EQ(Script().decode(cache, 30), Script().decode(reference, 30));

  fork = cache;  // over one that has its own tokens
  EXPECT_EQ(Script().decode(fork, 30), Script().decode(reference, 30));
  EXPECT_EQ(state_of(fork), state_of(reference));
}

TYPED_TEST(RevisionTest, AMovedCacheGoesOn) {
  auto cache = this->make(3);
  (void)Script().decode(cache, 30);
  auto reference = cache;
  auto moved = std::move(cache);
  EXPECT_EQ(Script().decode(moved, 30), Script().decode(reference, 30));
}

TYPED_TEST(RevisionTest, ResetEqualsFresh) {
  auto cache = this->make(3);
  auto fresh = cache;
  (void)Script(2).prefill(cache, 10);
  (void)Script(2).decode(cache, 37);
  Script(2).append(cache);
  cache.reset();
  EXPECT_EQ(cache.memory(), fresh.memory());
  EXPECT_EQ(cache.next_position(0), 0);
  EXPECT_EQ(cache.size(0, 0), 0U);
  EXPECT_EQ(cache.rollback(1), Status::too_far_back);
  EXPECT_EQ(Script().prefill(cache, 8), Script().prefill(fresh, 8));
  for (int step = 0; step < 40; ++step) {
    ASSERT_EQ(Script().decode(cache, 1), Script().decode(fresh, 1));
    ASSERT_EQ(state_of(cache), state_of(fresh));
  }
}

/// All that is saved, the number of tokens too.
TEST(Rollback, LeavesNothingToBeSaved) {
  const CacheShape shape{.layers = 2, .query_heads = 2, .kv_heads = 1, .head_dim = 4};
  KVCache<float, MorphKV> cache(shape, {.capacity = 14, .window = 5, .history = 20});
  const Script script;
  const Script rejected(2);
  const auto empty = cache.save();
  (void)rejected.prefill(cache, 6);
  (void)rejected.decode(cache, 6);
  ASSERT_EQ(cache.rollback(12), Status::ok);
  EXPECT_EQ(cache.save(), empty);
  auto fresh = KVCache<float, MorphKV>(shape, cache.options());
  for (auto* some : {&cache, &fresh}) {
    (void)script.prefill(*some, 4);
    (void)script.decode(*some, 3);
  }
  EXPECT_EQ(cache.save(), fresh.save()) << "what lay in slots that are in use again";
  (void)rejected.decode(cache, 3);
  ASSERT_EQ(cache.rollback(3), Status::ok);
  EXPECT_EQ(cache.save(), fresh.save());
  (void)rejected.decode(cache, 40);
  cache.reset();
  fresh.reset();
  for (auto* some : {&cache, &fresh}) (void)script.decode(*some, 3);
  EXPECT_EQ(cache.save(), fresh.save());
}

/// Two layers at different tokens: the drafts end at one token in all layers, or nothing changes.
TEST(Rollback, LayersEndAtOneToken) {
  const CacheShape shape{.layers = 3, .query_heads = 2, .kv_heads = 1, .head_dim = 4};
  KVCache<float, MorphKV> cache(shape, {.capacity = 14, .window = 5, .history = 4});
  const Script script;
  (void)script.decode(cache, 30);
  const auto fresh = cache;
  const auto append = [&](std::size_t layer, Position position) {
    const Tokens token = script.at(shape, layer, position);
    ASSERT_EQ(cache.append(layer, token.keys, token.values, position), Status::ok);
  };
  append(0, 30);
  append(1, 30);
  ASSERT_EQ(cache.rollback(1), Status::ok) << "a step that failed in layer 2";
  EXPECT_EQ(state_of(cache), state_of(fresh));
  for (std::size_t layer = 0; layer < 3; ++layer) EXPECT_EQ(cache.next_position(layer), 30);
  for (const Position position : {30, 31, 32}) append(0, position);
  append(1, 30);
  const auto before = state_of(cache);
  EXPECT_EQ(cache.rollback(1), Status::out_of_step) << "layers 1 and 2 are behind that token";
  EXPECT_EQ(cache.rollback(0), Status::out_of_step);
  EXPECT_EQ(cache.rollback(100), Status::too_far_back);
  EXPECT_EQ(state_of(cache), before);
  ASSERT_EQ(cache.rollback(3), Status::ok);
  EXPECT_EQ(state_of(cache), state_of(fresh));
  auto expected = fresh;
  EXPECT_EQ(script.decode(cache, 20), script.decode(expected, 20));
  EXPECT_EQ(state_of(cache), state_of(expected));
}

TEST(CopyFrom, WorksAfterAnAdaptiveBudgetHasDivided) {
  const CacheShape shape{.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 4};
  const MorphKV::Options options{.capacity = 24, .window = 6, .history = 2};
  KVCache<float, MorphKV> origin(shape, options, Budget::adaptive());
  KVCache<float, MorphKV> fork(shape, options, Budget::adaptive());
  const Script script;
  (void)script.prefill(origin, 60);
  EXPECT_NE(origin.policy(0, 0).capacity(), fork.policy(0, 0).capacity());
  (void)script.prefill(fork, 7);
  fork.copy_from(origin);
  EXPECT_EQ(state_of(fork), state_of(origin));
  EXPECT_EQ(script.decode(fork, 30), script.decode(origin, 30));
  EXPECT_EQ(state_of(fork), state_of(origin));
}

template <class Contender>
class ScalarRevisionTest : public RevisionTest<Contender> {};
TYPED_TEST_SUITE(ScalarRevisionTest, OneOfEachKind);

TYPED_TEST(ScalarRevisionTest, RollbackRestoresSixteenBitRows) {
  auto cache = this->template make<Eigen::bfloat16>(4);
  (void)Script().decode(cache, 30);
  auto reference = cache;
  (void)Script(2).decode(cache, 4);
  ASSERT_EQ(cache.rollback(4), Status::ok);
  EXPECT_EQ(state_of(cache), state_of(reference));
  EXPECT_EQ(Script().decode(cache, 20), Script().decode(reference, 20));
}

}  // namespace
}  // namespace morphkv::testing::revision_test
