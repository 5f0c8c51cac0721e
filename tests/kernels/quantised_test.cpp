// SPDX-License-Identifier: Apache-2.0
//
// Blocks of quantised numbers: rounding, the layout of ggml, and decode attention over them against
// double arithmetic on the numbers that the blocks stand for.
#include "morphkv/core/quantised.hpp"

#include <cstring>

#include "kernels/support.hpp"
#include "morphkv/kernels/convert.hpp"
#include "morphkv/kernels/decode_attention.hpp"

namespace morphkv::testing::quantised_test { namespace {

template <class T>
class QuantisedTest : public ::testing::Test {};
using kernels::Isa;
using Types = ::testing::Types<Q8_0, Q4_0>;
TYPED_TEST_SUITE(QuantisedTest, Types);

/// Steps from the greatest magnitude to 0.
template <class T>
constexpr double steps = std::same_as<T, Q8_0> ? 127 : 8;

/// Half a step, and what the scale's own rounding does to the outermost step; for Q4_0 a number
/// opposite to the greatest one may be a whole step beyond the last.
template <class T>
double largest_error(double greatest) {
  const double step = greatest / steps<T>;
  return (std::same_as<T, Q8_0> ? 0.5 : 1.0) * step + greatest * 0x1p-10 + steps<T> * 0x1p-24;
}

TYPED_TEST(QuantisedTest, NumbersAreNear) {
  std::mt19937 engine(3);
  for (const float magnitude : {1.0F, 1e-3F, 300.0F, 60000.0F, 5e5F}) {
    for (int round = 0; round < 200; ++round) {
      float numbers[32];
      double greatest = 0;
      for (float& x : numbers) {
        x = std::uniform_real_distribution<float>(-magnitude, magnitude)(engine);
        if (round % 3 == 0) x = std::abs(x);
        greatest = std::max(greatest, double{std::abs(x)});
      }
      TypeParam block;
      kernels::convert(numbers, 32, &block);
      float back[32];
      kernels::convert(&block, 32, back);
      for (std::size_t i = 0; i < 32; ++i) {
        ASSERT_NEAR(back[i], numbers[i], largest_error<TypeParam>(greatest));
        ASSERT_EQ(back[i], block.number(i));
      }
    }
  }
}

TYPED_TEST(QuantisedTest, StepsComeBackAsTheyWere) {
  TypeParam block;
  block.scale = static_cast<Eigen::half>(0.25F);
  if constexpr (std::same_as<TypeParam, Q8_0>) {
    for (int i = 0; i < 32; ++i) block.steps[i] = static_cast<std::int8_t>(127 - 8 * i);
  } else {
    for (unsigned i = 0; i < 16; ++i)
      block.pairs[i] = static_cast<std::uint8_t>(i << 4U | (15 - i));
  }
  float numbers[32];
  kernels::convert(&block, 32, numbers);
  TypeParam again;
  kernels::convert(numbers, 32, &again);
  EXPECT_EQ(std::memcmp(&block, &again, sizeof block), 0);
}

TYPED_TEST(QuantisedTest, ZerosAndTheSmallestNumbers) {
  for (const float x : {0.0F, -0.0F, 1e-12F, -1e-40F}) {
    float numbers[32];
    std::fill_n(numbers, 32, x);
    TypeParam block;
    kernels::convert(numbers, 32, &block);
    for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(block.number(i), 0);
  }
}

TYPED_TEST(QuantisedTest, WhatHasNoFiniteScaleIsReported) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {nan, infinity, -infinity, 1e6F}) {
    const std::vector<float> numbers = {1, 2, bad, 3};
    EXPECT_FALSE((are_finite<TypeParam>(std::span<const float>(numbers)))) << bad;
  }
  const std::vector<float> numbers = {1, 2, 5e5F, -5e5F};
  EXPECT_TRUE((are_finite<TypeParam>(std::span<const float>(numbers))));
}

/// A scale of 2, then 32 bytes.
TEST(Quantised, BytesOfQ8_0) {
  const unsigned char bytes[34] = {0x00, 0x40, 1, 0xff, 127, 0x81};
  Q8_0 block;
  std::memcpy(static_cast<void*>(&block), bytes, sizeof block);
  EXPECT_EQ(block.number(0), 2);
  EXPECT_EQ(block.number(1), -2);
  EXPECT_EQ(block.number(2), 254);
  EXPECT_EQ(block.number(3), -254);
  EXPECT_EQ(block.number(4), 0);
}

