// SPDX-License-Identifier: Apache-2.0
//
// Updates of scores and searches: every version gives the bits of the portable one, and that one
// agrees with sums in double, plain maxima and searches one by one.
#include "morphkv/kernels/scores.hpp"

#include <array>
#include <bit>

#include "kernels/support.hpp"
#include "oracle/half_rounding.hpp"

namespace morphkv::testing::scores_test { namespace {

/// Some slots protected: about a quarter, none, or all.
std::vector<std::uint64_t> protection(std::size_t slots, unsigned quarters, std::mt19937& engine) {
  std::vector<std::uint64_t> words(slots / 64 + 1);
  for (std::size_t s = 0; s < slots; ++s) {
    if (engine() % 4 < quarters) words[s / 64] |= std::uint64_t{1} << (s % 64);
  }
  return words;
}

/// What a kernel changed and returned.
template <class Value>
struct Outcome {
  std::vector<std::vector<Value>> memory;
  std::uint64_t least = 0;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

class ScoresTest : public ::testing::Test {
 protected:
  /// Calls body(row, slots, protected bits, offset) for every size, input, protection and
  /// alignment.
  template <class Body>
  void for_each_row(const Body& body) {
    for (const std::size_t slots : sizes()) {
      for (const Shape shape : shapes()) {
        for (const std::size_t offset : Sizes{0, 1, 5}) {
          for (const unsigned quarters : {0U, 1U, 4U}) {
            std::mt19937 engine(static_cast<unsigned>(slots * 8 + offset));
            Misaligned<float> row(slots, offset);
            for (std::size_t s = 0; s < slots; ++s) row[s] = draw(shape, engine);
            const auto words = protection(slots, quarters, engine);
            SCOPED_TRACE(::testing::Message() << "slots " << slots << ", shape "
                                              << static_cast<int>(shape) << ", offset " << offset);
            body(row.data(), slots, words.data(), offset);
            body(row.data(), slots, nullptr, offset);
            if (HasFatalFailure()) return;
          }
        }
      }
    }
  }

  /// Expects the outcome of every version to be that of the portable one.
  template <class Run>
  void expect_same_bits(const Run& run) {
    decltype(run()) expected{};
    for (const Isa isa : isas()) {
      const OnIsa on(isa);
      if (isa == Isa::portable) {
        expected = run();
      } else {
        ASSERT_TRUE(run() == expected);
      }
    }
  }

  /// A row of patterns of halves in [0, 1].
  static std::vector<std::uint16_t> patterns(std::size_t slots, unsigned seed) {
    std::mt19937 engine(seed);
    std::vector<std::uint16_t> row(slots);
    for (std::uint16_t& bits : row) bits = static_cast<std::uint16_t>(engine() % 0x3c01);
    return row;
  }

