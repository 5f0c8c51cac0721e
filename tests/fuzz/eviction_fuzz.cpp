// SPDX-License-Identifier: Apache-2.0
// One head of any policy through random calls, in lockstep with an oracle in double and with the
// eviction machine as a device runs it.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "fuzz/fuzz_input.hpp"
#include "fuzz/gtest_failures.hpp"
#include "morphkv/policy/recommended.hpp"
#include "support/contenders.hpp"
#include "support/duel.hpp"
#include "support/team_head.hpp"

namespace morphkv::testing { namespace {

/// What the docs recommend; its float scores are compared with the team's alone.
struct RecommendedContender {
  using Policy = DecayedMax;
  static Policy::Options options(const Setting& s) {
    Policy::Options options = recommended(s.capacity);
    options.group = s.group;
    options.protect_prompt = s.protect_prompt;
    options.history = s.history;
    return options;
  }
};

/// The same with the pins that large caches have.
struct SmallPinsContender {
  using Policy = DecayedMax;
  static Policy::Options options(const Setting& s) {
    Policy::Options options = RecommendedContender::options(s);
    options.pins = options.capacity - options.recent - options.sinks;
    return options;
  }
};

/// MorphKV's default: panes of maxima.
struct PanesContender {
  using Policy = MorphKV;
  static Policy::Options options(const Setting& s) {
    return {.capacity = s.capacity,
            .group = s.group,
            .sinks = (std::min)(s.sinks, s.capacity - s.capacity / 2 - 1),
            .protect_prompt = s.protect_prompt,
            .history = s.history};
  }
};

/// An oracle where there is none.
struct NoOracle {};
template <class Contender>
auto reference_of(const Setting& setting) {
  if constexpr (requires { Contender::reference(setting); }) {
    return Contender::reference(setting);
  } else {
    return NoOracle{};
  }
}

Setting draw_setting(FuzzBytes& bytes) {
  Setting s;
  s.window = 1 + bytes.below(40);
  s.sinks = bytes.below(6);
  s.capacity = s.window + s.sinks + 1 + bytes.below(60);
  s.protect_prompt = bytes.byte() % 4 == 3;
  s.max_tokens = s.capacity + bytes.below(200);
  s.history = bytes.below(9);
  s.group = bytes.byte() % 2 == 0 ? GroupFusion::max : GroupFusion::mean;
  return s;
}

template <class Contender>
class Play {
  using Policy = typename Contender::Policy;
  using Oracle = decltype(reference_of<Contender>(Setting{}));
  static constexpr bool has_oracle = !std::same_as<Oracle, NoOracle>;
  /// The oracle's scores with a half-life of one row are exact in float for so many.
  static constexpr std::size_t max_rows =
      has_oracle && std::same_as<Policy, DecayedMax> ? 100 : 1'000'000;

 public:
  Play(const Setting& setting, std::uint64_t seed)
      : policy_(Contender::options(setting)),
        team_(policy_.plan(), 0),
        oracle_(reference_of<Contender>(setting)),
        random_(seed),
        max_events_((std::max<std::size_t>)(setting.history, 1)) {}

  void run(FuzzBytes& bytes) {
    for (int call = 0; call < 300 && !bytes.empty() && rows_ < max_rows; ++call) {
      const std::size_t code = bytes.byte();
      const Weights kind = all_weights[code / 16 % all_weights.size()];
      ++operations;
      switch (code % 16) {
        case 0:
          block(kind, 1 + bytes.below(70));
          break;
        case 1:
          block(kind, 1 + bytes.below(8));
          break;
        case 2:
          refuse_rows(bytes);
          break;
        case 3:
          refuse_positions();
          break;
        case 4:
        case 5:
          take_back(bytes);
          break;
        case 6:
          copy();
          break;
        case 7:
          step(kind, true, 0);
          break;
        case 8:
          step(kind, false, 1 + static_cast<Position>(bytes.below(8)));
          break;
        case 9:
          if (bytes.byte() % 4 == 0) reset();
          break;
        default:
          step(kind, false, 0);
      }
      compare();
    }
  }

 private:
  /// What undid: the oracle before a token, and the token.
  struct Event {
    Oracle before;
    Position first = 0;
    std::vector<oracle::Row> rows;
    bool block = false;
  };

  void block(Weights kind, std::size_t tokens) {
    tokens = (std::min)(tokens, max_rows - rows_);
    rows_ += tokens;
    const Position first = policy_.newest() + 1;
    std::vector<Position> seen = kept(policy_);
    std::vector<oracle::Row> rows;
    for (std::size_t t = 0; t < tokens; ++t) {
      seen.push_back(first + static_cast<Position>(t));
      rows.push_back(draw_row(kind, seen, random_));
    }
    const Oracle before = oracle_;
    const std::vector<std::byte> bytes = state();
    const Status status = append_block(policy_, first, rows);
    if constexpr (has_oracle) {
      ASSERT_EQ(status, oracle_.block(first, rows));
    }
    if (status != Status::ok) {
      ASSERT_TRUE(state() == bytes) << "a block that is refused changes nothing";
      return;
    }
    team_.take_over(policy_.state_bytes());
    if (policy_.recorded() == rows.size()) {
      events_.clear();
      events_.push_back({before, first, rows, true});
    } else {
      events_.clear();
    }
  }

