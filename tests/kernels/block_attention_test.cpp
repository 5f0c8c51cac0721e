// SPDX-License-Identifier: Apache-2.0
//
// Attention of a block of queries, its log-sum-exp and its rows: every version against a double
// oracle.
#include "morphkv/kernels/block_attention.hpp"

#include <memory>
#include <utility>
#include <vector>

#include "kernels/support.hpp"

namespace morphkv::testing::block_attention_test { namespace {

struct Case {
  std::size_t rows;
  std::size_t tokens;
  std::size_t group = 4;
  std::size_t head_dim = 64;
  std::size_t padding = 0;  ///< between the rows of two tokens
  std::size_t offset = 0;   ///< of every pointer
  float spread = 1;         ///< of the queries
  float soft_cap = 0;
  bool has_sinks = false;
  std::size_t window = 0;
  std::size_t value_dim = 0;
  bool has_slopes = false;
  std::size_t after = 0;  ///< tokens after the queries' own
  bool has_mask = false;  ///< random, from token `masked_from` on
  std::size_t masked_from = 0;

  [[nodiscard]] std::size_t output_dim() const { return value_dim == 0 ? head_dim : value_dim; }
};

/// What is asked of the kernel.
enum class Ask { outputs, everything, rows, rows_of_known };

/// One problem, and the answer of a kernel. Copies share the exact answer, which takes long where
/// it is computed first.
template <class T>
class Problem {
 public:
  struct Head {
    std::vector<double> weights, output;
    double log_sum_exp = 0;
  };

  explicit Problem(const Case& c, bool bf16_queries = false)
      : case_(c),
        stride_(c.head_dim + c.padding),
        value_stride_(c.output_dim() + c.padding),
        row_stride_(c.tokens + c.padding),
        queries_(c.rows * c.group * c.head_dim, c.offset),
        keys_(c.tokens * stride_, c.offset),
        values_(c.tokens * value_stride_, c.offset),
        outputs_(c.rows * c.group * c.output_dim(), c.offset),
        log_sum_exp_(c.rows * c.group, c.offset),
        fused_rows_(c.rows * row_stride_, c.offset),
        workspace_(kernels::block_attention_workspace(c.head_dim, c.tokens, c.value_dim), 0),
        sinks_(some_sinks(c.group)),
        slopes_(some_slopes(c.group)) {
    std::mt19937 engine(5);
    for (std::size_t t = 0; t < c.tokens; ++t) {
      // Two tokens lie at each position, as in a tree.
      positions_.push_back(static_cast<float>(t / 2) - 100);
      for (std::size_t word = 0; word < (c.rows + 63) / 64; ++word) {
        visible_.push_back(std::uint64_t{engine()} << 32U | engine());
      }
    }
    for (std::size_t row = 0; row < c.rows; ++row) {  // a query sees itself
      const std::size_t own = c.tokens - c.after - c.rows + row;
      if (own < c.masked_from) continue;
      visible_[(own - c.masked_from) * ((c.rows + 63) / 64) + row / 64] |= std::uint64_t{1}
                                                                           << row % 64;
    }
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < queries_.size(); ++i) {
      queries_[i] = c.spread * normal(engine);
      if (bf16_queries) queries_[i] = static_cast<float>(Eigen::bfloat16(queries_[i]));
    }
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      keys_[i] = static_cast<T>(normal(engine));
    }
    for (std::size_t i = 0; i < values_.size(); ++i) values_[i] = static_cast<T>(normal(engine));
  }

  [[nodiscard]] bool attend(Ask ask = Ask::everything, GroupFusion fusion = GroupFusion::max) {
    ask_ = ask;
    fusion_ = fusion;
    kernels::BlockAttention<T> a = arguments(0, case_.rows);
    std::vector<float> known;
    if (ask == Ask::rows_of_known) {
      for (std::size_t at = 0; at < case_.rows * case_.group; ++at) {
        known.push_back(static_cast<float>(exact()[at].log_sum_exp));
      }
      a.known_log_sum_exp = known.data();
    }
    AlignedBuffer<float> small_workspace(
        kernels::block_attention_workspace(case_.head_dim, 0, case_.value_dim));
    if (ask == Ask::outputs || ask == Ask::rows_of_known) a.workspace = small_workspace.data();
    return kernels::block_attention(a);
  }

