// SPDX-License-Identifier: Apache-2.0
/// \file
/// One head of the host behind an interface that nvcc compiles quickly.
#ifndef MORPHKV_TESTS_CUDA_REFERENCE_HPP
#define MORPHKV_TESTS_CUDA_REFERENCE_HPP

#include <memory>
#include <span>
#include <vector>

#include "morphkv/core/types.hpp"
#include "morphkv/cuda/policy.hpp"

namespace morphkv::testing {

class Reference {
 public:
  Reference() = default;
  Reference(const Reference&) = delete;
  Reference& operator=(const Reference&) = delete;
  virtual ~Reference() = default;

  virtual Placement place(Position position) = 0;
  virtual Status observe(std::span<const float> row) = 0;
  /// A first prompt. \param rows a row of weights for each of its tokens
  /// \param norms of their values
  virtual Status prompt(const std::vector<std::vector<float>>& rows,
                        std::span<const float> norms) = 0;
  [[nodiscard]] virtual std::vector<Position> positions() const = 0;
};

/// The head of the host that runs the same plan.
std::unique_ptr<Reference> make_reference(const cuda::Policy& policy);

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_CUDA_REFERENCE_HPP