  void step(Weights kind, bool mute, Position gap) {
    const Position position = policy_.newest() + 1 + gap;
    const Oracle before = oracle_;
    const Placement placement = policy_.place(position);
    const Placement of_team = team_.place(position);
    ASSERT_EQ(placement.status, of_team.status);
    ASSERT_EQ(placement.slot, of_team.slot);
    ASSERT_EQ(placement.evicted, of_team.evicted);
    if constexpr (has_oracle) {
      ASSERT_EQ(placement.status, oracle_.arrive(position));
    }
    if (placement.status != Status::ok) return;
    ASSERT_EQ(policy_.positions()[placement.slot], position);
    ++rows_;
    Event event{before, position, {}, false};
    if (!mute) {
      const oracle::Row row = draw_row(kind, kept(policy_), random_);
      const std::vector<float> weights = in_slot_order(row, policy_.positions());
      ASSERT_EQ(policy_.observe(weights), Status::ok);
      ASSERT_EQ(team_.observe(weights), Status::ok);
      if constexpr (has_oracle) oracle_.attend(row);
      event.rows.push_back(row);
    }
    events_.push_back(std::move(event));
    if (events_.size() > max_events_) events_.pop_front();
  }

  /// Rows of a wrong size, and rows that are no weights.
  void refuse_rows(FuzzBytes& bytes) {
    if (policy_.size() == 0) return;
    const std::vector<std::byte> before = state();
    std::vector<float> row(policy_.size(), 0.25F);
    ASSERT_EQ(policy_.observe(std::span(row).first(row.size() - 1)), Status::wrong_size);
    constexpr float bad[] = {std::numeric_limits<float>::quiet_NaN(),
                             std::numeric_limits<float>::infinity(), -0.0F, -0.5F, 1.5F};
    row[bytes.below(row.size())] = bad[bytes.below(std::size(bad))];
    ASSERT_EQ(policy_.observe(row), Status::bad_row);
    ASSERT_EQ(team_.observe(row), Status::bad_row);
    ASSERT_TRUE(state() == before);
  }

  /// Positions that came before, or that are too large.
  void refuse_positions() {
    const std::vector<std::byte> before = state();
    if (policy_.newest() != no_position) {
      ASSERT_EQ(policy_.place(policy_.newest()).status, Status::position_backwards);
    }
    ASSERT_EQ(policy_.place(max_position + 1).status, Status::position_too_large);
    ASSERT_TRUE(state() == before);
  }

  void take_back(FuzzBytes& bytes) {
    if (policy_.recorded() == 0) return;
    const std::size_t count = bytes.below(policy_.recorded() + 1);
    (void)policy_.rollback(count);
    undo(count);
    team_.take_over(policy_.state_bytes());
  }

  void undo(std::size_t count) {
    while (count > 0) {
      ASSERT_FALSE(events_.empty());
      const Event last = std::move(events_.back());
      events_.pop_back();
      oracle_ = last.before;
      if (!last.block) {
        --count;
        continue;
      }
      std::vector<oracle::Row> rows = last.rows;
      rows.resize(rows.size() - count);
      count = 0;
      if (rows.empty()) continue;
      if constexpr (has_oracle) {
        ASSERT_EQ(oracle_.block(last.first, rows), Status::ok);
      }
      events_.push_back({last.before, last.first, rows, true});
    }
  }

  /// A copy goes on like the original.
  void copy() {
    Policy other(policy_);
    policy_ = std::move(other);
  }

  void reset() {
    policy_.reset();
    team_ = TeamHead(policy_.plan(), 0);
    if constexpr (has_oracle) oracle_ = Oracle(oracle_.options());
    events_.clear();
  }

  void compare() {
    ASSERT_TRUE(std::ranges::equal(team_.state_bytes(), policy_.state_bytes()));
    ASSERT_LE(policy_.size(), policy_.slots());
    if constexpr (has_oracle) {
      ASSERT_EQ(kept(policy_), oracle_.kept());
    }
  }

  [[nodiscard]] std::vector<std::byte> state() const {
    const auto bytes = policy_.state_bytes();
    return {bytes.begin(), bytes.end()};
  }

  Policy policy_;
  TeamHead<typename Policy::Plan::Score> team_;
  Oracle oracle_;
  Random random_;
  std::size_t max_events_;
  std::size_t rows_ = 0;      ///< that came, taken back or not
  std::deque<Event> events_;  ///< that can be undone, and perhaps older ones
};

template <class Contender>
void play(FuzzBytes& bytes) {
  const Setting setting = draw_setting(bytes);
  SCOPED_TRACE(::testing::Message() << setting);
  Play<Contender>(setting, bytes.below(65'536)).run(bytes);
}

}}  // namespace morphkv::testing

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace morphkv::testing;
  static constexpr void (*plays[])(FuzzBytes&) = {play<MorphKVSum>,
                                                  play<MorphKVMax>,
                                                  play<SnapKVAverage>,
                                                  play<SnapKVMax>,
                                                  play<SnapKVUnpooled>,
                                                  play<H2OPlain>,
                                                  play<H2ONormalised>,
                                                  play<DecayedMaxOfAll>,
                                                  play<DecayedMaxOfDistant>,
                                                  play<DecayedMaxWithPins>,
                                                  play<DecayedMaxOfPrompts>,
                                                  play<TOVAContender>,
                                                  play<StreamingLLMContender>,
                                                  play<FullContender>,
                                                  play<RandomContender>,
                                                  play<PanesContender>,
                                                  play<RecommendedContender>,
                                                  play<SmallPinsContender>};
  FuzzBytes bytes(data, size);
  plays[bytes.below(std::size(plays))](bytes);
  return 0;
}