  /// The same, for the queries from `begin` to `end`.
  [[nodiscard]] kernels::BlockAttention<T> arguments(std::size_t begin, std::size_t end) {
    const bool outputs = ask_ == Ask::outputs || ask_ == Ask::everything;
    const bool rows = ask_ != Ask::outputs;
    const bool logarithms = ask_ == Ask::everything || ask_ == Ask::rows;
    const std::size_t at = begin * case_.group;
    kernels::BlockAttention<T> a;
    a.queries = queries_.data() + at * case_.head_dim;
    a.keys = keys_.data();
    a.values = outputs ? values_.data() : nullptr;
    a.rows = end - begin;
    a.after = case_.after;
    a.tokens = case_.tokens - case_.rows + end;
    a.window = case_.window;
    a.visible = case_.has_mask ? visible_.data() : nullptr;
    a.masked_from = case_.masked_from;
    a.group = case_.group;
    a.head_dim = case_.head_dim;
    a.value_dim = case_.value_dim;
    a.stride = stride_;
    a.value_stride = case_.value_dim == 0 ? 0 : value_stride_;
    a.logits = logits();
    a.positions = case_.has_slopes ? positions_.data() : nullptr;
    a.fusion = fusion_;
    a.outputs = outputs ? outputs_.data() + at * case_.output_dim() : nullptr;
    a.log_sum_exp = logarithms ? log_sum_exp_.data() + at : nullptr;
    a.fused_rows = rows ? fused_rows_.data() + begin * row_stride_ : nullptr;
    a.row_stride = row_stride_;
    a.workspace = workspace_.data();
    return a;
  }

  /// [rows][group], of the queries and keys at the first call.
  [[nodiscard]] const std::vector<Head>& exact() {
    if (!exact_) {
      std::vector<Head> heads;
      for (std::size_t at = 0; at < case_.rows * case_.group; ++at) {
        heads.push_back(exact_head(at / case_.group, at % case_.group));
      }
      exact_ = std::make_shared<const std::vector<Head>>(std::move(heads));
    }
    return *exact_;
  }

  [[nodiscard]] Misaligned<T>& keys() { return keys_; }
  [[nodiscard]] float query(std::size_t row, std::size_t g, std::size_t d) const {
    return queries_.data()[(row * case_.group + g) * case_.head_dim + d];
  }
  [[nodiscard]] float output(std::size_t row, std::size_t g, std::size_t d) const {
    return outputs_.data()[(row * case_.group + g) * case_.output_dim() + d];
  }
  [[nodiscard]] std::vector<float> outputs() const { return outputs_.copy(); }
  [[nodiscard]] std::vector<float> log_sum_exp() const { return log_sum_exp_.copy(); }
  [[nodiscard]] std::vector<float> fused_row(std::size_t row) const {
    const float* begin = fused_rows_.data() + row * row_stride_;
    return {begin, begin + case_.tokens - case_.rows + row + 1};
  }

  void expect_exact(bool rounded_weights) {
    for (std::size_t row = 0; row < case_.rows; ++row) {
      std::vector<double> fused(case_.tokens);
      for (std::size_t g = 0; g < case_.group; ++g) {
        const Head& expected = exact()[row * case_.group + g];
        for (std::size_t t = 0; t < expected.weights.size(); ++t) {
          fused[t] = fusion_ == GroupFusion::max
                         ? std::max(fused[t], expected.weights[t])
                         : fused[t] + expected.weights[t] / static_cast<double>(case_.group);
        }
        if (ask_ == Ask::everything || ask_ == Ask::rows) {
          ASSERT_NEAR(log_sum_exp_[row * case_.group + g], expected.log_sum_exp,
                      2e-5 * (1 + static_cast<double>(case_.spread)));
        }
        if (ask_ == Ask::rows || ask_ == Ask::rows_of_known) continue;
        const double tolerated = tolerance(rounded_weights);
        for (std::size_t d = 0; d < case_.output_dim(); ++d) {
          if (is_near(output(row, g, d), expected.output[d], tolerated)) continue;
          ASSERT_NEAR(output(row, g, d), expected.output[d], tolerated)
              << "row " << row << ", head " << g << ", dimension " << d;
        }
      }
      if (ask_ != Ask::outputs) expect_row(row, fused);
    }
    EXPECT_TRUE(outputs_.intact() && workspace_.intact() && fused_rows_.intact() &&
                log_sum_exp_.intact());
  }

