// SPDX-License-Identifier: Apache-2.0
/// \file
/// How heads run in parallel: the caller's threads, never the library's.
#ifndef MORPHKV_CORE_EXECUTOR_HPP
#define MORPHKV_CORE_EXECUTOR_HPP

#include <concepts>
#include <cstddef>
#include <exception>
#include <vector>

#include "morphkv/core/config.hpp"

namespace morphkv { inline namespace MORPHKV_ABI {

/// Runs `body(0) ... body(count - 1)`, each once, in any order and on any threads, and returns when
/// all have ended. A thread pool's `parallel_for` in a lambda is one.
///
/// A body never throws. An executor that throws in KVCache::prefill does so before any token is
/// written, and the caller receives the exception; it must not throw in attend, which is noexcept.
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

/// Runs bodies that may throw: once all have ended, one of their exceptions is thrown on the
/// calling thread. It allocates one pointer per body.
template <class Execute, std::invocable<std::size_t> Body>
void run_bodies(Execute& execute, std::size_t count, const Body& body) {
#ifdef MORPHKV_NO_EXCEPTIONS
  execute(count, body);
#else
  std::vector<std::exception_ptr> errors(count);
  execute(count, [&](std::size_t index) noexcept {
    try {
      body(index);
    } catch (...) {
      errors[index] = std::current_exception();
    }
  });
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
#endif
}

}}  // namespace morphkv::v0

#endif  // MORPHKV_CORE_EXECUTOR_HPP
