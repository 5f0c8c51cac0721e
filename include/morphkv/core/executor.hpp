// SPDX-License-Identifier: Apache-2.0
/// \file
/// How heads run in parallel: the caller's threads, never the library's.
#ifndef MORPHKV_CORE_EXECUTOR_HPP
#define MORPHKV_CORE_EXECUTOR_HPP

#include <concepts>
#include <cstddef>

namespace morphkv { inline namespace v0 {

/// Runs `body(0) ... body(count - 1)`, in any order and on any threads, and returns when all have
/// ended. A thread pool's `parallel_for` in a lambda is one.
template <class E>
concept Executor = requires(E& executor, std::size_t count, void (*body)(std::size_t)) {
  executor(count, body);
};

/// One after the other, on the calling thread.
struct SerialExecutor {
  template <std::invocable<std::size_t> Body>
  void operator()(std::size_t count, Body&& body) const {
    for (std::size_t index = 0; index < count; ++index) body(index);
  }
};

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_EXECUTOR_HPP
