// SPDX-License-Identifier: Apache-2.0
//
// Decode attention: every version against a double oracle.
#include "morphkv/kernels/decode_attention.hpp"

#include <array>
#include <numeric>
#include <utility>

#include "kernels/support.hpp"

namespace morphkv::testing::decode_attention_test { namespace {

struct Case {
  std::size_t tokens;
  std::size_t group;
  std::size_t head_dim;
  std::size_t padding = 0;  ///< between rows
  std::size_t offset = 0;   ///< of every pointer
  GroupFusion fusion = GroupFusion::max;
  float spread = 1;           ///< of the queries: the greater, the sharper the softmax
  std::size_t page_rows = 0;  ///< 0: rows in one piece
  float soft_cap = 0;
  bool has_sinks = false;
  std::size_t value_dim = 0;
  bool has_slopes = false;
  std::size_t hidden = std::numeric_limits<std::size_t>::max();

  [[nodiscard]] std::size_t output_dim() const { return value_dim == 0 ? head_dim : value_dim; }
};

/// A block table of as many pages as the tokens need: the first half one behind the other, the rest
/// scattered.
std::vector<std::int32_t> some_pages(std::size_t tokens, std::size_t page_rows) {
  if (page_rows == 0) return {};
  const std::size_t count = (tokens + page_rows - 1) / page_rows;
  std::vector<std::int32_t> pages(2 * count);
  std::iota(pages.begin(), pages.end(), 0);
  std::shuffle(pages.begin() + static_cast<std::ptrdiff_t>(count / 2), pages.end(),
               std::mt19937(11));
  pages.resize(count);
  return pages;
}

template <class T>
class DecodeAttentionTest : public ::testing::Test {};
using Types = ::testing::Types<float, Eigen::half, Eigen::bfloat16, E4M3>;
TYPED_TEST_SUITE(DecodeAttentionTest, Types);

/// One problem, its exact answer, and the answer of a kernel.
template <class T>
class Problem {
 public:
  explicit Problem(const Case& c, bool bf16_queries = false)
      : case_(c),
        pages_(some_pages(c.tokens, c.page_rows)),
        key_rows_(rows_of(c.head_dim)),
        value_rows_(rows_of(c.output_dim())),
        query_(c.group * c.head_dim, c.offset),
        keys_(elements(key_rows_), c.offset),
        values_(elements(value_rows_), c.offset),
        weights_(c.group * (c.tokens + c.offset), c.offset),
        output_(c.group * c.output_dim(), c.offset),
        row_(c.tokens, c.offset),
        log_sum_exp_(c.group, c.offset),
        sinks_(some_sinks(c.group)),
        slopes_(some_slopes(c.group)),
        positions_(c.tokens) {
    std::mt19937 engine(7);
    std::iota(positions_.begin(), positions_.end(), 1'000'000);
    std::shuffle(positions_.begin(), positions_.end(), engine);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < query_.size(); ++i) {
      query_[i] = c.spread * normal(engine);
      if (bf16_queries) query_[i] = static_cast<float>(Eigen::bfloat16(query_[i]));
    }
    // What no token owns must not be read.
    const auto fill = [&](Misaligned<T>& numbers, const KvView<T>& rows, std::size_t dim) {
      for (std::size_t i = 0; i < numbers.size(); ++i) {
        numbers[i] = static_cast<T>(std::numeric_limits<float>::quiet_NaN());
      }
      for (std::size_t t = 0; t < c.tokens; ++t) {
        for (std::size_t d = 0; d < dim; ++d) rows[t][d] = static_cast<T>(normal(engine));
      }
    };
    key_rows_.data = keys_.data();
    value_rows_.data = values_.data();
    fill(keys_, key_rows_, c.head_dim);
    fill(values_, value_rows_, c.output_dim());
  }

