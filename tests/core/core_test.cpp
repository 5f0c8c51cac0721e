// SPDX-License-Identifier: Apache-2.0
// The vocabulary.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <set>
#include <string>
#include <vector>

#include "morphkv/core/aligned_buffer.hpp"
#include "morphkv/core/executor.hpp"
#include "morphkv/core/kv_view.hpp"
#include "morphkv/core/shape.hpp"
#include "morphkv/core/types.hpp"
#include "morphkv/core/weight_units.hpp"
#include "oracle/half_rounding.hpp"
#include "support/bit_mask.hpp"
#include "support/errors.hpp"
#include "support/random.hpp"

namespace morphkv::testing::core_test { namespace {

/// Finite non-negative binary16 numbers.
constexpr std::uint16_t patterns = 0x7c00;

TEST(HalfBits, EveryPatternIsWhatTheStandardSays) {
  for (std::uint16_t bits = 0; bits < patterns; ++bits) {
    const int exponent = bits >> 10;
    const int mantissa = bits & 0x3ff;
    const double number =
        exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    ASSERT_EQ(oracle::from_half_bits(bits), number);
    ASSERT_EQ(to_half_bits(static_cast<float>(number)), bits);
    if (number < 256) {  // 32 bits of 2^-24
      ASSERT_EQ(std::ldexp(static_cast<double>(half_units(bits)), -24), number);
    }
    ASSERT_EQ(oracle::round_to_half(number), number);
  }
}

TEST(HalfBits, RoundsToNearestTiesToEven) {
  Random random(1);
  for (int i = 0; i < 200'000; ++i) {
    const auto weight =
        static_cast<float>(std::ldexp(random.unit(), -static_cast<int>(random.below(30))));
    ASSERT_EQ(oracle::from_half_bits(to_half_bits(weight)), oracle::round_to_half(double{weight}));
  }
  for (std::uint16_t bits = 0; bits + 1 < patterns; ++bits) {
    const auto next = static_cast<std::uint16_t>(bits + 1);
    const double middle = (oracle::from_half_bits(bits) + oracle::from_half_bits(next)) / 2;
    ASSERT_EQ(to_half_bits(static_cast<float>(middle)) % 2, 0);
  }
}

TEST(BitMask, SetsClearsAndTests) {
  for (const std::size_t bits : {1U, 63U, 64U, 65U, 511U, 513U}) {
    BitMask mask(bits);
    std::vector<bool> truth(bits);
    Random random(bits);
    for (int i = 0; i < 2000; ++i) {
      const std::size_t index = random.below(bits);
      const bool set = random.chance(0.5);
      set ? mask.set(index) : mask.clear(index);
      truth[index] = set;
      const std::size_t other = random.below(bits);
      ASSERT_EQ(mask.test(other), truth[other]);
      ASSERT_EQ(test_bit(mask.data(), other), truth[other]);
    }
    mask.clear();
    for (std::size_t index = 0; index < bits; ++index) ASSERT_FALSE(mask.test(index));
  }
}

TEST(AlignedBuffer, IsZeroAlignedAndCopiedByValue) {
  for (const std::size_t size : {1U, 15U, 16U, 17U, 1000U}) {
    AlignedBuffer<float> buffer(size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % buffer_alignment, 0U);
    for (std::size_t i = 0; i < size; ++i) ASSERT_EQ(buffer[i], 0.0F);
    AlignedBuffer<float> copy = buffer;
    copy[size - 1] = 3;
    EXPECT_EQ(buffer[size - 1], 0.0F);
    buffer = copy;
    EXPECT_EQ(buffer[size - 1], 3.0F);
    AlignedBuffer<float> shorter(size + 100);
    shorter = copy;
    EXPECT_EQ(shorter.size(), size);
    EXPECT_EQ(shorter[size - 1], 3.0F);
    const AlignedBuffer<float> moved = std::move(copy);
    EXPECT_EQ(moved[size - 1], 3.0F);
    EXPECT_EQ(moved.bytes(), size * sizeof(float));
  }
  EXPECT_EQ(AlignedBuffer<float>().size(), 0U);
  EXPECT_EQ(AlignedBuffer<float>(0).bytes(), 0U);
}

TEST(AlignedBuffer, RefusesSizesThatCannotBe) {
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
  GTEST_SKIP() << "the sanitizer's operator new ends the program";
#endif
#endif
  // Volatile: a compiler that sees the constant warns of the memory that is never there.
  const volatile std::size_t most = std::numeric_limits<std::size_t>::max();
  EXPECT_THROW(AlignedBuffer<float>(most / 4 + 2), std::bad_alloc) << "the bytes would wrap to 4";
  EXPECT_THROW(AlignedBuffer<float>{most}, std::bad_alloc);
}

TEST(RowMatrix, RowsAreAlignedAndApart) {
  RowMatrix<std::uint16_t> matrix(3, 5);
  EXPECT_EQ(matrix.stride() * sizeof(std::uint16_t) % buffer_alignment, 0U);
  for (std::size_t r = 0; r < 3; ++r) {
    for (std::size_t c = 0; c < 5; ++c)
      matrix.row(r)[c] = static_cast<std::uint16_t>(10 * r + c + 1);
  }
  for (std::size_t r = 0; r < 3; ++r) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(matrix.row(r)) % buffer_alignment, 0U);
    for (std::size_t c = 0; c < 5; ++c) EXPECT_EQ(matrix.row(r)[c], 10 * r + c + 1);
  }
  matrix.clear();
  EXPECT_EQ(matrix.row(2)[4], 0);
}

