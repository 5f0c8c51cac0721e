// SPDX-License-Identifier: Apache-2.0
//
// Row gather and in-place compaction: every version against plain copies.
#include "morphkv/kernels/gather.hpp"

#include "kernels/support.hpp"

namespace morphkv::test::gather_test {
namespace {

std::vector<std::uint32_t> every_other(std::size_t rows, std::mt19937& engine) {
  std::vector<std::uint32_t> chosen;
  for (std::uint32_t row = 0; row < rows; ++row) {
    if (engine() % 2 == 0) chosen.push_back(row);
  }
  return chosen;
}

void expect_rows(std::size_t rows, std::size_t row_bytes, std::size_t padding, std::size_t offset) {
  const std::size_t stride = row_bytes + padding;
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    std::mt19937 engine(4);
    Misaligned<unsigned char> from(rows * stride, offset);
    for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<unsigned char>(engine());
    const auto before = from.copy();
    auto chosen = every_other(rows, engine);
    const auto row_of = [&](std::size_t row, std::size_t byte) {
      return before[row * stride + byte];
    };

    kernels::compact_rows(from.data(), stride, chosen.data(), chosen.size(), row_bytes);
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      for (std::size_t b = 0; b < row_bytes; ++b) {
        ASSERT_EQ(from[i * stride + b], row_of(chosen[i], b)) << row_bytes;
      }
    }
    EXPECT_TRUE(from.intact());

    std::copy(before.begin(), before.end(), from.data());
    std::shuffle(chosen.begin(), chosen.end(), engine);
    Misaligned<unsigned char> to(chosen.size() * row_bytes, offset);
    kernels::gather_rows(from.data(), stride, chosen.data(), chosen.size(), row_bytes, to.data());
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      for (std::size_t b = 0; b < row_bytes; ++b) {
        ASSERT_EQ(to[i * row_bytes + b], row_of(chosen[i], b)) << row_bytes;
      }
    }
    EXPECT_TRUE(to.intact());
  }
}

TEST(GatherTest, AnyRow) {
  for (const std::size_t rows : Sizes{0, 1, 2, 17, 130}) {
    for (const std::size_t row_bytes : Sizes{0, 1, 2, 16, 32, 64, 96, 130, 256, 512}) {
      expect_rows(rows, row_bytes, 0, 0);
      expect_rows(rows, row_bytes, 64, 0);
      expect_rows(rows, row_bytes, 3, 1);
    }
  }
}

TEST(GatherTest, LargeResultsThatBypassTheCaches) {
  expect_rows(6000, 256, 0, 0);
  expect_rows(6000, 256, 0, 1);
}

}  // namespace
}  // namespace morphkv::test::gather_test