  [[nodiscard]] kernels::DecodeAttention<T> arguments() {
    kernels::DecodeAttention<T> a;
    a.query = query_.data();
    a.keys = key_rows_;
    a.values = value_rows_;
    a.tokens = case_.tokens;
    a.hidden = case_.hidden;
    a.group = case_.group;
    a.head_dim = case_.head_dim;
    a.value_dim = case_.value_dim;
    a.logits = logits();
    a.positions = case_.has_slopes ? positions_.data() : nullptr;
    a.query_position = query_position();
    a.fusion = case_.fusion;
    a.weights = weights_.data();
    a.weight_stride = case_.tokens + case_.offset;
    a.output = output_.data();
    a.row = row_.data();
    a.log_sum_exp = log_sum_exp_.data();
    return a;
  }

  void expect_exact(bool rounded_weights) {
    std::vector<double> row(case_.tokens);
    for (std::size_t g = 0; g < case_.group; ++g) {
      const std::vector<double> weights = exact_weights(g);
      double magnitude = 0;  // of what is summed in the output: its condition
      std::vector<double> output(case_.output_dim());
      for (std::size_t t = 0; t < case_.tokens; ++t) {
        const double share = weights[t] / static_cast<double>(case_.group);
        row[t] = case_.fusion == GroupFusion::max ? std::max(row[t], weights[t]) : row[t] + share;
        for (std::size_t d = 0; d < output.size(); ++d) {
          const auto value = static_cast<double>(static_cast<float>(value_rows_[t][d]));
          output[d] += weights[t] * value;
          magnitude = std::max(magnitude, std::abs(value));
        }
      }
      // A rounded weight is off by 2^-9 at most, and so is their sum's share of the magnitude.
      const double tolerance = magnitude * (weight_error() + (rounded_weights ? 0x1p-9 : 0));
      for (std::size_t d = 0; d < output.size(); ++d) {
        if (is_near(output_[g * output.size() + d], output[d], tolerance)) continue;
        ASSERT_NEAR(output_[g * output.size() + d], output[d], tolerance) << g << ' ' << d;
      }
    }
    for (std::size_t t = 0; t < case_.tokens; ++t) {
      if (is_near(row_[t], row[t], row[t] * weight_error() + 1e-37)) continue;
      ASSERT_NEAR(row_[t], row[t], row[t] * weight_error() + 1e-37) << t;
    }
    EXPECT_TRUE(output_.intact() && row_.intact() && weights_.intact() && log_sum_exp_.intact());
  }

  /// Output, row and logarithms of the sums.
  [[nodiscard]] std::array<std::vector<float>, 3> results() const {
    return {output_.copy(), row_.copy(), log_sum_exp_.copy()};
  }

 private:
  /// Rows of so many elements, without their data.
  [[nodiscard]] KvView<T> rows_of(std::size_t dim) const {
    const std::size_t stride = dim + case_.padding;
    return {nullptr, stride, pages_.empty() ? nullptr : pages_.data(), case_.page_rows,
            case_.page_rows * stride + case_.padding};
  }
  [[nodiscard]] std::size_t elements(const KvView<T>& rows) const {
    return pages_.empty() ? case_.tokens * rows.stride : 2 * pages_.size() * rows.page_stride;
  }
  [[nodiscard]] Logits logits() const {
    return {.scale = 1 / std::sqrt(static_cast<float>(case_.head_dim)),
            .soft_cap = case_.soft_cap,
            .sinks = case_.has_sinks ? sinks_.data() : nullptr,
            .slopes = case_.has_slopes ? slopes_.data() : nullptr};
  }
  [[nodiscard]] Position query_position() const {
    return 1'000'002 + static_cast<Position>(case_.tokens);
  }

  /// A logit is a sum of head_dim products of about 1: it is off by some 2^-24 a product at worst,
  /// the square root of that on average, and a split query by 2^-16 of it. exp() passes an absolute
  /// error of the logit on as a relative one.
  [[nodiscard]] double weight_error() const { return 2e-5 * (1 + case_.spread); }

