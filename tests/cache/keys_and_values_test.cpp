// SPDX-License-Identifier: Apache-2.0
// Policies that rank tokens by their keys and values: KeyDiff (arXiv 2504.15364) and a maximum of
// attention weighted by the value (after VATP, arXiv 2406.12335), against brute force in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <map>
#include <numeric>
#include <span>
#include <vector>

#include "morphkv/cache/kv_cache.hpp"
#include "morphkv/policy/morphkv.hpp"
#include "oracle/attention_oracle.hpp"
#include "support/script.hpp"

namespace morphkv::testing::keys_and_values_test { namespace {

using Numbers = std::vector<double>;

double norm1(const Numbers& x) {
  return std::accumulate(x.begin(), x.end(), 0.0,
                         [](double sum, double y) { return sum + std::abs(y); });
}
double norm2(const Numbers& x) {
  return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0));
}

struct Token {
  Position position = no_position;
  Numbers key;
  Numbers value;
  double best = 0;  ///< the greatest weight that a query has given it, times the value's L1 norm
};

/// score = -cos(key, mean of the normalised keys): tokens whose keys are like all others go first.
struct KeyDiff {
  static Numbers scores(const std::vector<Token>& tokens) {
    Numbers anchor(tokens.front().key.size());
    for (const Token& token : tokens) {
      for (std::size_t d = 0; d < anchor.size(); ++d) anchor[d] += token.key[d] / norm2(token.key);
    }
    Numbers result;
    for (const Token& token : tokens) {
      const double dot = std::inner_product(anchor.begin(), anchor.end(), token.key.begin(), 0.0);
      result.push_back(-dot / norm2(token.key) / norm2(anchor));
    }
    return result;
  }
};

struct WeightedMax {
  static Numbers scores(const std::vector<Token>& tokens) {
    Numbers result;
    for (const Token& token : tokens) result.push_back(token.best);
    return result;
  }
};

std::size_t lowest_of(const Numbers& scores) {
  return static_cast<std::size_t>(std::min_element(scores.begin(), scores.end()) - scores.begin());
}

/// The indices of the `count` highest scores, ascending.
std::vector<std::size_t> highest_of(const Numbers& scores, std::size_t count) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  order.resize(std::min(order.size(), count));
  std::sort(order.begin(), order.end());
  return order;
}

/// A whole policy: a new token takes the slot of the one with the lowest score, and a block is cut
/// to the best. Nothing is protected.
template <class Score>
class Ranked {
 public:
  struct Options {
    std::size_t capacity = 16;
    GroupFusion group = GroupFusion::mean;
    friend bool operator==(const Options&, const Options&) = default;
  };
  struct Selection {
    Status status = Status::ok;
    std::vector<Token> columns;  ///< the tokens held, then those of the block
    std::size_t held = 0;
    std::vector<Slot> slots;
    std::vector<Token> next;  ///< the tokens held afterwards
  };

  explicit Ranked(const Options& options, std::size_t /*head*/ = 0)
      : capacity_(options.capacity), positions_(options.capacity, no_position) {}

  [[nodiscard]] std::size_t slots() const { return capacity_; }
  [[nodiscard]] std::size_t size() const { return tokens_.size(); }
  [[nodiscard]] std::span<const Position> positions() const {
    return std::span(positions_).first(size());
  }
  [[nodiscard]] Position newest() const noexcept { return newest_; }
  [[nodiscard]] Status can_place(Position position) const noexcept {
    return position > newest_ ? Status::ok : Status::position_backwards;
  }
  [[nodiscard]] Placement place(Position position) noexcept {
    if (position <= newest_) return {.status = Status::position_backwards};
    std::size_t slot = size();
    if (slot == capacity_) slot = lowest_of(Score::scores(tokens_));
    if (slot == size()) tokens_.emplace_back();
    const Placement placement{Status::ok, static_cast<Slot>(slot), positions_[slot]};
    tokens_[slot] = {position, {}, {}, 0};
    positions_[slot] = newest_ = position;
    awaits_row_ = true;
    return placement;
  }
  void store(Slot slot, std::span<const float> key, std::span<const float> value) noexcept {
    tokens_[slot].key.assign(key.begin(), key.end());
    tokens_[slot].value.assign(value.begin(), value.end());
  }
  [[nodiscard]] Status can_observe() const noexcept {
    return awaits_row_ ? Status::ok : Status::out_of_step;
  }
  Status observe(std::span<const float> row) noexcept {
    if (row.size() != size()) return Status::wrong_size;
    if (!awaits_row_) return Status::out_of_step;
    awaits_row_ = false;
    add_row(row, tokens_);
    return Status::ok;
  }