 private:
  [[nodiscard]] Logits logits() const {
    return {.scale = 1 / std::sqrt(static_cast<float>(case_.head_dim)),
            .soft_cap = case_.soft_cap,
            .sinks = case_.has_sinks ? sinks_.data() : nullptr,
            .slopes = case_.has_slopes ? slopes_.data() : nullptr};
  }
  [[nodiscard]] static double number(T x) { return static_cast<double>(static_cast<float>(x)); }

  /// Values are below 6. A weight is off by its logit's error (2^-24 a product, the square root of
  /// head_dim of them), by 2^-9 where it is rounded to bfloat16, and weights sum to 1.
  [[nodiscard]] double tolerance(bool rounded_weights) const {
    return 6 * (2e-5 * (1 + static_cast<double>(case_.spread)) + (rounded_weights ? 0x1p-9 : 0));
  }

  /// Rows are never rounded to bfloat16; a logit's error is relative to the weight. Exactly 0 where
  /// the query sees nothing; what lies between two rows is not written.
  void expect_row(std::size_t row, const std::vector<double>& expected) const {
    const float* weights = fused_rows_.data() + row * row_stride_;
    for (std::size_t t = 0; t < case_.tokens; ++t) {
      const double tolerated = expected[t] * 3e-5 * (1 + static_cast<double>(case_.spread)) + 1e-37;
      if (is_near(weights[t], expected[t], tolerated)) continue;
      ASSERT_NEAR(weights[t], expected[t], tolerated) << "row " << row << ", token " << t;
    }
    for (std::size_t t = case_.tokens; t < row_stride_; ++t) ASSERT_EQ(weights[t], 77.0F);
  }

  [[nodiscard]] Head exact_head(std::size_t row, std::size_t g) const {
    const std::size_t own = case_.tokens - case_.after - case_.rows + row;
    const std::size_t seen = case_.has_mask ? case_.tokens : own + 1;
    const std::size_t window = case_.window == 0 ? own + 1 : case_.window;
    const auto sees = [&](std::size_t t) {
      if (!case_.has_mask || t < case_.masked_from) return t <= own && t + window > own;
      const std::size_t at = (t - case_.masked_from) * ((case_.rows + 63) / 64) + row / 64;
      return (visible_[at] >> row % 64 & 1U) != 0;
    };
    const float* query = queries_.data() + (row * case_.group + g) * case_.head_dim;
    Head head{std::vector<double>(seen), std::vector<double>(case_.output_dim())};
    std::vector<double>& weights = head.weights;
    for (std::size_t t = 0; t < seen; ++t) {
      if (!sees(t)) {
        weights[t] = -std::numeric_limits<double>::infinity();
        continue;
      }
      for (std::size_t d = 0; d < case_.head_dim; ++d) {
        weights[t] += static_cast<double>(query[d]) * number(keys_.data()[t * stride_ + d]);
      }
      weights[t] = exact_logit(weights[t], logits()) -
                   static_cast<double>(logits().slope(g)) *
                       (static_cast<double>(positions_[own]) - static_cast<double>(positions_[t]));
    }
    head.log_sum_exp = exact_softmax(weights, static_cast<double>(logits().sink(g)));
    for (std::size_t t = 0; t < seen; ++t) {
      for (std::size_t d = 0; weights[t] > 0 && d < case_.output_dim(); ++d) {
        head.output[d] += weights[t] * number(values_.data()[t * value_stride_ + d]);
      }
    }
    return head;
  }

  Case case_;
  Ask ask_ = Ask::everything;
  GroupFusion fusion_ = GroupFusion::max;
  std::size_t stride_;
  std::size_t value_stride_;
  std::size_t row_stride_;
  Misaligned<float> queries_;
  Misaligned<T> keys_;
  Misaligned<T> values_;
  Misaligned<float> outputs_;
  Misaligned<float> log_sum_exp_;
  Misaligned<float> fused_rows_;
  Misaligned<float> workspace_;
  std::vector<float> sinks_;
  std::vector<float> slopes_;
  std::vector<float> positions_;
  std::vector<std::uint64_t> visible_;
  std::shared_ptr<const std::vector<Head>> exact_;
};

