// SPDX-License-Identifier: Apache-2.0
/// \file
/// The allocations of the global operator new, counted where a source of the program includes
/// counted_new.hpp.
#ifndef MORPHKV_TESTS_SUPPORT_ALLOCATION_COUNTER_HPP
#define MORPHKV_TESTS_SUPPORT_ALLOCATION_COUNTER_HPP

#include <atomic>
#include <cstddef>
#include <limits>

namespace morphkv::testing {

struct AllocationCounter {
  static constexpr std::size_t never = std::numeric_limits<std::size_t>::max();

  std::atomic<std::size_t> count{0};           ///< allocations so far
  std::atomic<std::size_t> live{0};            ///< bytes that were asked for and not yet given back
  std::atomic<std::size_t> peak{0};            ///< the most there were, since it was last set
  std::atomic<std::size_t> fail_after{never};  ///< allocations that succeed before one fails
};

inline AllocationCounter allocations;

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_SUPPORT_ALLOCATION_COUNTER_HPP
