// SPDX-License-Identifier: Apache-2.0
//
// Decode attention over two formats: every version against a double oracle over the stored numbers.
#include "morphkv/kernels/tiered_attention.hpp"

#include <numeric>
#include <random>
#include <vector>

#include "kernels/support.hpp"
#include "morphkv/kernels/convert.hpp"

namespace morphkv::testing::tiered_attention_test { namespace {

struct Case {
  std::size_t hot;
  std::size_t tokens;
  std::size_t group = 3;
  std::size_t head_dim = 64;
  std::size_t value_dim = 64;
  GroupFusion fusion = GroupFusion::max;
  bool has_sinks = false;
  bool has_slopes = false;
  float spread = 1;  ///< of the queries
  std::size_t hidden = std::numeric_limits<std::size_t>::max();
};

template <class Stored>
std::vector<Stored> stored(const std::vector<float>& numbers) {
  std::vector<Stored> result(row_size<Stored>(numbers.size()));
  kernels::convert(numbers.data(), numbers.size(), result.data());
  return result;
}

template <class T, class Cold>
class Problem {
 public:
  explicit Problem(const Case& c)
      : case_(c), sinks_(some_sinks(c.group)), slopes_(some_slopes(c.group)) {
    std::mt19937 engine(5);
    std::normal_distribution<float> normal;
    const auto draw = [&](std::size_t count, float spread) {
      std::vector<float> numbers(count);
      for (float& number : numbers) number = spread * normal(engine);
      return numbers;
    };
    const std::size_t cold = c.tokens - std::min(c.hot, c.tokens);
    query_ = draw(c.group * c.head_dim, c.spread);
    keys_ = stored<T>(draw(c.hot * c.head_dim, 1));
    values_ = stored<T>(draw(c.hot * c.value_dim, 1));
    cold_keys_ = stored<Cold>(draw(cold * c.head_dim, 1));
    cold_values_ = stored<Cold>(draw(cold * c.value_dim, 1));
    positions_.resize(c.tokens);
    std::iota(positions_.begin(), positions_.end(), 1000);
    std::shuffle(positions_.begin(), positions_.end(), engine);
    workspace_.resize(kernels::tiered_workspace(c.group, c.value_dim));
    weights_.resize(c.group * c.tokens);
    output_.resize(c.group * c.value_dim);
    row_.resize(c.tokens);
    log_sum_exp_.resize(c.group);
  }

  [[nodiscard]] kernels::TieredAttention<T, Cold> arguments() {
    kernels::DecodeAttention<T> a;
    a.query = query_.data();
    a.tokens = case_.tokens;
    a.hidden = case_.hidden;
    a.group = case_.group;
    a.head_dim = case_.head_dim;
    a.value_dim = case_.value_dim;
    a.logits = logits();
    a.positions = case_.has_slopes ? positions_.data() : nullptr;
    a.query_position = 2000;
    a.fusion = case_.fusion;
    a.weights = weights_.data();
    a.weight_stride = case_.tokens;
    a.output = output_.data();
    a.row = row_.data();
    a.log_sum_exp = log_sum_exp_.data();
    kernels::TieredAttention<T, Cold> tiers(
        a, {view(keys_), view(cold_keys_), case_.hot},
        {view_of_values(values_), view_of_values(cold_values_), case_.hot});
    tiers.workspace = workspace_.data();
    return tiers;
  }

  /// Weights, outputs and rows as for quantised keys alone: see quantised_test.cpp.
  void expect_exact() {
    std::vector<double> row(case_.tokens);
    for (std::size_t g = 0; g < case_.group; ++g) {
      std::vector<double> weights(case_.tokens);
      for (std::size_t t = 0; t < case_.tokens; ++t) {
        double product = 0;
        for (std::size_t d = 0; d < case_.head_dim; ++d) {
          product += double{query_[g * case_.head_dim + d]} *
                     number(keys_, cold_keys_, case_.head_dim, t, d);
        }
        weights[t] = exact_logit(product, logits());
        if (case_.has_slopes) weights[t] -= double{slopes_[g]} * (2000 - positions_[t]);
        if (t == case_.hidden) weights[t] = -std::numeric_limits<double>::infinity();
      }
      const double logarithm = exact_softmax(weights, double{logits().sink(g)});
      EXPECT_NEAR(double{log_sum_exp_[g]}, logarithm, 1e-2 * case_.spread);
      for (std::size_t t = 0; t < case_.tokens; ++t) {
        row[t] = case_.fusion == GroupFusion::max
                     ? std::max(row[t], weights[t])
                     : row[t] + weights[t] / static_cast<double>(case_.group);
      }
      for (std::size_t d = 0; d < case_.value_dim; ++d) {
        double sum = 0;
        double magnitude = 0;
        for (std::size_t t = 0; t < case_.tokens; ++t) {
          const double value = number(values_, cold_values_, case_.value_dim, t, d);
          sum += weights[t] * value;
          magnitude += weights[t] * std::abs(value);
        }
        ASSERT_NEAR(double{output_[g * case_.value_dim + d]}, sum, 4e-4 + error() * magnitude) << d;
      }
    }
    for (std::size_t t = 0; t < case_.tokens; ++t) {
      ASSERT_NEAR(double{row_[t]}, row[t], 1e-6 + error() * row[t]) << t;
    }
  }

