// SPDX-License-Identifier: Apache-2.0
//
// The machine under the benchmarks: memory on huge pages, and a clock that other programs do not
// move.
#ifndef MORPHKV_BENCH_KERNELS_MACHINE_HPP
#define MORPHKV_BENCH_KERNELS_MACHINE_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace morphkv::bench {

/// CPU time of this thread: what other programs take of the core does not count.
inline double seconds() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Zeroed memory on huge pages, so that what is measured is memory and not the page tables.
template <class T>
class HugeBuffer {
 public:
  explicit HugeBuffer(std::size_t size) : size_(size) {
    constexpr std::size_t page = std::size_t{1} << 21U;
    const std::size_t bytes = (size * sizeof(T) + page - 1) / page * page;
    data_ = static_cast<T*>(std::aligned_alloc(page, bytes));
    if (data_ == nullptr) std::abort();
#if defined(__linux__)
    madvise(data_, bytes, MADV_HUGEPAGE);
#endif
    std::memset(static_cast<void*>(data_), 0, bytes);
  }
  ~HugeBuffer() { std::free(static_cast<void*>(data_)); }
  HugeBuffer(const HugeBuffer&) = delete;
  HugeBuffer& operator=(const HugeBuffer&) = delete;
  [[nodiscard]] T* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] T& operator[](std::size_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
  std::size_t size_;
};

/// Times of variants that take turns, so that noise meets all of them.
struct Comparison {
  std::vector<std::vector<double>> times;  ///< [variant][round]

  [[nodiscard]] double time(std::size_t variant) const { return median(times[variant]); }
  /// The median over rounds of the variant's time over the first one's.
  [[nodiscard]] double ratio(std::size_t variant) const {
    std::vector<double> ratios;
    for (std::size_t r = 0; r < times[0].size(); ++r) {
      ratios.push_back(times[variant][r] / times[0][r]);
    }
    return median(ratios);
  }
};

inline Comparison compare(std::size_t rounds, const std::vector<std::function<void()>>& variants) {
  Comparison result;
  result.times.resize(variants.size());
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t v = 0; v < variants.size(); ++v) {
      const double begin = seconds();
      variants[v]();
      result.times[v].push_back(seconds() - begin);
    }
  }
  return result;
}

/// Where a result goes that nobody wants.
inline volatile std::uint64_t sink;

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_KERNELS_MACHINE_HPP
