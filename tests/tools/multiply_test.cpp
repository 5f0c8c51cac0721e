// SPDX-License-Identifier: Apache-2.0
// Products of weights in every type, on every instruction set, against double.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "llama/multiply.hpp"

namespace morphkv::testing::multiply_test { namespace {

using llama::Matrix;
using llama::Weights;
using support::TensorType;

template <class Element>
Weights stored(const Matrix& matrix, TensorType type) {
  const auto bytes = std::make_shared<std::vector<std::byte>>(
      static_cast<std::size_t>(matrix.size()) * sizeof(Element));
  for (Eigen::Index i = 0; i < matrix.size(); ++i) {
    const auto element = static_cast<Element>(matrix.data()[i]);
    std::memcpy(bytes->data() + static_cast<std::size_t>(i) * sizeof(Element), &element,
                sizeof(Element));
  }
  return {type, static_cast<std::size_t>(matrix.rows()), static_cast<std::size_t>(matrix.cols()),
          bytes->data(), bytes};
}

Weights stored(const Matrix& matrix, TensorType type) {
  if (type == TensorType::f16) return stored<Eigen::half>(matrix, type);
  if (type == TensorType::bf16) return stored<Eigen::bfloat16>(matrix, type);
  return stored<float>(matrix, type);
}

Matrix random_matrix(std::size_t rows, std::size_t columns, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> draw(-1, 1);
  Matrix matrix(static_cast<Eigen::Index>(rows), static_cast<Eigen::Index>(columns));
  for (Eigen::Index i = 0; i < matrix.size(); ++i) matrix.data()[i] = draw(random);
  return matrix;
}

TEST(Multiply, AgreesWithDoubleOnEveryInstructionSet) {
  support::Workers workers(2);
  for (const auto isa : {kernels::Isa::portable, kernels::Isa::avx2, kernels::Isa::avx512}) {
    (void)kernels::limit_isa(isa);
    for (const auto type : {TensorType::f32, TensorType::f16, TensorType::bf16}) {
      for (const std::size_t columns : {1U, 7U, 16U, 33U, 576U}) {
        for (const std::size_t rows : {1U, 4U, 67U, 130U}) {
          const Weights weights = stored(random_matrix(rows, columns, 1), type);
          for (const std::size_t tokens : {1U, 2U, 6U, 13U, 100U}) {
            const Matrix x = random_matrix(tokens, columns, 2);
            Matrix out;
            llama::multiply(x, weights, out, workers);
            const Eigen::MatrixXd expected =
                x.cast<double>() * weights.to_matrix().cast<double>().transpose();
            const double error = (out.cast<double>() - expected).cwiseAbs().maxCoeff();
            ASSERT_LT(error, 1e-6 * std::sqrt(static_cast<double>(columns)) * 4)
                << rows << " x " << columns << ", " << tokens << " tokens";
          }
        }
      }
    }
  }
  (void)kernels::limit_isa(kernels::best_isa());
}

TEST(Multiply, ATokenInABlockIsComputedAsAlone) {
  support::Workers workers(1);
  const Weights weights = stored(random_matrix(70, 50, 3), TensorType::bf16);
  const Matrix x = random_matrix(20, 50, 4);
  Matrix all;
  llama::multiply(x, weights, all, workers);
  for (Eigen::Index t = 0; t < x.rows(); ++t) {
    Matrix one;
    llama::multiply(x.row(t), weights, one, workers);
    EXPECT_EQ(one.row(0), all.row(t));
  }
}

TEST(Workers, RunEveryIndexOnceForManyJobs) {
  for (const std::size_t threads : {0U, 1U, 2U, 4U}) {
    support::Workers workers(threads);
    for (int job = 0; job < 2000; ++job) {
      const auto count = static_cast<std::size_t>(job % 9);
      std::vector<std::atomic<int>> runs(count);
      workers(count, [&](std::size_t i) { ++runs[i]; });
      for (const auto& run : runs) ASSERT_EQ(run, 1);
    }
  }
}

TEST(Workers, ForwardAnException) {
  support::Workers workers(2);
  for (int job = 0; job < 100; ++job) {
    EXPECT_THROW(workers(5,
                         [](std::size_t i) {
                           if (i == 3) throw std::runtime_error("x");
                         }),
                 std::runtime_error);
    int sum = 0;
    workers(1, [&](std::size_t) { ++sum; });
    EXPECT_EQ(sum, 1);
  }
}

}  // namespace
}  // namespace morphkv::testing::multiply_test
