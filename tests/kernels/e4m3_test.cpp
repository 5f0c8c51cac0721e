// SPDX-License-Identifier: Apache-2.0
//
// E4M3: all 256 bytes, and rounding to them, on every instruction set, against the definition in
// double.
#include "morphkv/core/e4m3.hpp"

#include "kernels/support.hpp"
#include "morphkv/kernels/convert.hpp"

namespace morphkv::testing::e4m3_test { namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

/// S.EEEE.MMM: an exponent with a bias of 7, whose 0 stands for denormals.
double exact(unsigned byte) {
  const int exponent = static_cast<int>(byte >> 3U & 15U);
  const double mantissa = byte & 7U;
  const double sign = byte < 0x80 ? 1 : -1;
  if ((byte & 0x7fU) == 0x7f) return nan;
  if (exponent == 0) return sign * mantissa / 8 * std::pow(2.0, -6);
  return sign * (1 + mantissa / 8) * std::pow(2.0, exponent - 7);
}

E4M3 of(unsigned byte) { return Eigen::numext::bit_cast<E4M3>(static_cast<std::uint8_t>(byte)); }
std::vector<E4M3> all_bytes() {
  std::vector<E4M3> all;
  for (unsigned byte = 0; byte < 256; ++byte) all.push_back(of(byte));
  return all;
}

/// The nearest of all numbers; of two the one with an even byte.
unsigned nearest(double x) {
  static const std::vector<double> numbers = [] {
    std::vector<double> all;
    for (unsigned byte = 0; byte < 0x7f; ++byte) all.push_back(exact(byte));
    return all;
  }();
  const unsigned sign = std::signbit(x) ? 0x80 : 0;
  if (std::isnan(x)) return sign | 0x7fU;
  const double magnitude = std::min(std::abs(x), 448.0);
  unsigned best = 0;
  double least = magnitude;
  for (unsigned byte = 1; byte < 0x7f; ++byte) {
    const double difference = std::abs(numbers[byte] - magnitude);
    if (difference > least || (difference == least && byte % 2 == 1)) continue;
    best = byte;
    least = difference;
  }
  return sign | best;
}

/// What lies on the numbers, between two of them and beside, of both signs.
std::vector<float> numbers_to_round() {
  std::vector<float> result = {0,      1e-45F, 1e-40F, 0x1p-126F, 0x1p-10F, 0x1.8p-10F,
                               464.0F, 480,    512,    65504,     3.4e38F,  infinity};
  for (unsigned byte = 0; byte < 0x7f; ++byte) {
    const double next = byte == 0x7e ? 480 : exact(byte + 1);
    for (const double x : {exact(byte), (exact(byte) + next) / 2}) {
      const auto middle = static_cast<float>(x);
      for (const float number :
           {std::nextafter(middle, 0.0F), middle, std::nextafter(middle, infinity)}) {
        result.push_back(number);
      }
    }
  }
  std::mt19937 engine(1);
  while (result.size() < 5000) {
    const auto number = std::bit_cast<float>(static_cast<std::uint32_t>(engine()));
    if (!std::isnan(number)) result.push_back(number);
    result.push_back(std::normal_distribution<float>(0, 0.05F)(engine));
  }
  for (std::size_t i = result.size(); i > 0; --i) result.push_back(-result[i - 1]);
  return result;
}

template <class To>
void expect_exact(const std::vector<To>& numbers) {
  ASSERT_EQ(numbers.size(), 256U);
  for (unsigned byte = 0; byte < 256; ++byte) {
    const auto number = static_cast<double>(static_cast<float>(numbers[byte]));
    if (std::isnan(exact(byte))) {
      ASSERT_TRUE(std::isnan(number)) << byte;
    } else {
      ASSERT_EQ(number, exact(byte)) << byte;
    }
    ASSERT_EQ(std::signbit(number), byte >= 0x80) << byte;
  }
}

TEST(E4M3, AllBytesAreExact) {
  std::vector<float> numbers;
  for (const E4M3 x : all_bytes()) numbers.push_back(static_cast<float>(x));
  expect_exact(numbers);
  const std::vector<E4M3> bytes = all_bytes();
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    std::vector<float> floats(256);
    kernels::convert(bytes.data(), 256, floats.data());
    expect_exact(floats);
    std::vector<Eigen::half> halves(256);
    kernels::convert(bytes.data(), 256, halves.data());
    expect_exact(halves);
  }
}

