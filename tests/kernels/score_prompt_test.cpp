// SPDX-License-Identifier: Apache-2.0
//
// Prompt scoring: every version against a double oracle, with and without the engine's log-sum-exp.
#include "morphkv/kernels/score_prompt.hpp"

#include "kernels/support.hpp"

namespace morphkv::test::score_prompt_test {
namespace {

struct Case {
  std::size_t rows;
  std::size_t tokens;
  std::size_t group = 4;
  std::size_t head_dim = 64;
  std::size_t padding = 0;
  GroupFusion fusion = GroupFusion::mean;
};

template <class T>
void expect_exact(const Case& c) {
  SCOPED_TRACE(testing::Message() << "rows " << c.rows << ", tokens " << c.tokens << ", group "
                                  << c.group << ", head_dim " << c.head_dim);
  std::mt19937 engine(8);
  std::normal_distribution<float> normal;
  const std::size_t query_stride = c.group * c.head_dim + c.padding;
  const std::size_t stride = c.head_dim + c.padding;
  std::vector<T> queries(c.rows * query_stride), keys(c.tokens * stride);
  for (T& x : queries) x = static_cast<T>(2 * normal(engine));
  for (T& x : keys) x = static_cast<T>(normal(engine));
  const float scale = 1 / std::sqrt(static_cast<float>(c.head_dim));

  std::vector<double> expected(c.tokens);
  std::vector<float> logarithms(c.rows * c.group);
  for (std::size_t r = 0; r < c.rows; ++r) {
    const std::size_t seen = c.tokens - c.rows + r + 1;
    std::vector<double> fused(seen);
    for (std::size_t h = 0; h < c.group; ++h) {
      std::vector<double> weights(seen);
      double total = 0;
      for (std::size_t t = 0; t < seen; ++t) {
        double dot = 0;
        for (std::size_t d = 0; d < c.head_dim; ++d) {
          dot += static_cast<double>(
                     static_cast<float>(queries[r * query_stride + h * c.head_dim + d])) *
                 static_cast<double>(static_cast<float>(keys[t * stride + d]));
        }
        total += weights[t] = std::exp(dot * static_cast<double>(scale));
      }
      logarithms[r * c.group + h] = static_cast<float>(std::log(total));
      for (std::size_t t = 0; t < seen; ++t) {
        const double weight = weights[t] / total;
        fused[t] = c.fusion == GroupFusion::max ? std::max(fused[t], weight)
                                                : fused[t] + weight / static_cast<double>(c.group);
      }
    }
    for (std::size_t t = 0; t < seen; ++t) expected[t] += fused[t];
  }

  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    for (const unsigned way : {0U, 1U, 2U}) {  // log-sum-exp; nothing; a workspace
      Misaligned<float> sums(c.tokens, 1);
      kernels::ScorePrompt<T> a;
      a.queries = queries.data();
      a.keys = keys.data();
      a.rows = c.rows;
      a.tokens = c.tokens;
      a.group = c.group;
      a.head_dim = c.head_dim;
      a.query_stride = query_stride;
      a.stride = stride;
      a.scale = scale;
      a.fusion = c.fusion;
      a.log_sum_exp = way == 0 ? logarithms.data() : nullptr;
      AlignedBuffer<float> workspace(kernels::score_prompt_workspace(c.tokens, c.group));
      a.workspace = way == 2 ? workspace.data() : nullptr;
      a.sums = sums.data();
      ASSERT_TRUE(kernels::score_prompt(a));
      // Logits of a few units are off by 2^-22 of themselves; exp() makes that relative.
      for (std::size_t t = 0; t < c.tokens; ++t) {
        ASSERT_NEAR(sums[t], expected[t], expected[t] * 2e-5 + 1e-30) << t;
      }
      EXPECT_TRUE(sums.intact());
    }
  }
}

template <class T>
class ScorePromptTest : public testing::Test {};
using Types = testing::Types<float, Eigen::half, Eigen::bfloat16>;
TYPED_TEST_SUITE(ScorePromptTest, Types);

TYPED_TEST(ScorePromptTest, AnyNumberOfRowsAndTokens) {
  for (const std::size_t rows : Sizes{1, 2, 15, 16, 17, 32, 33}) {
    for (const std::size_t more : Sizes{0, 1, 3, 4, 50})
      expect_exact<TypeParam>({rows, rows + more});
  }
}

TYPED_TEST(ScorePromptTest, AnyGroupAndHeadDim) {
  for (const std::size_t group : Sizes{1, 2, 3, 5, 7, 8, 9})
    expect_exact<TypeParam>({5, 40, group});
  for (const std::size_t dim : Sizes{1, 2, 7, 16, 17, 80, 128, 600}) {
    expect_exact<TypeParam>({5, 40, 2, dim, 3});
  }
}

TYPED_TEST(ScorePromptTest, MaximumOfTheGroup) {
  expect_exact<TypeParam>({20, 90, 4, 64, 0, GroupFusion::max});
  expect_exact<TypeParam>({20, 90, 7, 64, 0, GroupFusion::max});
}

TYPED_TEST(ScorePromptTest, NotANumberIsReported) {
  for (const Isa isa : isas()) {
    const OnIsa on(isa);
    std::vector<TypeParam> numbers(64 * 20, static_cast<TypeParam>(1.0F));
    numbers[64 * 7 + 3] = static_cast<TypeParam>(std::numeric_limits<float>::quiet_NaN());
    std::vector<float> sums(20);
    kernels::ScorePrompt<TypeParam> a;
    a.queries = a.keys = numbers.data();
    a.rows = 4;
    a.tokens = 20;
    a.head_dim = a.query_stride = a.stride = 64;
    a.sums = sums.data();
    EXPECT_FALSE(kernels::score_prompt(a));
  }
}

}  // namespace
}  // namespace morphkv::test::score_prompt_test
