// SPDX-License-Identifier: Apache-2.0
// What was written over comes back, newest first, against a log of all rows.
#include "morphkv/cache/draft_history.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

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
};

TEST(DraftHistory, RestoresWhatWasWrittenOver) {
  constexpr std::size_t heads = 2;
  for (const std::size_t history : {1U, 2U, 5U, 8U}) {
    DraftHistory<float> drafts(heads, history, dim);
    std::vector<Rows> rows(heads);
    std::vector<std::vector<Rows>> before(heads);  // states, oldest first
    std::vector<std::size_t> left(heads);          // tokens that can be restored
    Random random(history);
    for (int event = 0; event < 500; ++event) {
      const std::size_t head = random.below(heads);
      if (left[head] > 0 && random.chance(0.4)) {
        drafts.restore(head, rows[head].key_view(), rows[head].value_view());
        ASSERT_EQ(rows[head], before[head].back());
        before[head].pop_back();
        --left[head];
      } else {
        const auto slot = static_cast<Slot>(random.below(slots));
        before[head].push_back(rows[head]);
        drafts.save(head, rows[head].key_view(), rows[head].value_view(), slot);
        for (std::size_t d = 0; d < dim; ++d) {
          rows[head].keys[slot * dim + d] = random.normal();
          rows[head].values[slot * dim + d] = random.normal();
        }
        left[head] = std::min(left[head] + 1, history);
      }
    }
  }
}

TEST(DraftHistory, WithoutTokensItHoldsNothing) {
  DraftHistory<float> drafts(4, 0, dim);
  Rows rows;
  drafts.save(3, rows.key_view(), rows.value_view(), 0);
  EXPECT_EQ(drafts.bytes(), 0U);
}

}  // namespace
}  // namespace morphkv::testing::draft_history_test