TEST(CacheShape, CountsHeads) {
  const CacheShape shape{.layers = 3, .query_heads = 12, .kv_heads = 4, .head_dim = 64};
  EXPECT_EQ(shape.group(), 3U);
  EXPECT_EQ(shape.heads(), 12U);
  validate(shape);
}

TEST(StatusText, IsDifferentForEach) {
  std::set<std::string_view> texts;
  for (const Status status :
       {Status::ok, Status::wrong_size, Status::position_backwards, Status::bad_row,
        Status::out_of_step, Status::full, Status::nothing_to_evict, Status::too_far_back,
        Status::not_finite, Status::no_memory, Status::no_sequence, Status::position_too_large}) {
    texts.insert(to_string(status));
  }
  EXPECT_EQ(texts.size(), 12U);
  EXPECT_EQ(to_string(Status::not_finite), "a key or value is not finite in the cache's type");
  EXPECT_EQ(to_string(Status::position_too_large), "a position is above max_position");
  EXPECT_EQ(to_string(Status::no_sequence), "the pool has no such sequence, or it is named twice");
  EXPECT_EQ(texts.count("unknown status"), 0U);
  EXPECT_EQ(to_string(static_cast<Status>(99)), "unknown status");
}

TEST(Require, NamesTheOptionTheValueAndWhatIsAllowed) {
  EXPECT_EQ(refusal([] { require(false, "window", 0, "at least 1"); }),
            "morphkv: window = 0: must be at least 1");
  EXPECT_EQ(refusal([] { require(true, "window", 0, "at least 1"); }), "nothing was thrown");
}

TEST(SerialExecutor, RunsEveryBodyOnceInOrder) {
  std::vector<std::size_t> ran;
  SerialExecutor()(4, [&](std::size_t index) { ran.push_back(index); });
  EXPECT_EQ(ran, (std::vector<std::size_t>{0, 1, 2, 3}));
}

TEST(KvCursor, WalksOverEveryRowInItsPieces) {
  const std::vector<float> data(100);
  for (const std::size_t page_rows : {1U, 3U}) {
    // A table that ends with the last page that is used; pages 4, 5, 6 and 8, 9 are one piece.
    const std::vector<std::int32_t> pages = {4, 5, 6, 2, 8, 9, 1};
    const std::vector<std::size_t> pieces = {3, 1, 2, 1};
    const KvView<const float> rows{data.data(), 2, pages.data(), page_rows, 2 * page_rows};
    const std::size_t tokens = pages.size() * page_rows - (page_rows - 1);
    for (const std::size_t most : {std::size_t{1}, std::size_t{2}, std::size_t{4}, tokens}) {
      for (std::size_t begin = 0; begin < tokens; ++begin) {
        KvCursor<float> cursor(rows, begin);
        std::size_t calls = 0;
        for (std::size_t t = begin; t < tokens; ++calls) {
          const float* first = nullptr;
          const std::size_t count = cursor.next(std::min(most, tokens - t), first);
          ASSERT_GE(count, 1U);
          ASSERT_LE(count, std::min(most, tokens - t));
          for (std::size_t i = 0; i < count; ++i, ++t) ASSERT_EQ(first + 2 * i, rows[t]);
        }
        if (most == tokens && begin == 0) {
          EXPECT_EQ(calls, pieces.size());
        }
      }
    }
    KvView<const float> padded = rows;
    padded.page_stride += 2;  // no page lies right behind another
    const float* first = nullptr;
    EXPECT_EQ(KvCursor<float>(padded).next(tokens, first), page_rows);
  }
}

}  // namespace
}  // namespace morphkv::testing::core_test