 private:
  /// Of a weight. Logits reach about 5 for each unit of the spread; kernels for bfloat16 round
  /// weights to 2^-9 where they meet values.
  [[nodiscard]] double error() const {
    return 2e-3 * std::max(1.0, double{case_.spread}) +
           (std::same_as<T, Eigen::bfloat16> ? 0x1p-8 : 0);
  }
  [[nodiscard]] Logits logits() const {
    return {.scale = 0.125F,
            .soft_cap = 0,
            .sinks = case_.has_sinks ? sinks_.data() : nullptr,
            .slopes = case_.has_slopes ? slopes_.data() : nullptr};
  }
  template <class E>
  [[nodiscard]] KvView<const E> view(const std::vector<E>& rows) const {
    return {.data = rows.data(), .stride = row_size<E>(case_.head_dim)};
  }
  template <class E>
  [[nodiscard]] KvView<const E> view_of_values(const std::vector<E>& rows) const {
    return {.data = rows.data(), .stride = row_size<E>(case_.value_dim)};
  }
  [[nodiscard]] double number(const std::vector<T>& hot, const std::vector<Cold>& cold,
                              std::size_t dim, std::size_t token, std::size_t d) const {
    if (token < case_.hot) return double{number_at(hot.data() + token * row_size<T>(dim), d)};
    return double{number_at(cold.data() + (token - case_.hot) * row_size<Cold>(dim), d)};
  }

  Case case_;
  std::vector<float> sinks_;
  std::vector<float> slopes_;
  std::vector<float> query_;
  std::vector<T> keys_;
  std::vector<T> values_;
  std::vector<Cold> cold_keys_;
  std::vector<Cold> cold_values_;
  std::vector<Position> positions_;
  std::vector<float> workspace_;
  std::vector<float> weights_;
  std::vector<float> output_;
  std::vector<float> row_;
  std::vector<float> log_sum_exp_;
};

template <class T, class Cold>
void check(const Case& c) {
  SCOPED_TRACE(::testing::Message() << "hot " << c.hot << " of " << c.tokens << ", group "
                                    << c.group << ", hidden " << c.hidden);
  for (const Isa isa : isas()) {
    const OnIsa on_isa(isa);
    Problem<T, Cold> problem(c);
    ASSERT_TRUE(kernels::decode_attention(problem.arguments()));
    problem.expect_exact();
    if (::testing::Test::HasFatalFailure()) return;
  }
}
void check_all(const Case& c) {
  check<float, Q8_0>(c);
  check<Eigen::half, Q4_0>(c);
  check<Eigen::bfloat16, Q8_0>(c);
  check<Q8_0, Q4_0>(c);
}

TEST(TieredAttention, TiersOfEverySize) {
  for (const std::size_t hot : {1U, 2U, 17U, 64U}) {
    for (const std::size_t cold : {0U, 1U, 15U, 33U, 130U})
      check_all({.hot = hot, .tokens = hot + cold});
  }
  check_all({.hot = 20, .tokens = 7});  // a head that is not full
}

TEST(TieredAttention, GroupsDimensionsAndFusions) {
  for (const std::size_t group : {1U, 4U, 9U}) {
    for (const GroupFusion fusion : {GroupFusion::max, GroupFusion::mean, GroupFusion::sum}) {
      check_all({.hot = 11,
                 .tokens = 30,
                 .group = group,
                 .head_dim = 32,
                 .value_dim = 96,
                 .fusion = fusion});
    }
  }
}

TEST(TieredAttention, SinksSlopesAndSharpWeights) {
  check_all({.hot = 9, .tokens = 40, .group = 4, .has_sinks = true});
  check_all({.hot = 9, .tokens = 40, .group = 4, .has_slopes = true});
  check_all({.hot = 9, .tokens = 40, .group = 4, .has_sinks = true, .has_slopes = true});
  check_all({.hot = 9, .tokens = 40, .spread = 12});
}

TEST(TieredAttention, AHiddenTokenInEitherTier) {
  for (const std::size_t hidden : {0U, 3U, 4U, 5U, 9U}) {
    check_all({.hot = 4, .tokens = 10, .hidden = hidden});
  }
  check_all({.hot = 1, .tokens = 10, .hidden = 0});  // all that one tier has
  check_all({.hot = 9, .tokens = 10, .hidden = 9});
  check_all({.hot = 9, .tokens = 10, .has_sinks = true, .hidden = 9});
}

TEST(TieredAttention, SaysWhereAWeightIsNotFinite) {
  for (const Isa isa : isas()) {
    const OnIsa on_isa(isa);
    for (const std::size_t token : {2U, 7U}) {
      Problem<float, Q8_0> problem({.hot = 5, .tokens = 10});
      auto arguments = problem.arguments();
      std::vector<float> keys(5 * 64, 1);
      std::vector<Q8_0> cold(5 * 2);
      if (token < 5) {
        keys[token * 64] = std::numeric_limits<float>::quiet_NaN();
      } else {
        cold[(token - 5) * 2].scale = Eigen::half(std::numeric_limits<float>::quiet_NaN());
      }
      arguments.keys.data = keys.data();
      arguments.cold_keys.data = cold.data();
      EXPECT_FALSE(kernels::decode_attention(arguments)) << token;
    }
  }
}

}  // namespace
}  // namespace morphkv::testing::tiered_attention_test
