// SPDX-License-Identifier: Apache-2.0
/// \file
/// Heads on the threads of OpenMP: the executor is a parallel loop.
#include <cstddef>

#include "support/compare_executors.hpp"

namespace {

struct OpenMPExecutor {
  template <class Body>
  void operator()(std::size_t count, const Body& body) const {
#pragma omp parallel for schedule(dynamic)
    for (std::size_t index = 0; index < count; ++index) body(index);
  }
};

}  // namespace

int main() {
  const OpenMPExecutor openmp;
  return morphkv::examples::compare_with_serial("OpenMP", openmp);
}