  [[nodiscard]] std::vector<double> exact_weights(std::size_t g) {
    std::vector<double> weights(case_.tokens);
    for (std::size_t t = 0; t < case_.tokens; ++t) {
      double logit = 0;
      for (std::size_t d = 0; d < case_.head_dim; ++d) {
        logit += static_cast<double>(query_[g * case_.head_dim + d]) *
                 static_cast<double>(static_cast<float>(key_rows_[t][d]));
      }
      weights[t] = exact_logit(logit, logits()) -
                   static_cast<double>(logits().slope(g)) * (query_position() - positions_[t]);
      if (t == case_.hidden) weights[t] = -std::numeric_limits<double>::infinity();
    }
    const double log_sum_exp = exact_softmax(weights, static_cast<double>(logits().sink(g)));
    EXPECT_NEAR(log_sum_exp_[g], log_sum_exp, weight_error() * (1 + std::abs(log_sum_exp)));
    return weights;
  }

  Case case_;
  std::vector<std::int32_t> pages_;
  KvView<T> key_rows_;
  KvView<T> value_rows_;
  Misaligned<float> query_;
  Misaligned<T> keys_;
  Misaligned<T> values_;
  Misaligned<float> weights_;
  Misaligned<float> output_;
  Misaligned<float> row_;
  Misaligned<float> log_sum_exp_;
  std::vector<float> sinks_;
  std::vector<float> slopes_;
  std::vector<Position> positions_;
};

::testing::Message describe(const Case& c) {
  return ::testing::Message() << "tokens " << c.tokens << ", group " << c.group << ", head_dim "
                              << c.head_dim << ", padding " << c.padding << ", page_rows "
                              << c.page_rows;
}

template <class T>
void expect_exact(const Case& c) {
  SCOPED_TRACE(describe(c));
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    for (const bool bf16_queries : {false, true}) {
      Problem<T> problem(c, bf16_queries);
      ASSERT_TRUE(kernels::decode_attention(problem.arguments()));
      problem.expect_exact(isa == Isa::avx512_bf16 && std::same_as<T, Eigen::bfloat16>);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

TYPED_TEST(DecodeAttentionTest, AnyNumberOfTokens) {
  for (const std::size_t tokens : sizes()) expect_exact<TypeParam>({tokens, 4, 128});
}

TYPED_TEST(DecodeAttentionTest, Slopes) {
  for (const std::size_t tokens : Sizes{1, 3, 16, 37, 200}) {
    for (const float soft_cap : {0.0F, 2.0F}) {
      for (const bool has_sinks : {false, true}) {
        const Case c{.tokens = tokens,
                     .group = 6,
                     .head_dim = 40,
                     .offset = 1,
                     .soft_cap = soft_cap,
                     .has_sinks = has_sinks,
                     .has_slopes = true,
                     .hidden = soft_cap > 0 ? tokens / 2 : tokens};
        if (tokens > 1) expect_exact<TypeParam>(c);
      }
    }
  }
}

TYPED_TEST(DecodeAttentionTest, AnyGroup) {
  for (std::size_t group = 1; group <= 17; ++group) expect_exact<TypeParam>({67, group, 64});
  for (const std::size_t group : Sizes{71, 131}) expect_exact<TypeParam>({9, group, 64});
}

TYPED_TEST(DecodeAttentionTest, AnyHeadDim) {
  for (const std::size_t dim : sizes()) expect_exact<TypeParam>({37, 4, dim});
  for (const std::size_t dim : Sizes{16, 48, 80, 96, 112, 160, 192, 256, 576}) {
    expect_exact<TypeParam>({37, 3, dim});
  }
}

TYPED_TEST(DecodeAttentionTest, ValuesOfTheirOwnDimension) {
  for (const auto& [head_dim, value_dim] :
       {std::pair{192U, 128U}, {576U, 512U}, {64U, 80U}, {128U, 16U}, {16U, 1U}, {1U, 33U}}) {
    for (const std::size_t page_rows : Sizes{0, 16}) {
      Case c{75, 5, head_dim, 3, 1};
      c.value_dim = value_dim;
      c.page_rows = page_rows;
      expect_exact<TypeParam>(c);
    }
  }
}

/// The latent cache of DeepSeek: 128 query heads, and values that are the beginnings of the keys.
TYPED_TEST(DecodeAttentionTest, ValuesInTheKeys) {
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    Case c{70, 128, 576};
    c.value_dim = 512;
    Problem<TypeParam> apart(c);
    Problem<TypeParam> latent(c);
    auto a = latent.arguments();
    a.values = a.keys;
    ASSERT_TRUE(kernels::decode_attention(a));
    auto b = apart.arguments();
    std::vector<TypeParam> copies(70 * 512);
    for (std::size_t t = 0; t < 70; ++t) {
      std::copy_n(b.keys[t], 512, copies.begin() + static_cast<std::ptrdiff_t>(t * 512));
    }
    b.values = {copies.data(), 512};
    ASSERT_TRUE(kernels::decode_attention(b));
    EXPECT_EQ(latent.results(), apart.results());
  }
}

TYPED_TEST(DecodeAttentionTest, AnyAlignmentAndStride) {
  for (const std::size_t offset : Sizes{1, 3, 8}) {
    for (const std::size_t padding : Sizes{0, 1, 32, 128}) {
      expect_exact<TypeParam>({100, 4, 128, padding, offset});
      expect_exact<TypeParam>({101, 7, 65, padding, offset});
      expect_exact<TypeParam>({101, 5, 112, padding, offset});
    }
  }
}

/// The same sums in the same order, wherever the rows lie.
template <class T>
void expect_pages_do_not_matter(Case c) {
  SCOPED_TRACE(describe(c));
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    Problem<T> paged(c);
    ASSERT_TRUE(kernels::decode_attention(paged.arguments()));
    Case in_one_piece = c;
    in_one_piece.page_rows = 0;
    Problem<T> whole(in_one_piece);
    ASSERT_TRUE(kernels::decode_attention(whole.arguments()));
    ASSERT_EQ(paged.results(), whole.results());
  }
}

TYPED_TEST(DecodeAttentionTest, AnyPageSizeAndTheSameBits) {
  for (const std::size_t page_rows : Sizes{1, 3, 16, 64, 100}) {
    for (const std::size_t tokens : sizes()) {
      Case c{tokens, 4, 64};
      c.page_rows = page_rows;
      expect_pages_do_not_matter<TypeParam>(c);
    }
    for (const std::size_t padding : Sizes{0, 5, 128}) {
      Case c{101, 7, 65, padding, 3};
      c.page_rows = page_rows;
      expect_pages_do_not_matter<TypeParam>(c);
      expect_exact<TypeParam>(c);
    }
  }
}

TYPED_TEST(DecodeAttentionTest, AnyFusion) {
  for (const GroupFusion fusion : {GroupFusion::max, GroupFusion::mean, GroupFusion::sum}) {
    for (const std::size_t group : Sizes{1, 2, 6}) {
      expect_exact<TypeParam>({77, group, 64, 0, 0, fusion});
    }
  }
}

TYPED_TEST(DecodeAttentionTest, FlatAndSharp) {
  for (const float spread : {0.0F, 0.01F, 10.0F, 60.0F}) {
    expect_exact<TypeParam>({300, 4, 128, 0, 0, GroupFusion::max, spread});
  }
}

TYPED_TEST(DecodeAttentionTest, SoftCapsAndSinks) {
  for (const std::size_t tokens : Sizes{1, 3, 17, 64, 201}) {
    for (const float soft_cap : {0.0F, 0.5F, 30.0F, 1000.0F}) {
      for (const float spread : {0.01F, 1.0F, 40.0F}) {
        Case c{tokens, 5, 64, 0, 0, GroupFusion::max, spread};
        c.soft_cap = soft_cap;
        c.has_sinks = tokens != 64;
        expect_exact<TypeParam>(c);
      }
    }
  }
  Case wide{9, 71, 64};  // a group beyond the vector kernels
  wide.soft_cap = 2;
  wide.has_sinks = true;
  expect_exact<TypeParam>(wide);
}

TYPED_TEST(DecodeAttentionTest, NotANumberIsReported) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const std::pair<float, float> cases[] = {{nan, 0.0F}, {infinity, 0.0F}, {-infinity, 0.0F},
                                           {nan, 2.0F}, {infinity, 2.0F}, {-infinity, 2.0F}};
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    for (const std::size_t tokens : Sizes{1, 5, 16, 33}) {
      for (const std::size_t bad_token : {std::size_t{0}, tokens / 2, tokens - 1}) {
        for (const auto& [bad, soft_cap] : cases) {
          if (std::same_as<TypeParam, E4M3> && std::isinf(bad)) continue;  // it has none
          const std::size_t dim = 32;
          std::vector<float> query(2 * dim, 1.0F);
          std::vector<TypeParam> keys(tokens * dim, static_cast<TypeParam>(1.0F));
          std::vector<float> weights(2 * tokens), output(2 * dim), row(tokens);
          kernels::DecodeAttention<TypeParam> a;
          a.query = query.data();
          a.keys = a.values = {keys.data(), dim};
          a.tokens = tokens;
          a.group = 2;
          a.head_dim = dim;
          a.weights = weights.data();
          a.weight_stride = tokens;
          a.output = output.data();
          a.row = row.data();
          a.logits.soft_cap = soft_cap;
          keys[bad_token * dim + 3] = static_cast<TypeParam>(bad);
          // A logit of minus infinity is a weight of 0, unless there is no other; the value of the
          // same token is infinite too, so only the row is looked at.
          // With a soft cap an infinite one is the cap.
          const bool expected = soft_cap > 0 ? !std::isnan(bad) : bad < 0 && tokens > 1;
          EXPECT_EQ(kernels::decode_attention(a), expected)
              << tokens << ' ' << bad << ' ' << soft_cap;
          if (expected && soft_cap == 0) {
            EXPECT_EQ(row[bad_token], 0.0F);
          }
        }
      }
    }
  }
}

