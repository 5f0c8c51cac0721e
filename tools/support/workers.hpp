// SPDX-License-Identifier: Apache-2.0
/// \file
/// Threads for work of a few microseconds: an Executor of the library.
#ifndef MORPHKV_TOOLS_SUPPORT_WORKERS_HPP
#define MORPHKV_TOOLS_SUPPORT_WORKERS_HPP

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace morphkv::support {

/// Threads that wait for work. The caller works too and never waits for a thread to start, so a
/// busy machine costs no more than one thread would.
///
/// Thread safety: one caller at a time.
class Workers {
 public:
  /// \param threads the caller included; 0 counts as 1
  explicit Workers(std::size_t threads) {
    for (std::size_t i = 1; i < threads; ++i) threads_.emplace_back([this] { serve(); });
  }
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;
  ~Workers() {
    end_.store(true);
    state_.fetch_add(generation_step);
    state_.notify_all();
    threads_.clear();
  }

  [[nodiscard]] std::size_t threads() const noexcept { return threads_.size() + 1; }

  /// body(0) ... body(count - 1), in any order. If one throws, the rest still runs, and then its
  /// exception is thrown. \pre count < 2^31
  template <class Body>
  void operator()(std::size_t count, Body&& body) {
    if (threads_.empty() || count < 2) {
      for (std::size_t i = 0; i < count; ++i) body(i);
      return;
    }
    using Function = std::remove_reference_t<Body>;
    const std::uint64_t generation = state_.load() / generation_step;
    state_.store((generation + 1) * generation_step + (generation_step - 1));  // no index is left
    call_.store([](void* context, std::size_t i) { (*static_cast<Function*>(context))(i); });
    context_.store(const_cast<void*>(static_cast<const void*>(std::addressof(body))));
    count_.store(count);
    done_.store(0);
    state_.store((generation + 2) * generation_step);
    state_.notify_all();
    while (work()) {
    }
    int spin = 0;
    for (std::size_t done = done_.load(); done != count; done = done_.load()) {
      if (++spin > spins) done_.wait(done);
    }
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  static constexpr std::uint64_t generation_step = std::uint64_t{1} << 32U;
  static constexpr int spins = 2000;

  /// Runs one index of the current job. The claim of an index fails if the job has changed since it
  /// was read. \return whether an index was left
  bool work() {
    std::uint64_t state = state_.load();
    for (;;) {
      const auto call = call_.load();
      void* context = context_.load();
      const std::size_t count = count_.load();
      const std::size_t index = state % generation_step;
      if (call == nullptr || index >= count) return false;
      if (!state_.compare_exchange_weak(state, state + 1)) continue;
      try {
        call(context, index);
      } catch (...) {
        const std::lock_guard lock(mutex_);
        if (!failure_) failure_ = std::current_exception();
      }
      if (done_.fetch_add(1) + 1 == count) done_.notify_one();
      return true;
    }
  }

  void serve() {
    while (!end_.load()) {
      const std::uint64_t seen = state_.load() / generation_step;
      while (work()) {
      }
      std::uint64_t state = state_.load();
      for (int spin = 0; spin < spins && state / generation_step == seen; ++spin) {
        state = state_.load();
      }
      if (state / generation_step == seen && !end_.load()) state_.wait(state);
    }
  }

  std::atomic<std::uint64_t> state_{0};  ///< generation of the job, and its next index
  std::atomic<void (*)(void*, std::size_t)> call_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::atomic<std::size_t> count_{0};
  std::atomic<std::size_t> done_{0};
  std::atomic<bool> end_{false};
  std::mutex mutex_;
  std::exception_ptr failure_;  ///< of the current job
  std::vector<std::jthread> threads_;
};

}  // namespace morphkv::support

#endif  // MORPHKV_TOOLS_SUPPORT_WORKERS_HPP