/// A scale of 2, then 16 bytes: numbers 0 to 15 in the low halves, 16 to 31 in the high ones.
TEST(Quantised, BytesOfQ4_0) {
  const unsigned char bytes[18] = {0x00, 0x40, 0x0f, 0x80};
  Q4_0 block;
  std::memcpy(static_cast<void*>(&block), bytes, sizeof block);
  EXPECT_EQ(block.number(0), 14);
  EXPECT_EQ(block.number(16), -16);
  EXPECT_EQ(block.number(1), -16);
  EXPECT_EQ(block.number(17), 0);
}

struct Case {
  std::size_t tokens;
  std::size_t group = 4;
  std::size_t head_dim = 128;
  std::size_t value_dim = 0;
  std::size_t page_rows = 0;
  float spread = 1;
  GroupFusion fusion = GroupFusion::max;
  float first = 0;  ///< number of each block, and
  float other = 0;  ///< all others; 0, 0: random ones
};

/// Rows of so many blocks, in pages of their own order or in one piece.
template <class T>
struct Rows {
  Rows(const Case& c, std::size_t dim, std::mt19937& engine) : blocks(row_size<T>(dim)) {
    const std::size_t page_rows = c.page_rows == 0 ? c.tokens : c.page_rows;
    const std::size_t count = (c.tokens + page_rows - 1) / page_rows;
    for (std::size_t p = 0; p < count; ++p)
      pages.push_back(static_cast<std::int32_t>(count - 1 - p));
    memory.resize(count * page_rows * blocks);
    view = {memory.data(), blocks, c.page_rows == 0 ? nullptr : pages.data(), page_rows,
            page_rows * blocks};
    std::normal_distribution<float> normal;
    std::vector<float> numbers(dim);
    for (std::size_t t = 0; t < c.tokens; ++t) {
      for (std::size_t d = 0; d < dim; ++d) {
        const float same = d % T::numbers == 0 ? c.first : c.other;
        numbers[d] = same == 0 ? normal(engine) : same;
      }
      kernels::convert(numbers.data(), dim, view[t]);
    }
  }
  [[nodiscard]] double number(std::size_t t, std::size_t d) const {
    return double{number_at<T>(view[t], d)};
  }
  [[nodiscard]] double scale(std::size_t t, std::size_t d) const {
    return double{static_cast<float>(view[t][d / T::numbers].scale)};
  }

  std::size_t blocks;
  std::vector<std::int32_t> pages;
  std::vector<T> memory;
  KvView<T> view;
};

/// Vector kernels round a query, and the weights of a tile of 64 tokens times the scales of a block
/// of their values, to integers of this magnitude or a greater one.
constexpr double most = 32639;
constexpr std::size_t tile = 64;

/// What the rounding of weights may change in number `d` of an output.
template <class T>
double weight_error(const std::vector<double>& weights, const Rows<T>& values, std::size_t d) {
  double error = 0;
  for (std::size_t first = 0; first < weights.size(); first += tile) {
    double greatest = 0;
    double steps_of_tile = 0;
    for (std::size_t t = first; t < std::min(first + tile, weights.size()); ++t) {
      const double scale = values.scale(t, d);
      greatest = std::max(greatest, weights[t] * std::abs(scale));
      if (scale != 0) steps_of_tile += std::abs(values.number(t, d) / scale);
    }
    error += 0.5 * greatest / most * steps_of_tile;
  }
  return error;
}

