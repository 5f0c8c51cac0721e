// SPDX-License-Identifier: Apache-2.0
// What was replaced comes back, newest first, against a log of all rows.
#include "morphkv/cache/draft_history.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "support/errors.hpp"
#include "support/random.hpp"

namespace morphkv::testing::draft_history_test { namespace {

constexpr std::size_t dim = 3;
constexpr std::size_t slots = 5;

struct Rows {
  std::vector<float> keys = std::vector<float>(slots * dim);
  std::vector<float> values = std::vector<float>(slots * dim);
  friend bool operator==(const Rows&, const Rows&) = default;

  KvView<float> key_view() { return {.data = keys.data(), .stride = dim}; }
  KvView<float> value_view() { return {.data = values.data(), .stride = dim}; }
  void write(Slot slot, const std::vector<float>& key, const std::vector<float>& value) {
    if (slot == no_slot) return;
    std::copy(key.begin(), key.end(), keys.begin() + static_cast<std::ptrdiff_t>(slot * dim));
    std::copy(value.begin(), value.end(), values.begin() + static_cast<std::ptrdiff_t>(slot * dim));
  }
};

/// Stands for a policy: what it is asked for, it answers.
struct FakePolicy {
  std::size_t undone;
  std::vector<Slot> slots;  ///< of the tokens that are committed again
  [[nodiscard]] std::size_t undone_by(std::size_t) const { return undone; }
  std::span<const Slot> rollback(std::size_t) noexcept { return slots; }
};

TEST(DraftHistory, RestoresWhatWasWrittenOver) {
  constexpr std::size_t heads = 2;
  for (const std::size_t history : {1U, 2U, 5U, 8U}) {
    DraftHistory<float> drafts(heads, history, {dim, dim});
    std::vector<Rows> rows(heads);
    std::vector<std::vector<Rows>> before(heads);  // states, oldest first
    std::vector<std::size_t> left(heads);          // tokens that can be taken back
    Random random(history);
    for (int event = 0; event < 500; ++event) {
      const std::size_t head = random.below(heads);
      if (left[head] > 0 && random.chance(0.4)) {
        const std::size_t count = 1 + random.below(left[head]);
        FakePolicy policy{count, {}};
        std::vector<Slot> named;
        drafts.for_each_slot(head, count, [&](Slot written) { named.push_back(written); });
        std::vector<Slot> written;
        drafts.rollback(head, count, policy, rows[head].key_view(), rows[head].value_view(),
                        [&](Slot next) { written.push_back(next); });
        ASSERT_EQ(written, named);
        ASSERT_EQ(named.size(), count);
        ASSERT_EQ(rows[head], before[head][before[head].size() - count]);
        before[head].resize(before[head].size() - count);
        left[head] -= count;
      } else {
        const auto slot = static_cast<Slot>(random.below(slots));
        before[head].push_back(rows[head]);
        (void)drafts.save(head, rows[head].key_view(), rows[head].value_view(), slot, true);
        rows[head].write(slot, random.normals(dim), random.normals(dim));
        left[head] = std::min(left[head] + 1, history);
      }
    }
  }
}

/// A block of four tokens of which the last two are taken back: the first two are committed again,
/// to slots of their own.
TEST(DraftHistory, ABlockThatIsTakenBackInPartIsWrittenAgain) {
  DraftHistory<float> drafts(1, 6, {dim, dim});
  Rows rows;
  Random random(1);
  for (Slot slot = 0; slot < slots; ++slot) {
    rows.write(slot, random.normals(dim), random.normals(dim));
  }
  const Rows before = rows;
  std::vector<std::vector<float>> keys;
  std::vector<std::vector<float>> values;
  const std::vector<Slot> block{3, no_slot, 0, 4};
  for (std::size_t t = 0; t < block.size(); ++t) {
    keys.push_back(random.normals(dim));
    values.push_back(random.normals(dim));
    const auto kept = drafts.save(0, rows.key_view(), rows.value_view(), block[t], true);
    std::copy(keys[t].begin(), keys[t].end(), kept.key);
    std::copy(values[t].begin(), values[t].end(), kept.value);
    rows.write(block[t], keys[t], values[t]);
  }
  (void)drafts.save(0, rows.key_view(), rows.value_view(), 3, true);  // a step after the block
  rows.write(3, random.normals(dim), random.normals(dim));

  std::vector<Slot> named;
  drafts.for_each_slot(0, 5, [&](Slot slot) { named.push_back(slot); });
  EXPECT_EQ(named, (std::vector<Slot>{3, 4, 0, 3}));
  std::vector<Slot> written;
  const auto note = [&](Slot slot) { written.push_back(slot); };
  FakePolicy policy{5, {1, 3}};
  drafts.rollback(0, 3, policy, rows.key_view(), rows.value_view(), note);
  EXPECT_EQ(written, (std::vector<Slot>{3, 4, 0, 3, 1, 3}));
  Rows expected = before;
  expected.write(1, keys[0], values[0]);
  expected.write(3, keys[1], values[1]);
  EXPECT_EQ(rows, expected);

  policy = {2, {}};
  drafts.rollback(0, 2, policy, rows.key_view(), rows.value_view(), note);
  EXPECT_EQ(rows, before) << "what was committed again can be taken back too";
}

/// As a policy whose newest block has two tokens, after which one came.
struct BlockAndStep {
  [[nodiscard]] std::size_t undone_by(std::size_t count) const { return count > 1 ? 3 : count; }
};

/// Five tokens in a history of four, of which the policy can take back three.
TEST(DraftHistory, WhatIsPutIsTakenByAHistoryOfAnyLength) {
  DraftHistory<float> drafts(2, 4, {dim, dim});
  Rows rows;
  Random random(4);
  std::vector<Rows> before;
  for (const Slot slot : {Slot{2}, Slot{1}, Slot{4}, Slot{0}, Slot{3}}) {
    before.push_back(rows);
    const auto kept = drafts.save(1, rows.key_view(), rows.value_view(), slot, slot != 3);
    std::fill_n(kept.key, dim, 1.0F);
    rows.write(slot, random.normals(dim), random.normals(dim));
  }
  ByteWriter out;
  drafts.put(1, 3, BlockAndStep{}, out);
  for (const std::size_t history : {3U, 4U, 2U, 0U}) {
    DraftHistory<float> other(2, history, {dim, dim});
    const std::size_t kept = (std::min)(history, std::size_t{3});
    ByteReader in(out.bytes());
    other.take(1, 3, kept, slots, in);
    EXPECT_TRUE(in.is_empty());
    Rows now = rows;
    FakePolicy policy{kept, {}};
    other.rollback(1, kept, policy, now.key_view(), now.value_view(), [](Slot) {});
    if (kept > 0) {
      Rows expected = before[5 - kept];
      expected.write(3, std::vector<float>(dim), std::vector<float>(dim));  // it was not in use
      EXPECT_EQ(now, expected);
    }
    ByteWriter again;
    if (kept == 3) {
      other.take(1, 3, kept, slots, in = ByteReader(out.bytes()));
      other.put(1, 3, BlockAndStep{}, again);
      EXPECT_TRUE(std::ranges::equal(again.bytes(), out.bytes()));
    }
    in = ByteReader(out.bytes());
    const auto take = [&] { other.take(1, 3, kept, 4, in); };
    EXPECT_EQ(refusal(take), kept > 2
                                 ? "morphkv: slot of a draft = 4: must be below those in use, 4"
                                 : "nothing was thrown")
        << kept;
  }
}

TEST(DraftHistory, CountsItsBytes) {
  const std::size_t rows = 4 * 3 * 2 * (dim + 2 * dim) * sizeof(float);
  EXPECT_EQ(DraftHistory<float>(4, 3, {dim, 2 * dim}).bytes(), rows + 4 * 3 * sizeof(Slot));
}

TEST(DraftHistory, WithoutTokensItHoldsNothing) {
  EXPECT_EQ(DraftHistory<float>(4, 0, {dim, dim}).bytes(), 0U);
}

}  // namespace
}  // namespace morphkv::testing::draft_history_test