template <class T>
class BlockAttentionTest : public ::testing::Test {};
using Types = ::testing::Types<float, Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(BlockAttentionTest, Types);

/// Whether a version calls the code of the one before it, which has been tested then.
template <class T>
bool is_the_one_before(Isa isa) {
  return isa == Isa::neon_dotprod || (isa == Isa::avx512_bf16 && !std::same_as<T, Eigen::bfloat16>);
}

/// Outputs, log-sum-exp and rows, and rows alone, with both fusions; outputs alone have the same
/// bits. With max, queries beside bfloat16 keys are bfloat16 numbers too: exact where the CPU
/// rounds them to these.
template <class T>
void expect_exact(const Case& c) {
  SCOPED_TRACE(::testing::Message() << "rows " << c.rows << ", tokens " << c.tokens << ", group "
                                    << c.group << ", head_dim " << c.head_dim);
  Problem<T> unsolved(c);
  for (const GroupFusion fusion : {GroupFusion::mean, GroupFusion::max}) {
    if (std::same_as<T, Eigen::bfloat16> && fusion == GroupFusion::max) {
      unsolved = Problem<T>(c, true);
    }
    (void)unsolved.exact();
    for (const Isa isa : isas()) {
      if (is_the_one_before<T>(isa)) continue;
      const OnIsa on(isa);
      Problem<T> problem = unsolved;
      const bool rounded = isa == Isa::avx512_bf16 && std::same_as<T, Eigen::bfloat16>;
      ASSERT_TRUE(problem.attend(Ask::everything, fusion));
      problem.expect_exact(rounded);
      Problem<T> outputs_alone = unsolved;
      ASSERT_TRUE(outputs_alone.attend(Ask::outputs));
      ASSERT_EQ(outputs_alone.outputs(), problem.outputs());
      for (const Ask ask : {Ask::rows, Ask::rows_of_known}) {
        Problem<T> rows = unsolved;
        ASSERT_TRUE(rows.attend(ask, fusion));
        rows.expect_exact(rounded);
      }
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

TYPED_TEST(BlockAttentionTest, AWholePrompt) {
  for (const std::size_t tokens : Sizes{1, 2, 3, 7, 15, 16, 17, 63, 64, 65, 66, 130, 201}) {
    expect_exact<TypeParam>({tokens, tokens});
  }
}

TYPED_TEST(BlockAttentionTest, ABlockAfterOthers) {
  for (const std::size_t rows : Sizes{1, 5, 16, 33, 64, 70}) {
    for (const std::size_t before : Sizes{1, 31, 64, 127}) {
      expect_exact<TypeParam>({rows, before + rows, 2});
    }
  }
}

TYPED_TEST(BlockAttentionTest, AnyGroup) {
  for (const std::size_t group : Sizes{1, 2, 3, 4, 5, 7, 8, 9}) {
    expect_exact<TypeParam>({37, 75, group, 32});
  }
}

TYPED_TEST(BlockAttentionTest, AnyHeadDim) {
  for (const std::size_t dim : Sizes{1, 2, 3, 8, 15, 16, 17, 30, 65, 80, 128, 192}) {
    expect_exact<TypeParam>({9, 71, 3, dim});
  }
}

TYPED_TEST(BlockAttentionTest, ValuesOfTheirOwnDimension) {
  for (const auto& [head_dim, value_dim] :
       {std::pair{192U, 128U}, {576U, 512U}, {64U, 80U}, {16U, 1U}, {1U, 33U}, {30U, 31U}}) {
    for (const std::size_t padding : Sizes{0, 3}) {
      expect_exact<TypeParam>({20, 90, 3, head_dim, padding, 1, 1, 0, true, 0, value_dim});
    }
  }
}

/// By a power of two: the same bits but for the exponent.
TYPED_TEST(BlockAttentionTest, TheScaleOfValuesIsThatOfTheOutputsAlone) {
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    const Case c{20, 90, 3, 30};
    Problem<TypeParam> problem(c);
    ASSERT_TRUE(problem.attend());
    Problem<TypeParam> scaled(c);
    auto arguments = scaled.arguments(0, c.rows);
    arguments.value_scale = 0.25F;
    ASSERT_TRUE(kernels::block_attention(arguments));
    std::vector<float> expected = problem.outputs();
    for (float& x : expected) x *= 0.25F;
    ASSERT_EQ(scaled.outputs(), expected);
    ASSERT_EQ(scaled.log_sum_exp(), problem.log_sum_exp());
    for (std::size_t row = 0; row < c.rows; ++row) {
      ASSERT_EQ(scaled.fused_row(row), problem.fused_row(row));
    }
  }
}

TYPED_TEST(BlockAttentionTest, AnyAlignmentAndStride) {
  for (const std::size_t offset : Sizes{1, 3, 8}) {
    for (const std::size_t padding : Sizes{0, 1, 32}) {
      expect_exact<TypeParam>({20, 90, 4, 66, padding, offset});
    }
  }
}

TYPED_TEST(BlockAttentionTest, SoftCapsAndSinks) {
  for (const float soft_cap : {0.0F, 0.5F, 30.0F, 1000.0F}) {
    for (const float spread : {0.01F, 1.0F, 40.0F}) {
      for (const bool has_sinks : {false, true}) {
        expect_exact<TypeParam>({40, 170, 4, 20, 0, 0, spread, soft_cap, has_sinks});
        expect_exact<TypeParam>({3, 3, 7, 33, 0, 0, spread, soft_cap, has_sinks});
      }
    }
  }
}

TYPED_TEST(BlockAttentionTest, Windows) {
  for (const std::size_t window :
       Sizes{1, 2, 15, 16, 17, 63, 64, 65, 100, 128, 149, 150, 332, 333, 999}) {
    const bool has_sinks = window % 2 == 0;
    expect_exact<TypeParam>({150, 150, 2, 8, 0, 0, 1, 0, has_sinks, window});
    expect_exact<TypeParam>({70, 333, 3, 17, 1, 1, 8, 0, !has_sinks, window});
    expect_exact<TypeParam>({1, 200, 4, 16, 0, 0, 1, 0, has_sinks, window});
  }
}

TYPED_TEST(BlockAttentionTest, Slopes) {
  for (const float soft_cap : {0.0F, 2.0F}) {
    for (const std::size_t window : Sizes{0, 30}) {
      expect_exact<TypeParam>({70, 170, 6, 32, 1, 1, 1, soft_cap, true, window, 0, true});
    }
  }
}

TYPED_TEST(BlockAttentionTest, Masks) {
  for (const std::size_t rows : Sizes{1, 17, 70}) {
    for (const std::size_t after : Sizes{0, 50}) {
      for (const std::size_t before : Sizes{0, 90}) {
        for (const std::size_t window : Sizes{0, 20}) {
          Case c{rows, before + rows + after, 3, 18, 0, 0, 1, 0, true, window};
          c.has_slopes = rows == 17;
          c.after = after;
          c.has_mask = true;
          for (const std::size_t from : {std::size_t{0}, before}) {
            if (from == 0 && window == 0 && before > 0) continue;
            c.masked_from = from;
            expect_exact<TypeParam>(c);
          }
        }
      }
    }
  }
}

TYPED_TEST(BlockAttentionTest, FlatAndSharp) {
  for (const float spread : {0.0F, 0.01F, 10.0F, 60.0F}) {
    expect_exact<TypeParam>({40, 300, 4, 64, 0, 0, spread});
  }
}

/// Logits that rise from token to token rescale the sums at every tile; those that fall never do.
TYPED_TEST(BlockAttentionTest, RisingAndFallingLogits) {
  for (const float slope : {0.5F, -0.5F}) {
    for (const Isa isa : isas()) {
      const OnIsa on(isa);
      Problem<TypeParam> problem({24, 280, 4, 64, 0, 0, 8});
      for (std::size_t i = 0; i < problem.keys().size(); ++i) {
        const std::size_t token = i / 64;
        const float rise = slope * static_cast<float>(token) / 64;
        problem.keys()[i] = static_cast<TypeParam>(static_cast<float>(problem.keys()[i]) + rise);
      }
      ASSERT_TRUE(problem.attend());
      problem.expect_exact(isa == Isa::avx512_bf16);
    }
  }
}

/// The bits of a query's results are the same in any block, so that prompts in chunks, and rows
/// that are computed from anywhere on, agree with whole ones.
TYPED_TEST(BlockAttentionTest, NoQueryDependsOnOthers) {
  constexpr std::size_t rows = 70;
  for (const auto& [group, window] : {std::pair{1U, 0U}, {3U, 0U}, {4U, 0U}, {2U, 50U}}) {
    for (const Isa isa : isas()) {
      const OnIsa on(isa);
      const Case c{rows, 201, group, 32, 0, 0, 1, 0, false, window};
      Problem<TypeParam> whole(c, true);
      Problem<TypeParam> parts(c, true);
      ASSERT_TRUE(whole.attend());
      for (const auto& [begin, end] : {std::pair{0, 13}, {13, 14}, {14, 47}, {47, 70}}) {
        ASSERT_TRUE(kernels::block_attention(
            parts.arguments(static_cast<std::size_t>(begin), static_cast<std::size_t>(end))));
      }
      EXPECT_EQ(whole.outputs(), parts.outputs());
      EXPECT_EQ(whole.log_sum_exp(), parts.log_sum_exp());
      for (std::size_t row = 0; row < rows; ++row) {
        ASSERT_EQ(whole.fused_row(row), parts.fused_row(row)) << row;
      }
    }
  }
}

TYPED_TEST(BlockAttentionTest, AWrongLogarithmIsNotTakenForWeights) {
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    constexpr float nan = std::numeric_limits<float>::quiet_NaN();
    constexpr float infinity = std::numeric_limits<float>::infinity();
    for (const float wrong : {nan, infinity, -infinity, -1000.0F}) {
      Problem<TypeParam> problem({9, 70, 2, 32});
      ASSERT_TRUE(problem.attend(Ask::rows_of_known));
      auto a = problem.arguments(0, 9);
      std::vector<float> known(18, wrong);
      a.known_log_sum_exp = known.data();
      // Reported, or weights above 1, which no score accepts; never infinite ones.
      if (kernels::block_attention(a)) {
        EXPECT_EQ(wrong, -1000.0F);
        for (const float weight : problem.fused_row(8)) EXPECT_TRUE(weight > 2 && weight < 3);
      } else {
        EXPECT_NE(wrong, -1000.0F);
      }
    }
  }
}

TYPED_TEST(BlockAttentionTest, NotANumberIsReportedWhereTheLogarithmsAreKnown) {
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    for (const GroupFusion fusion : {GroupFusion::max, GroupFusion::mean}) {
      for (const std::size_t bad_head : Sizes{0, 2}) {
        Problem<TypeParam> problem({20, 90, 3, 32});
        ASSERT_TRUE(problem.attend(Ask::rows_of_known, fusion));
        auto a = problem.arguments(0, 20);
        std::vector<float> queries(a.queries, a.queries + 20 * 3 * 32), known(60, 5.0F);
        a.queries = queries.data();
        a.known_log_sum_exp = known.data();
        ASSERT_TRUE(kernels::block_attention(a));
        queries[(7 * 3 + bad_head) * 32 + 3] = std::numeric_limits<float>::quiet_NaN();
        EXPECT_FALSE(kernels::block_attention(a));
      }
    }
  }
}

TYPED_TEST(BlockAttentionTest, NotANumberIsReported) {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    for (const std::size_t rows : Sizes{1, 17, 40}) {
      for (const std::size_t bad_token : Sizes{0, 30, 99}) {
        for (const float bad : {nan, infinity, -infinity}) {
          Problem<TypeParam> problem({rows, 100, 2, 32});
          problem.keys()[bad_token * 32 + 3] = static_cast<TypeParam>(bad);
          // A logit of minus infinity is a weight of 0.
          bool good = true;
          for (std::size_t row = 0; row < rows; ++row) {
            if (100 - rows + row < bad_token) continue;  // it does not see the token
            for (const std::size_t g : Sizes{0, 1}) good &= problem.query(row, g, 3) * bad < 0;
          }
          for (const Ask ask : {Ask::outputs, Ask::everything, Ask::rows}) {
            EXPECT_EQ(problem.attend(ask), good) << rows << ' ' << bad_token << ' ' << bad;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace morphkv::testing::block_attention_test
