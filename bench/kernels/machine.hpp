// SPDX-License-Identifier: Apache-2.0
//
// The machine under the benchmarks: memory on huge pages, a clock that other programs do not move,
// and its own limits.
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

#include "morphkv/kernels/dispatch.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(MORPHKV_KERNELS_X86)
#include <immintrin.h>
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

// --- Limits

#if defined(MORPHKV_KERNELS_X86)
MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_FEATURES)
inline std::uint64_t read_wide(const char* data, std::size_t bytes) {
  __m512i some[8];
  MORPHKV_UNROLL for (int i = 0; i < 8; ++i) some[i] = _mm512_setzero_si512();
  for (std::size_t b = 0; b + 512 <= bytes; b += 512) {
    MORPHKV_UNROLL for (int i = 0; i < 8; ++i) {
      _mm_prefetch(data + b + 4096 + 64 * i, _MM_HINT_T0);
    }
    MORPHKV_UNROLL for (int i = 0; i < 8; ++i) {
      some[i] = _mm512_or_si512(some[i], _mm512_loadu_si512(data + b + 64 * i));
    }
  }
  MORPHKV_UNROLL for (int i = 1; i < 8; ++i) some[0] = _mm512_or_si512(some[0], some[i]);
  return static_cast<std::uint64_t>(_mm512_reduce_or_epi64(some[0]));
}

/// Seconds of `count` rounds of twelve independent fused multiply-adds.
inline double time_float_products(std::size_t count) {
  __m512 sums[12];
  MORPHKV_UNROLL for (int i = 0; i < 12; ++i) sums[i] = _mm512_set1_ps(1);
  __m512 factor = _mm512_set1_ps(1.0001F);
  asm volatile("" : "+v"(factor));
  const double begin = seconds();
  for (std::size_t r = 0; r < count; ++r) {
    MORPHKV_UNROLL for (int i = 0; i < 12; ++i) {
      sums[i] = _mm512_fmadd_ps(sums[i], factor, factor);
      asm volatile("" : "+v"(sums[i]));  // or they would all be one
    }
  }
  return seconds() - begin;
}
MORPHKV_TARGET_END

MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_BF16_FEATURES)
inline double time_brain_products(std::size_t count) {
  __m512 sums[12];
  MORPHKV_UNROLL for (int i = 0; i < 12; ++i) sums[i] = _mm512_setzero_ps();
  __m512i ones = _mm512_set1_epi32(0x3f803f80);
  asm volatile("" : "+v"(ones));
  const double begin = seconds();
  for (std::size_t r = 0; r < count; ++r) {
    MORPHKV_UNROLL for (int i = 0; i < 12; ++i) {
      sums[i] = _mm512_dpbf16_ps(sums[i], reinterpret_cast<__m512bh>(ones),
                                 reinterpret_cast<__m512bh>(ones));
      asm volatile("" : "+v"(sums[i]));
    }
  }
  return seconds() - begin;
}
MORPHKV_TARGET_END
#endif

/// Reads all of the memory once, as fast as this machine can.
inline std::uint64_t read_all(const void* data, std::size_t bytes) {
#if defined(MORPHKV_KERNELS_X86)
  if (kernels::best_isa() >= kernels::Isa::avx512) {
    return read_wide(static_cast<const char*>(data), bytes);
  }
#endif
  const auto* words = static_cast<const std::uint64_t*>(data);
  std::uint64_t some[8] = {};
  for (std::size_t i = 0; i + 8 <= bytes / 8; i += 8) {
    for (std::size_t j = 0; j < 8; ++j) some[j] |= words[i + j];
  }
  for (std::size_t j = 1; j < 8; ++j) some[0] |= some[j];
  return some[0];
}

/// Where a result goes that nobody wants.
inline volatile std::uint64_t sink;

/// Bytes a second that one thread reads from a working set of this size.
inline double read_bandwidth(const HugeBuffer<char>& memory, std::size_t bytes) {
  std::vector<double> rates;
  const std::size_t repeats = (std::max<std::size_t>)(1, (std::size_t{32} << 20U) / bytes);
  for (int round = 0; round < 9; ++round) {
    const double begin = seconds();
    for (std::size_t r = 0; r < repeats; ++r) sink = read_all(memory.data(), bytes);
    rates.push_back(static_cast<double>(bytes * repeats) / (seconds() - begin));
  }
  return median(rates);
}

/// Floating point operations a second of one thread; 0 where nobody has measured it.
inline double peak_flops(bool brains) {
#if defined(MORPHKV_KERNELS_X86)
  constexpr std::size_t count = 2'000'000;
  std::vector<double> rates;
  for (int round = 0; round < 7; ++round) {
    if (brains && kernels::best_isa() >= kernels::Isa::avx512_bf16) {
      rates.push_back(count * 12.0 * 64 / time_brain_products(count));
    } else if (!brains && kernels::best_isa() >= kernels::Isa::avx512) {
      rates.push_back(count * 12.0 * 32 / time_float_products(count));
    }
  }
  return rates.empty() ? 0 : median(rates);
#else
  (void)brains;
  return 0;
#endif
}

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_KERNELS_MACHINE_HPP
