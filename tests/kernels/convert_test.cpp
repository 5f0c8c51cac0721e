// SPDX-License-Identifier: Apache-2.0
//
// Conversions: every version against the scalar types themselves.
#include "morphkv/kernels/convert.hpp"

#include "kernels/support.hpp"

namespace morphkv::testing::convert_test { namespace {

template <class T>
std::uint16_t bits_of(T x) {
  return Eigen::numext::bit_cast<std::uint16_t>(x);
}

template <class T>
class ConvertTest : public ::testing::Test {};
using SmallTypes = ::testing::Types<Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(ConvertTest, SmallTypes);

TYPED_TEST(ConvertTest, FromFloatRoundsToNearestEven) {
  std::mt19937 engine(1);
  std::vector<float> numbers = {
      0.0F,     -0.0F,    1.0F,     65504.0F,   65519.9F,
      65520.0F, 1e-8F,    1e-40F,   -1e-40F,    3e38F,
      3.4e38F,  0x1p-24F, 0x1p-25F, 0x1.8p-25F, std::numeric_limits<float>::infinity()};
  while (numbers.size() < 3000) {
    const auto bits = static_cast<std::uint32_t>(engine());
    const auto number = Eigen::numext::bit_cast<float>(bits);
    if (number == number) numbers.push_back(number);
    // Halfway between two neighbours, where ties to even shows.
    const auto halfway = Eigen::numext::bit_cast<float>((bits & 0xffff0000U) | 0x8000U);
    if (halfway == halfway) numbers.push_back(halfway);
  }
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    std::vector<TypeParam> out(numbers.size());
    kernels::convert(numbers.data(), numbers.size(), out.data());
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      ASSERT_EQ(bits_of(out[i]), bits_of(TypeParam(numbers[i]))) << numbers[i];
    }
  }
}

TYPED_TEST(ConvertTest, ToFloatIsExact) {
  std::vector<TypeParam> all(65536);
  for (std::uint32_t i = 0; i < all.size(); ++i) {
    all[i] = Eigen::numext::bit_cast<TypeParam>(static_cast<std::uint16_t>(i));
  }
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    std::vector<float> out(all.size());
    kernels::convert(all.data(), all.size(), out.data());
    for (std::size_t i = 0; i < all.size(); ++i) {
      const auto expected = static_cast<float>(all[i]);
      if (expected != expected) {
        ASSERT_NE(out[i], out[i]);
      } else {
        ASSERT_EQ(out[i], expected);
      }
    }
  }
}

TYPED_TEST(ConvertTest, NotANumberStaysSo) {
  const std::vector<float> numbers(20, std::numeric_limits<float>::quiet_NaN());
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    std::vector<TypeParam> out(numbers.size());
    kernels::convert(numbers.data(), numbers.size(), out.data());
    for (const TypeParam x : out) EXPECT_TRUE(Eigen::numext::isnan(x));
  }
}

TYPED_TEST(ConvertTest, AnySizeAndAlignment) {
  for (const std::size_t size : sizes()) {
    for (const std::size_t offset : Sizes{0, 1, 3}) {
      for (const Isa isa : isas()) {
        const OnIsa on(isa);
        Misaligned<float> from(size, offset);
        for (std::size_t i = 0; i < size; ++i) from[i] = static_cast<float>(i);
        Misaligned<TypeParam> to(size, offset);
        Misaligned<float> back(size, offset);
        kernels::convert(from.data(), size, to.data());
        kernels::convert(to.data(), size, back.data());
        for (std::size_t i = 0; i < size; ++i) {
          ASSERT_EQ(back[i], static_cast<float>(TypeParam(static_cast<float>(i))));
        }
        EXPECT_TRUE(to.intact() && back.intact());
      }
    }
  }
}

}  // namespace
}  // namespace morphkv::testing::convert_test