  template <class T>
  static Misaligned<T> misaligned(const std::vector<T>& from, std::size_t offset) {
    Misaligned<T> to(from.size(), offset);
    std::copy(from.begin(), from.end(), to.data());
    return to;
  }
};

TEST_F(ScoresTest, SlideSum) {
  for_each_row([&](const float* row, std::size_t slots, const std::uint64_t* words,
                   std::size_t offset) {
    expect_same_bits([&] {
      auto oldest = misaligned(patterns(slots, 1), offset);
      Misaligned<std::uint32_t> sums(slots, offset);
      for (std::size_t s = 0; s < slots; ++s) sums[s] = 3 * half_units(oldest[s]) + 5;
      const auto before = sums.copy();
      const std::uint64_t least =
          kernels::slide_sum({row, slots}, words, oldest.data(), sums.data());
      EXPECT_TRUE(oldest.intact() && sums.intact());
      std::uint32_t lowest = std::numeric_limits<std::uint32_t>::max();
      for (std::size_t s = 0; s < slots; ++s) {
        const double weight = oracle::from_half_bits(oldest[s]);
        EXPECT_NEAR(weight, static_cast<double>(row[s]),
                    static_cast<double>(row[s]) * 0x1p-11 + 0x1p-25);
        EXPECT_EQ(sums[s],
                  before[s] - (before[s] - 5) / 3 + static_cast<std::uint32_t>(weight * 0x1p24));
        if (words != nullptr && !test_bit(words, s)) lowest = std::min(lowest, sums[s]);
      }
      EXPECT_EQ(least, lowest);
      std::vector<std::uint32_t> stored(oldest.data(), oldest.data() + slots);
      return Outcome<std::uint32_t>{{stored, sums.copy()}, least};
    });
  });
}

TEST_F(ScoresTest, SlideSumReturnsToZeroExactly) {
  constexpr std::size_t slots = 130;
  constexpr std::size_t rows = 255;
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    std::mt19937 engine(3);
    std::vector<std::vector<std::uint16_t>> ring(rows, std::vector<std::uint16_t>(slots));
    std::vector<std::uint32_t> sums(slots);
    std::vector<float> row(slots);
    for (std::size_t step = 0; step < 3 * rows; ++step) {
      for (float& weight : row)
        weight = step < rows ? kernels::max_weight : draw(Shape::heavy_tailed, engine);
      kernels::slide_sum(row, nullptr, ring[step % rows].data(), sums.data());
    }
    for (std::size_t s = 0; s < slots; ++s) {
      std::uint32_t exact = 0;
      for (const auto& stored : ring) exact += half_units(stored[s]);
      ASSERT_EQ(sums[s], exact);
    }
    std::fill(row.begin(), row.end(), 0.0F);
    for (auto& stored : ring) kernels::slide_sum(row, nullptr, stored.data(), sums.data());
    EXPECT_EQ(sums, std::vector<std::uint32_t>(slots));
  }
}

TEST_F(ScoresTest, AddToPane) {
  for_each_row(
      [&](const float* row, std::size_t slots, const std::uint64_t* words, std::size_t offset) {
        expect_same_bits([&] {
          Misaligned<std::uint32_t> pane(slots, offset);
          Misaligned<std::uint32_t> sums(slots, offset);
          for (std::size_t s = 0; s < slots; ++s) {
            pane[s] = static_cast<std::uint32_t>(s);
            sums[s] = static_cast<std::uint32_t>(1000 * s);
          }
          const std::uint64_t least =
              kernels::add_to_pane({row, slots}, words, pane.data(), sums.data());
          EXPECT_TRUE(pane.intact() && sums.intact());
          for (std::size_t s = 0; s < slots; ++s) {
            EXPECT_EQ(pane[s] - s, half_units(to_half_bits(row[s])));
            EXPECT_EQ(sums[s] - 1000 * s, half_units(to_half_bits(row[s])));
          }
          return Outcome<std::uint32_t>{{pane.copy(), sums.copy()}, least};
        });
      });
}

TEST_F(ScoresTest, SlideMax) {
  for_each_row([&](const float* row, std::size_t slots, const std::uint64_t* words,
                   std::size_t offset) {
    // Which rows of the window are there; every pair of choices is among these.
    for (const unsigned form : {0U, 7U, 13U, 18U, 22U, 27U, 28U, 31U}) {
      expect_same_bits([&] {
        auto newest = misaligned(patterns(slots, 3), offset);
        auto prefix = misaligned(patterns(slots, 2), offset);
        auto middle = misaligned(patterns(slots, 1), offset);
        auto old = misaligned(patterns(slots, 4), offset);
        auto suffix = misaligned(patterns(slots, 5), offset);
        auto next_suffix = misaligned(patterns(slots, 6), offset);
        const auto newest_before = newest.copy();
        const auto prefix_before = prefix.copy();
        const auto suffix_before = suffix.copy();
        const bool has_middle = (form & 1U) != 0;
        const bool has_old = (form & 2U) != 0;
        const bool has_suffix = (form & 4U) != 0;
        const kernels::MaxWindowRows rows{.newest = newest.data(),
                                          .prefix = prefix.data(),
                                          .middle = has_middle ? middle.data() : nullptr,
                                          .old = has_old ? old.data() : nullptr,
                                          .suffix = has_suffix ? suffix.data() : nullptr,
                                          .next_suffix = has_suffix ? next_suffix.data() : nullptr,
                                          .opens_pane = (form & 8U) != 0,
                                          .opens_block = (form & 16U) != 0};
        const std::uint64_t least = kernels::slide_max({row, slots}, words, rows);
        EXPECT_TRUE(newest.intact() && prefix.intact() && suffix.intact());
        std::uint16_t lowest = 0xffff;
        for (std::size_t s = 0; s < slots; ++s) {
          const std::uint16_t weight = to_half_bits(row[s]);
          EXPECT_EQ(newest[s], rows.opens_pane ? weight : std::max(newest_before[s], weight));
          EXPECT_EQ(prefix[s], rows.opens_block ? weight : std::max(prefix_before[s], weight));
          EXPECT_EQ(suffix[s],
                    has_suffix ? std::max(suffix_before[s], next_suffix[s]) : suffix_before[s]);
          std::uint16_t score = prefix[s];
          if (has_middle) score = std::max(score, middle[s]);
          if (has_old) score = std::max(score, old[s]);
          if (words != nullptr && !test_bit(words, s)) lowest = std::min(lowest, score);
        }
        EXPECT_EQ(least, lowest);
        return Outcome<std::uint16_t>{{newest.copy(), prefix.copy()}, least};
      });
    }
  });
}

TEST_F(ScoresTest, ReplaceRow) {
  for_each_row(
      [&](const float* row, std::size_t slots, const std::uint64_t* words, std::size_t offset) {
        expect_same_bits([&] {
          Misaligned<float> scores(slots, offset);
          const float least = kernels::replace_row({row, slots}, words, scores.data());
          EXPECT_TRUE(scores.intact());
          EXPECT_TRUE(std::equal(row, row + slots, scores.data()));
          float lowest = std::numeric_limits<float>::infinity();
          for (std::size_t s = 0; s < slots; ++s) {
            if (words != nullptr && !test_bit(words, s)) lowest = std::min(lowest, row[s]);
          }
          EXPECT_EQ(least, lowest);
          return least;
        });
      });
}

TEST_F(ScoresTest, DecayMax) {
  for_each_row(
      [&](const float* row, std::size_t slots, const std::uint64_t* words, std::size_t offset) {
        for (const float decay : {0.0F, 0.998F, 1.0F}) {
          expect_same_bits([&] {
            std::mt19937 engine(12);
            Misaligned<float> scores(slots, offset);
            for (std::size_t s = 0; s < slots; ++s) scores[s] = draw(Shape::log_normal, engine);
            const auto before = scores.copy();
            const float least = kernels::decay_max({row, slots}, words, decay, scores.data());
            EXPECT_TRUE(scores.intact());
            std::vector<float> expected(slots);
            float lowest = std::numeric_limits<float>::infinity();
            for (std::size_t s = 0; s < slots; ++s) {
              const double decayed = static_cast<double>(decay) * static_cast<double>(before[s]);
              expected[s] = std::max(static_cast<float>(decayed), row[s]);
              if (words != nullptr && !test_bit(words, s)) lowest = std::min(lowest, expected[s]);
            }
            EXPECT_EQ(scores.copy(), expected);
            EXPECT_EQ(least, lowest);
            return Outcome<float>{{scores.copy()}, std::bit_cast<std::uint32_t>(least)};
          });
        }
      });
}

TEST_F(ScoresTest, AddRow) {
  for_each_row(
      [&](const float* row, std::size_t slots, const std::uint64_t* words, std::size_t offset) {
        expect_same_bits([&] {
          Misaligned<std::uint64_t> sums(slots, offset);
          for (std::size_t s = 0; s < slots; ++s) sums[s] = std::uint64_t{s} << 50U;
          const std::uint64_t least = kernels::add_row({row, slots}, words, sums.data());
          EXPECT_TRUE(sums.intact());
          std::uint64_t lowest = std::numeric_limits<std::uint64_t>::max();
          for (std::size_t s = 0; s < slots; ++s) {
            const double units = std::floor(std::ldexp(static_cast<double>(row[s]), 40) + 0.5);
            EXPECT_EQ(sums[s] - (std::uint64_t{s} << 50U), static_cast<std::uint64_t>(units));
            if (words != nullptr && !test_bit(words, s)) lowest = std::min(lowest, sums[s]);
          }
          EXPECT_EQ(least, lowest);
          return Outcome<std::uint64_t>{{sums.copy()}, least};
        });
      });
}

// --- Searches

/// Scores of every kind with the same values, and what a search finds among them, one by one.
struct Scores {
  /// Values below `values`, among them the least and the greatest of each type where `extremes`.
  Scores(std::size_t slots, unsigned values, bool extremes, std::mt19937& engine)
      : positions(slots), value_of(slots) {
    constexpr std::uint64_t top = std::uint64_t{1}
                                  << 63U;  // below and above the greatest signed one
    for (std::size_t s = 0; s < slots; ++s) {
      const unsigned value = static_cast<unsigned>(engine()) % values;
      value_of[s] = value;
      u32.push_back(extremes && value > 0 ? ~0U - value : value);
      u64.push_back(extremes && value > 0 ? top - 2 + value : value);
      f32.push_back(extremes && value > 0 ? 1e38F * static_cast<float>(value % 3 + 1)
                                          : static_cast<float>(value));
      prefix.push_back(static_cast<std::uint16_t>(s % 3 == 0 ? value : 0));
      suffix.push_back(static_cast<std::uint16_t>(s % 3 == 1 ? value : 0));
      third.push_back(static_cast<std::uint16_t>(s % 3 == 2 ? value : 0));
      // Quotients that are no whole numbers, of sums that doubles do not hold exactly; a token of
      // this step, and one whose step has wrapped around.
      sums.push_back((std::uint64_t{value} << 53U) + s % 2);
      births.push_back(s % 7 == 0 ? step : step - static_cast<std::uint32_t>(engine() % 5) - 1);
      positions[s] = static_cast<Position>(s);
    }
    std::shuffle(positions.begin(), positions.end(), engine);
  }