template <class T>
void expect_exact(const Case& c) {
  const std::size_t value_dim = c.value_dim == 0 ? c.head_dim : c.value_dim;
  SCOPED_TRACE(::testing::Message()
               << "tokens " << c.tokens << ", group " << c.group << ", head_dim " << c.head_dim
               << ", value_dim " << value_dim << ", page_rows " << c.page_rows);
  std::mt19937 engine(5);
  const Rows<T> keys(c, c.head_dim, engine);
  const Rows<T> values(c, value_dim, engine);
  std::vector<float> query(c.group * c.head_dim);
  for (float& x : query) x = c.spread * std::normal_distribution<float>()(engine);
  const std::vector<float> sinks = some_sinks(c.group);
  const Logits logits{.scale = 1 / std::sqrt(static_cast<float>(c.head_dim)),
                      .sinks = sinks.data()};

  std::vector<double> fused(c.tokens);
  std::vector<double> output(c.group * value_dim);
  std::vector<double> output_errors(output.size());
  double logit_error = 0;  // that the rounding of the queries may make
  for (std::size_t g = 0; g < c.group; ++g) {
    double greatest = 0;
    for (std::size_t d = 0; d < c.head_dim; ++d) {
      greatest = std::max(greatest, std::abs(double{query[g * c.head_dim + d]}));
    }
    std::vector<double> weights(c.tokens);
    for (std::size_t t = 0; t < c.tokens; ++t) {
      double product = 0;
      double magnitudes = 0;
      for (std::size_t d = 0; d < c.head_dim; ++d) {
        product += double{query[g * c.head_dim + d]} * keys.number(t, d);
        magnitudes += std::abs(keys.number(t, d));
      }
      weights[t] = exact_logit(product, logits);
      logit_error =
          std::max(logit_error, 0.5 * greatest / most * magnitudes * double{logits.scale});
    }
    (void)exact_softmax(weights, double{logits.sink(g)});
    for (std::size_t t = 0; t < c.tokens; ++t) {
      fused[t] = c.fusion == GroupFusion::max
                     ? std::max(fused[t], weights[t])
                     : fused[t] + weights[t] / static_cast<double>(c.group);
      for (std::size_t d = 0; d < value_dim; ++d) {
        output[g * value_dim + d] += weights[t] * values.number(t, d);
      }
    }
    for (std::size_t d = 0; d < value_dim; ++d) {
      output_errors[g * value_dim + d] = weight_error(weights, values, d);
    }
  }
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    std::vector<float> weights(c.group * c.tokens), row(c.tokens), result(output.size());
    kernels::DecodeAttention<T> a;
    a.query = query.data();
    a.keys = keys.view;
    a.values = values.view;
    a.tokens = a.weight_stride = c.tokens;
    a.group = c.group;
    a.head_dim = c.head_dim;
    a.value_dim = c.value_dim;
    a.logits = logits;
    a.fusion = c.fusion;
    a.weights = weights.data();
    a.output = result.data();
    a.row = row.data();
    ASSERT_TRUE(kernels::decode_attention(a));
    // An error of every logit and of their sum.
    const double rounded = isa == Isa::portable ? 0 : std::expm1(2 * logit_error);
    const double tolerance = 3e-5 * (1 + double{c.spread}) + rounded;
    for (std::size_t t = 0; t < c.tokens; ++t) {
      ASSERT_NEAR(row[t], fused[t], fused[t] * tolerance + 1e-37) << t;
    }
    for (std::size_t i = 0; i < output.size(); ++i) {
      const double error = isa == Isa::portable ? 0 : output_errors[i];
      ASSERT_NEAR(result[i], output[i], 6 * tolerance + error * (1 + tolerance)) << i;
    }
  }
}

TYPED_TEST(QuantisedTest, AnyNumberOfTokens) {
  for (const std::size_t tokens : sizes()) expect_exact<TypeParam>({tokens});
}

TYPED_TEST(QuantisedTest, AnyGroup) {
  for (const std::size_t group : Sizes{1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 131}) {
    expect_exact<TypeParam>({67, group, 64});
  }
}

TYPED_TEST(QuantisedTest, AnyDimension) {
  for (const std::size_t dim : Sizes{32, 64, 96, 128, 160, 256, 576}) {
    for (const std::size_t value_dim : Sizes{0, 32, 96, 512}) {
      expect_exact<TypeParam>({37, 3, dim, value_dim});
    }
  }
}

TYPED_TEST(QuantisedTest, AnyPage) {
  for (const std::size_t page_rows : Sizes{1, 3, 16, 64}) {
    expect_exact<TypeParam>({101, 7, 64, 96, page_rows});
  }
}

TYPED_TEST(QuantisedTest, FlatAndSharpAndFused) {
  for (const float spread : {0.0F, 0.01F, 10.0F, 40.0F}) {
    for (const GroupFusion fusion : {GroupFusion::max, GroupFusion::mean}) {
      expect_exact<TypeParam>({200, 4, 128, 0, 0, spread, fusion});
    }
  }
}

// All steps -8 or 7, or -127 or 127, and all weights the same: the greatest sums.
TYPED_TEST(QuantisedTest, StepsAtTheirLimits) {
  for (const float other : {-8.0F, 7.0F, 8.0F}) {
    for (const std::size_t tokens : Sizes{1, 64, 129}) {
      expect_exact<TypeParam>({tokens, 4, 128, 0, 0, 1, GroupFusion::max, -8, other});
    }
  }
}

/// A small attention whose inputs a test changes before it is computed.
template <class T>
struct Small {
  static constexpr std::size_t group = 3;
  static constexpr std::size_t dim = 64;
  static constexpr float scale = 0x1p-20F;