TEST(E4M3, RoundsToTheNearestTiesToEven) {
  const std::vector<float> numbers = numbers_to_round();
  for (const float x : numbers) ASSERT_EQ(E4M3(x).bits, nearest(double{x})) << x;
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    std::vector<E4M3> bytes(numbers.size());
    kernels::convert(numbers.data(), numbers.size(), bytes.data());
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      ASSERT_EQ(bytes[i].bits, nearest(double{numbers[i]})) << numbers[i];
    }
  }
}

TEST(E4M3, NotANumberStaysSo) {
  const float numbers[] = {std::numeric_limits<float>::quiet_NaN(),
                           -std::numeric_limits<float>::quiet_NaN(),
                           std::bit_cast<float>(0x7f800001U)};
  for (const float x : numbers) EXPECT_EQ(E4M3(x).bits & 0x7fU, 0x7fU);
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    for (const float x : numbers) {
      const std::vector<float> many(37, x);
      std::vector<E4M3> bytes(many.size());
      kernels::convert(many.data(), many.size(), bytes.data());
      for (const E4M3 byte : bytes) ASSERT_EQ(byte.bits & 0x7fU, 0x7fU);
    }
  }
}

TEST(E4M3, ComparesBits) {
  EXPECT_EQ(of(0x7f), of(0x7f));
  EXPECT_NE(of(0), of(0x80));
}

TEST(E4M3, FiniteNumbersAreStoredWhateverTheirMagnitude) {
  const auto stores = [](float x) {
    const std::vector<float> row = {1, x, 2};
    return are_finite<E4M3>(std::span<const float>(row));
  };
  EXPECT_TRUE(stores(3.4e38F) && stores(-3.4e38F) && stores(449) && stores(0));
  EXPECT_FALSE(stores(infinity) || stores(-infinity) ||
               stores(std::numeric_limits<float>::quiet_NaN()));
}

/// Nothing is written beyond a row of any size at any address.
TEST(E4M3, RowsOfAnySizeAlignmentAndScale) {
  const std::vector<float> numbers = numbers_to_round();
  std::vector<std::size_t> all_sizes = sizes();
  all_sizes.push_back(0);
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    for (const float scale : {1.0F, 0.0123F, 3.7F, 0x1p-100F, 1e30F, 1e-45F}) {
      for (const std::size_t size : all_sizes) {
        for (const std::size_t offset : Sizes{0, 1, 3}) {
          Misaligned<float> from(size, offset);
          for (std::size_t i = 0; i < size; ++i) from[i] = numbers[(i * 7 + size) % numbers.size()];
          Misaligned<E4M3> to(size, offset);
          Misaligned<float> back(size, offset);
          kernels::store_row(from.data(), size, scale, to.data());
          kernels::load_row(to.data(), size, scale, back.data());
          for (std::size_t i = 0; i < size; ++i) {
            ASSERT_EQ(to[i].bits, nearest(double{from[i] / scale})) << from[i] << ' ' << scale;
            ASSERT_EQ(back[i], static_cast<float>(exact(to[i].bits) * double{scale}));
          }
          ASSERT_TRUE(to.intact() && back.intact());
        }
      }
    }
  }
}

TEST(E4M3, TheRowsOfOtherTypesHaveNoScale) {
  const std::vector<float> numbers = {1, -2, 0.1F};
  std::vector<Eigen::half> row(3);
  kernels::store_row(numbers.data(), 3, 1, row.data());
  std::vector<float> back(3);
  kernels::load_row(row.data(), 3, 1, back.data());
  EXPECT_EQ(back, (std::vector<float>{1, -2, static_cast<float>(Eigen::half(0.1F))}));
}

}  // namespace
}  // namespace morphkv::testing::e4m3_test