  [[nodiscard]] Selection score_block(Position first, const PromptRows& rows) const {
    Selection selection;
    selection.columns = tokens_;
    selection.held = size();
    std::vector<float> numbers(std::max(rows.key_dim(), rows.value_dim()));
    for (std::size_t c = 0; c < rows.columns(); ++c) {
      if (c >= size()) {
        selection.columns.push_back({first + static_cast<Position>(c - size()), {}, {}, 0});
      }
      Token& token = selection.columns[c];
      const Token stored = token;
      rows.key(c, numbers.data());
      token.key.assign(numbers.begin(), numbers.end());
      rows.value(c, numbers.data());
      token.value.assign(numbers.begin(), numbers.end());
      if (c >= size()) continue;
      EXPECT_EQ(token.key, stored.key) << "what store() was given";
      EXPECT_EQ(token.value, stored.value);
    }
    std::vector<float> row(rows.columns());
    for (std::size_t query = 0; query < rows.tokens(); ++query) {
      selection.status = rows.fused(query, row.data());
      if (selection.status != Status::ok) return selection;
      add_row(row, selection.columns);
    }
    return selection;
  }
  Status select(Selection& s) const {
    s.next.assign(s.columns.begin(), s.columns.begin() + static_cast<std::ptrdiff_t>(s.held));
    s.slots.assign(s.columns.size() - s.held, no_slot);
    const auto kept = highest_of(Score::scores(s.columns), capacity_);
    std::vector<std::size_t> free;
    for (std::size_t c = 0; c < s.held; ++c) {
      if (!std::binary_search(kept.begin(), kept.end(), c)) free.push_back(c);
    }
    auto next_free = free.begin();
    for (const std::size_t c : kept) {
      if (c < s.held) continue;
      std::size_t slot = s.next.size();
      if (next_free != free.end()) slot = *next_free++;
      if (slot == s.next.size()) s.next.emplace_back();
      s.next[slot] = s.columns[c];
      s.slots[c - s.held] = static_cast<Slot>(slot);
    }
    return Status::ok;
  }
  void commit(Selection& selection) noexcept {
    newest_ = selection.columns.back().position;
    tokens_.swap(selection.next);
    for (std::size_t s = 0; s < size(); ++s) positions_[s] = tokens_[s].position;
    awaits_row_ = false;
  }
  void reset() noexcept { *this = Ranked(Options{.capacity = capacity_}); }
  [[nodiscard]] MemoryUsage memory() const { return {}; }

 private:
  static void add_row(std::span<const float> row, std::vector<Token>& tokens) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      tokens[i].best = std::max(tokens[i].best, double{row[i]} * norm1(tokens[i].value));
    }
  }

  std::size_t capacity_;
  std::vector<Position> positions_;
  std::vector<Token> tokens_;  ///< of the slots in use
  Position newest_ = no_position;
  bool awaits_row_ = false;
};

static_assert(StoringPolicy<Ranked<KeyDiff>> && !StoringPolicy<MorphKV>);

constexpr CacheShape shape{.layers = 1, .query_heads = 4, .kv_heads = 2, .head_dim = 6};
constexpr float key_scales[] = {0.02F, 0.3F};
constexpr float value_scales[] = {0.5F, 0.01F};

/// With scales, if T has them.
template <class T>
CacheShape shape_of() {
  CacheShape result = shape;
  if (std::same_as<T, E4M3>) {
    result.key_scales = key_scales;
    result.value_scales = value_scales;
  }
  return result;
}

template <class Cache>
concept CanPlace = requires(Cache cache, std::span<Placement> placements) {
  cache.place(0, 0, placements);
};
static_assert(CanPlace<KVCache<float, MorphKV>>);
static_assert(!CanPlace<KVCache<float, Ranked<KeyDiff>>>,
              "an engine that writes keys itself gives the policy none");

/// One head by positions, with keys and values from the script.
template <class T, class Score>
class BruteForce {
 public:
  BruteForce(std::size_t head, std::size_t capacity) : head_(head), capacity_(capacity) {}

  void block(Position first, const Tokens& tokens) {
    std::vector<Token> columns = held_;
    for (std::size_t t = 0; t < tokens.count; ++t) {
      columns.push_back(token(first + static_cast<Position>(t), tokens, t));
      attend(columns, tokens, t);
    }
    held_.clear();
    for (const std::size_t c : highest_of(Score::scores(columns), capacity_)) {
      held_.push_back(columns[c]);
    }
  }