  std::size_t tokens = 37;
  std::mt19937 engine{5};
  Rows<T> keys{{.tokens = tokens}, dim, engine};
  Rows<T> values{{.tokens = tokens}, dim, engine};
  std::vector<float> query = std::vector<float>(group * dim, 0x1p18F);
  std::vector<float> output = std::vector<float>(group * dim);
  std::vector<float> log_sum_exp = std::vector<float>(group);

  bool attend() {
    std::vector<float> weights(group * tokens);
    kernels::DecodeAttention<T> a;
    a.query = query.data();
    a.keys = keys.view;
    a.values = values.view;
    a.tokens = a.weight_stride = tokens;
    a.group = group;
    a.head_dim = dim;
    a.logits.scale = scale;
    a.weights = weights.data();
    a.output = output.data();
    a.log_sum_exp = log_sum_exp.data();
    return kernels::decode_attention(a);
  }
  /// Gives all blocks of some rows a scale of 1, and all of their bytes one value.
  static void fill(Rows<T>& rows, unsigned char byte) {
    for (T& block : rows.memory) {
      unsigned char bytes[sizeof block] = {0x00, 0x3c};
      std::fill(bytes + 2, bytes + sizeof block, byte);
      std::memcpy(static_cast<void*>(&block), bytes, sizeof block);
    }
  }
};

/// Both steps of four bits, and the byte, at their limits.
constexpr unsigned char limits[] = {0x00, 0x01, 0x0f, 0x10, 0x7f, 0x80, 0x88, 0xf0, 0xff};

// With one token the log-sum-exp is its logit. The integers of the query have low and high bytes of
// either sign, at their limits and beside them.
TYPED_TEST(QuantisedTest, QueriesOfAllBytesMeetKeysAtTheirLimits) {
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    for (const unsigned char byte : limits) {
      for (const float first : {-32639.0F, -32512.0F, -257.0F, -256.0F, -129.0F, -128.0F, -1.0F,
                                0.0F, 1.0F, 127.0F, 128.0F, 255.0F, 256.0F, 32511.0F, 32512.0F}) {
        Small<TypeParam> small;
        small.tokens = 1;
        small.fill(small.keys, byte);
        double exact = 0;
        double error = 0;
        for (std::size_t i = 0; i < small.query.size(); ++i) {
          small.query[i] = i % 7 == 0 ? 32639.0F : first;
        }
        for (std::size_t d = 0; d < small.dim; ++d) {
          exact += double{small.query[d]} * small.keys.number(0, d);
          error += 0.5 * std::abs(small.keys.number(0, d));
        }
        ASSERT_TRUE(small.attend());
        EXPECT_NEAR(small.log_sum_exp[0] / small.scale, exact, error + std::abs(exact) * 1e-6)
            << int{byte} << ' ' << first;
      }
    }
  }
}

// As above, with weights. An error of one byte of a weight would change an output by 1 / 255 of the
// greatest weight times a step.
TYPED_TEST(QuantisedTest, WeightsMeetValuesAtTheirLimits) {
  for (const unsigned char byte : limits) {
    Small<TypeParam> small;
    small.fill(small.values, byte);
    kernels::limit_isa(Isa::portable);
    ASSERT_TRUE(small.attend());
    const std::vector<float> expected = small.output;
    double error = 0;
    for (std::size_t t = 0; t < small.tokens; ++t) {
      error += 0.5 / most * std::abs(small.values.number(t, 0));
    }
    for (const Isa isa : isas()) {
      const OnIsa on(isa);
      ASSERT_TRUE(small.attend());
      for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(small.output[i], expected[i], error + 1e-4) << int{byte} << ' ' << i;
      }
    }
  }
}

TYPED_TEST(QuantisedTest, WhatIsNotFiniteIsReported) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    EXPECT_TRUE(Small<TypeParam>().attend());
    for (const float bad : {nan, infinity, -infinity}) {
      for (const std::size_t at : Sizes{0, 31, 64 + 5, 3 * 64 - 1}) {
        Small<TypeParam> small;
        small.query[at] = bad;
        EXPECT_FALSE(small.attend()) << bad << " in the query at " << at;
      }
    }
    for (const std::size_t token : Sizes{0, 3, 32, 36}) {
      Small<TypeParam> small;
      small.keys.memory[2 * token + 1].scale = static_cast<Eigen::half>(nan);
      EXPECT_FALSE(small.attend()) << "NaN in the key of " << token;
    }
  }
}

}  // namespace
}  // namespace morphkv::testing::quantised_test
