// SPDX-License-Identifier: Apache-2.0
//
// Attention of a block of queries: every version against a double oracle.
#include "morphkv/kernels/block_attention.hpp"

#include "kernels/support.hpp"

namespace morphkv::test::block_attention_test { namespace {

struct Case {
  std::size_t rows;
  std::size_t tokens;
  std::size_t group = 4;
  std::size_t head_dim = 64;
  std::size_t padding = 0;  ///< between the rows of two tokens
  std::size_t offset = 0;   ///< of every pointer
  float spread = 1;         ///< of the queries
};

/// One problem, and the answer of a kernel.
template <class T>
class Problem {
 public:
  explicit Problem(const Case& c, bool bf16_queries = false)
      : case_(c),
        stride_(c.head_dim + c.padding),
        queries_(c.rows * c.group * c.head_dim, c.offset),
        keys_(c.tokens * stride_, c.offset),
        values_(keys_.size(), c.offset),
        outputs_(queries_.size(), c.offset),
        workspace_(kernels::block_attention_workspace(c.head_dim), 0) {
    std::mt19937 engine(5);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < queries_.size(); ++i) {
      queries_[i] = c.spread * normal(engine);
      if (bf16_queries) queries_[i] = static_cast<float>(Eigen::bfloat16(queries_[i]));
    }
    for (std::size_t i = 0; i < keys_.size(); ++i) {
      keys_[i] = static_cast<T>(normal(engine));
      values_[i] = static_cast<T>(normal(engine));
    }
  }

  [[nodiscard]] bool attend() {
    kernels::BlockAttention<T> a;
    a.queries = queries_.data();
    a.keys = keys_.data();
    a.values = values_.data();
    a.rows = case_.rows;
    a.tokens = case_.tokens;
    a.group = case_.group;
    a.head_dim = case_.head_dim;
    a.stride = stride_;
    a.scale = scale();
    a.outputs = outputs_.data();
    a.workspace = workspace_.data();
    return kernels::block_attention(a);
  }

  [[nodiscard]] Misaligned<T>& keys() { return keys_; }
  [[nodiscard]] float query(std::size_t row, std::size_t g, std::size_t d) const {
    return queries_.data()[(row * case_.group + g) * case_.head_dim + d];
  }
  [[nodiscard]] float output(std::size_t row, std::size_t g, std::size_t d) const {
    return outputs_.data()[(row * case_.group + g) * case_.head_dim + d];
  }

  void expect_exact(bool rounded_weights) {
    for (std::size_t row = 0; row < case_.rows; ++row) {
      for (std::size_t g = 0; g < case_.group; ++g) {
        const std::vector<double> expected = exact_output(row, g);
        for (std::size_t d = 0; d < case_.head_dim; ++d) {
          ASSERT_NEAR(output(row, g, d), expected[d], tolerance(rounded_weights))
              << "row " << row << ", head " << g << ", dimension " << d;
        }
      }
    }
    EXPECT_TRUE(outputs_.intact() && workspace_.intact());
  }

 private:
  [[nodiscard]] float scale() const { return 1 / std::sqrt(static_cast<float>(case_.head_dim)); }
  [[nodiscard]] static double number(T x) { return static_cast<double>(static_cast<float>(x)); }

  /// Values are below 6. A weight is off by its logit's error (2^-24 a product, the square root of
  /// head_dim of them), by 2^-9 where it is rounded to bfloat16, and weights sum to 1.
  [[nodiscard]] double tolerance(bool rounded_weights) const {
    return 6 * (2e-5 * (1 + static_cast<double>(case_.spread)) + (rounded_weights ? 0x1p-9 : 0));
  }

  [[nodiscard]] std::vector<double> exact_output(std::size_t row, std::size_t g) const {
    const std::size_t seen = case_.tokens - case_.rows + row + 1;
    const float* query = queries_.data() + (row * case_.group + g) * case_.head_dim;
    std::vector<double> logits(seen);
    for (std::size_t t = 0; t < seen; ++t) {
      for (std::size_t d = 0; d < case_.head_dim; ++d) {
        logits[t] += static_cast<double>(query[d]) * number(keys_.data()[t * stride_ + d]);
      }
      logits[t] *= static_cast<double>(scale());
    }
    const double high = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const double logit : logits) sum += std::exp(logit - high);
    std::vector<double> output(case_.head_dim);
    for (std::size_t t = 0; t < seen; ++t) {
      const double weight = std::exp(logits[t] - high) / sum;
      for (std::size_t d = 0; d < case_.head_dim; ++d) {
        output[d] += weight * number(values_.data()[t * stride_ + d]);
      }
    }
    return output;
  }

  Case case_;
  std::size_t stride_;
  Misaligned<float> queries_;
  Misaligned<T> keys_;
  Misaligned<T> values_;
  Misaligned<float> outputs_;
  Misaligned<float> workspace_;
};

template <class T>
class BlockAttentionTest : public testing::Test {};
using Types = testing::Types<float, Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(BlockAttentionTest, Types);

template <class T>
void expect_exact(const Case& c) {
  SCOPED_TRACE(testing::Message() << "rows " << c.rows << ", tokens " << c.tokens << ", group "
                                  << c.group << ", head_dim " << c.head_dim);
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    for (const bool bf16_queries : {false, true}) {
      Problem<T> problem(c, bf16_queries);
      ASSERT_TRUE(problem.attend());
      problem.expect_exact(isa == Isa::avx512_bf16 && std::same_as<T, Eigen::bfloat16>);
      if (testing::Test::HasFatalFailure()) return;
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

TYPED_TEST(BlockAttentionTest, AnyAlignmentAndStride) {
  for (const std::size_t offset : Sizes{1, 3, 8}) {
    for (const std::size_t padding : Sizes{0, 1, 32}) {
      expect_exact<TypeParam>({20, 90, 4, 66, padding, offset});
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
          EXPECT_EQ(problem.attend(), good) << rows << ' ' << bad_token << ' ' << bad;
        }
      }
    }
  }
}

}  // namespace
}  // namespace morphkv::test::block_attention_test