  void step(Position position, const Tokens& tokens) {
    if (held_.size() == capacity_) {
      held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(lowest_of(Score::scores(held_))));
    }
    held_.push_back(token(position, tokens, 0));
    attend(held_, tokens, 0);
  }

  [[nodiscard]] std::vector<Position> kept() const {
    std::vector<Position> positions;
    for (const Token& token : held_) positions.push_back(token.position);
    return positions;
  }

 private:
  [[nodiscard]] Token token(Position position, const Tokens& tokens, std::size_t t) const {
    const auto part = [&](const std::vector<float>& all, float scale) {
      Numbers numbers;
      for (std::size_t d = 0; d < shape.head_dim; ++d) {
        const float x = all[(t * shape.kv_heads + head_) * shape.head_dim + d];
        numbers.push_back(double{static_cast<float>(static_cast<T>(x / scale))} * double{scale});
      }
      return numbers;
    };
    const CacheShape model = shape_of<T>();
    return {position, part(tokens.keys, model.key_scale(0, head_)),
            part(tokens.values, model.value_scale(0, head_)), 0};
  }

  void attend(std::vector<Token>& seen, const Tokens& tokens, std::size_t t) const {
    oracle::Sequence sequence{shape.head_dim, {}, {}};
    std::vector<Position> indices;
    for (const Token& token : seen) {
      indices.push_back(static_cast<Position>(indices.size()));
      sequence.keys.push_back(token.key);
      sequence.values.push_back(token.value);
    }
    std::vector<Numbers> rows;
    for (std::size_t g = 0; g < shape.group(); ++g) {
      const std::size_t query = t * shape.query_heads + head_ * shape.group() + g;
      rows.push_back(oracle::weights_over(
          std::span(tokens.queries).subspan(query * shape.head_dim, shape.head_dim), sequence,
          indices));
    }
    const Numbers row = oracle::fuse(rows, GroupFusion::mean);
    for (std::size_t i = 0; i < seen.size(); ++i) {
      seen[i].best = std::max(seen[i].best, row[i] * norm1(seen[i].value));
    }
  }

  std::size_t head_;
  std::size_t capacity_;
  std::vector<Token> held_;  ///< by position
};

template <class T, class Score>
void equals_brute_force() {
  constexpr std::size_t capacity = 12;
  KVCache<T, Ranked<Score>> cache(shape_of<T>(), {.capacity = capacity});
  std::vector<BruteForce<T, Score>> heads;
  for (std::size_t head = 0; head < shape.kv_heads; ++head) heads.emplace_back(head, capacity);
  const Script script;
  const auto compare = [&] {
    for (std::size_t head = 0; head < shape.kv_heads; ++head) {
      const auto positions = cache.positions(0, head);
      std::vector<Position> kept(positions.begin(), positions.end());
      std::sort(kept.begin(), kept.end());
      ASSERT_EQ(kept, heads[head].kept()) << "next " << cache.next_position(0);
    }
  };
  for (const std::size_t prompt : {7U, 30U, 3U}) {
    const Position first = cache.next_position(0);
    const Tokens block = script.at(shape, 0, first, prompt);
    ASSERT_EQ(cache.prefill(0, block.queries, block.keys, block.values), Status::ok);
    for (auto& head : heads) head.block(first, block);
    compare();
    for (int step = 0; step < 25; ++step) {
      const Position position = cache.next_position(0);
      const Tokens token = script.at(shape, 0, position);
      std::vector<float> output(token.queries.size());
      ASSERT_EQ(cache.append(0, token.keys, token.values, position), Status::ok);
      ASSERT_EQ(cache.attend(0, token.queries, output), Status::ok);
      for (auto& head : heads) head.step(position, token);
      compare();
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(KeysAndValues, KeyDiff) {
  equals_brute_force<float, KeyDiff>();
  equals_brute_force<Eigen::half, KeyDiff>();
  equals_brute_force<E4M3, KeyDiff>();
}

TEST(KeysAndValues, MaximumWeightedByTheValue) {
  equals_brute_force<float, WeightedMax>();
  equals_brute_force<Eigen::half, WeightedMax>();
  equals_brute_force<E4M3, WeightedMax>();
}

}  // namespace
}  // namespace morphkv::testing::keys_and_values_test