/// By a power of two: the same bits but for the exponent.
TYPED_TEST(DecodeAttentionTest, TheScaleOfValuesIsThatOfTheOutputsAlone) {
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    for (const std::size_t group : Sizes{3, 131}) {  // also beyond the vector kernels
      for (const std::size_t dim : Sizes{1, 64, 65}) {
        Problem<TypeParam> problem({37, group, dim});
        ASSERT_TRUE(kernels::decode_attention(problem.arguments()));
        Problem<TypeParam> scaled({37, group, dim});
        auto arguments = scaled.arguments();
        arguments.value_scale = 0.25F;
        ASSERT_TRUE(kernels::decode_attention(arguments));
        auto expected = problem.results();
        for (float& x : expected[0]) x *= 0.25F;
        ASSERT_EQ(scaled.results(), expected);
      }
    }
  }
}

TYPED_TEST(DecodeAttentionTest, TheRowIsOptional) {
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    Problem<TypeParam> problem({40, 4, 64});
    auto arguments = problem.arguments();
    arguments.row = nullptr;
    arguments.log_sum_exp = nullptr;
    ASSERT_TRUE(kernels::decode_attention(arguments));
  }
}

TYPED_TEST(DecodeAttentionTest, TheOutputIsOptionalAndTheRowTheSame) {
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    Problem<TypeParam> whole({140, 4, 64});
    ASSERT_TRUE(kernels::decode_attention(whole.arguments()));
    Problem<TypeParam> problem({140, 4, 64});
    auto arguments = problem.arguments();
    arguments.values.data = nullptr;
    arguments.output = nullptr;
    ASSERT_TRUE(kernels::decode_attention(arguments));
    EXPECT_EQ(problem.results()[1], whole.results()[1]);
    EXPECT_EQ(problem.results()[2], whole.results()[2]);
  }
}

TYPED_TEST(DecodeAttentionTest, WhatIsReadNextMayBeAnything) {
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    Problem<TypeParam> problem({40, 4, 64});
    auto arguments = problem.arguments();
    arguments.next[0] = {arguments.row, 1};
    arguments.next[1] = {nullptr, 4096};
    arguments.next[3] = {arguments.keys.data, 1U << 20U};
    ASSERT_TRUE(kernels::decode_attention(arguments));
    problem.expect_exact(isa == Isa::avx512_bf16);
  }
}

}  // namespace
}  // namespace morphkv::testing::decode_attention_test