  [[nodiscard]] double mean(std::size_t s) const {
    return static_cast<double>(sums[s]) /
           static_cast<double>(std::max<std::uint32_t>(step - births[s], 1));
  }

  static constexpr std::uint32_t step = 3;
  std::vector<std::uint32_t> u32, births;
  std::vector<std::uint64_t> u64, sums;
  std::vector<float> f32;
  std::vector<std::uint16_t> prefix, suffix, third;
  std::vector<Position> positions;
  std::vector<unsigned> value_of;
};

template <class ValueAt>
auto lowest_by_hand(std::size_t slots, const std::uint64_t* words, const ValueAt& value_at) {
  using Limits = std::numeric_limits<decltype(value_at(0))>;
  auto lowest = Limits::has_infinity ? Limits::infinity() : Limits::max();
  for (std::size_t s = 0; s < slots; ++s) {
    if (words != nullptr && !test_bit(words, s)) lowest = std::min(lowest, value_at(s));
  }
  return lowest;
}

template <class Value, class ValueAt>
Slot oldest_by_hand(Value value, const Scores& scores, const std::uint64_t* words,
                    const ValueAt& value_at) {
  Slot oldest = no_slot;
  for (Slot s = 0; s < scores.positions.size(); ++s) {
    if (value_at(s) != value || test_bit(words, s)) continue;
    if (oldest == no_slot || scores.positions[s] < scores.positions[oldest]) oldest = s;
  }
  return oldest;
}

TEST_F(ScoresTest, TheLowestScoreAndTheOldestOfEqualOnes) {
  for (const std::size_t slots : sizes()) {
    for (const unsigned values : {1U, 3U, 1000U}) {
      for (const unsigned quarters : {0U, 1U, 4U}) {
        std::mt19937 engine(static_cast<unsigned>(slots));
        const Scores scores(slots, values, values == 3, engine);
        const auto bits = protection(slots, quarters, engine);
        for (const Isa isa : isas()) {
          const OnIsa on(isa);
          const auto candidates = [&](const std::uint64_t* words) {
            return Candidates{slots, words, scores.positions.data()};
          };
          // The search for the lowest value, with and without candidates; then whose it is, and
          // whose another value is.
          const auto check = [&](auto value_at, auto lowest, auto oldest) {
            ASSERT_EQ(lowest(nullptr), lowest_by_hand(slots, nullptr, value_at));
            const auto found = lowest(bits.data());
            ASSERT_EQ(found, lowest_by_hand(slots, bits.data(), value_at));
            for (const auto value : {found, value_at(slots / 2), value_at(slots - 1)}) {
              ASSERT_EQ(oldest(value), oldest_by_hand(value, scores, bits.data(), value_at));
            }
          };
          const auto check_row = [&](const auto& row) {
            check([&](std::size_t s) { return row[s]; },
                  [&](const std::uint64_t* words) {
                    return kernels::lowest(row.data(), candidates(words));
                  },
                  [&](auto value) {
                    return kernels::oldest_with(value, row.data(), candidates(bits.data()));
                  });
          };
          check_row(scores.u32);
          check_row(scores.u64);
          check_row(scores.f32);
          const kernels::Maxima rows{scores.prefix.data(), scores.suffix.data(),
                                     scores.third.data()};
          const auto maximum = [&](std::size_t s) {
            return std::max({scores.prefix[s], scores.suffix[s], scores.third[s]});
          };
          for (const std::uint16_t value : {maximum(0), maximum(slots / 2), maximum(slots - 1)}) {
            ASSERT_EQ(kernels::oldest_with(value, rows, candidates(bits.data())),
                      oldest_by_hand(value, scores, bits.data(), maximum));
          }
          const std::uint32_t key = values;
          const auto draw = [&](std::size_t s) {
            return kernels::random_draw(scores.positions[s], key);
          };
          const kernels::Draws draws{scores.positions.data(), key};
          check(
              draw,
              [&](const std::uint64_t* words) { return kernels::lowest(draws, candidates(words)); },
              [&](auto value) {
                return kernels::oldest_with(value, draws, candidates(bits.data()));
              });
          const kernels::Means means{scores.sums.data(), scores.births.data(), Scores::step};
          check(
              [&](std::size_t s) { return scores.mean(s); },
              [&](const std::uint64_t* words) { return kernels::lowest(means, candidates(words)); },
              [&](double value) {
                return kernels::oldest_with(value, means, candidates(bits.data()));
              });
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_F(ScoresTest, BadWeightsAreFoundWhereverTheyAre) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    for (const std::size_t slots : sizes()) {
      std::vector<float> row(slots, kernels::max_weight);
      EXPECT_TRUE(kernels::is_valid_row(row.data(), slots));
      for (std::size_t s = 0; s < slots; ++s) {
        for (const float bad :
             {nan, -nan, infinity, -infinity, -0.0F, -1e-30F, -1.0F, 1.01F, 1e30F}) {
          row[s] = bad;
          ASSERT_FALSE(kernels::is_valid_row(row.data(), slots)) << bad << " at " << s;
        }
        for (const float good : {0.0F, 1e-40F, 1.0F}) {
          row[s] = good;
          ASSERT_TRUE(kernels::is_valid_row(row.data(), slots)) << good << " at " << s;
        }
      }
    }
  }
}

}  // namespace
}  // namespace morphkv::testing::scores_test
