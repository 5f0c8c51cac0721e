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
#include "morphkv/kernels/isa/avx2.hpp"
#include "morphkv/kernels/isa/avx512.hpp"
#include "morphkv/kernels/isa/neon.hpp"

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

// --- Limits

#if defined(MORPHKV_KERNELS_X86)
MORPHKV_TARGET_BEGIN(MORPHKV_AVX2_FEATURES)
#define MORPHKV_ISA avx2
#include "kernels/limit_loops.hpp"
#undef MORPHKV_ISA
MORPHKV_TARGET_END
MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_FEATURES)
#define MORPHKV_ISA avx512
#include "kernels/limit_loops.hpp"
#undef MORPHKV_ISA
MORPHKV_TARGET_END
#elif defined(MORPHKV_KERNELS_NEON)
#define MORPHKV_ISA neon
#include "kernels/limit_loops.hpp"
#undef MORPHKV_ISA
#endif

namespace morphkv::bench {

#if defined(MORPHKV_KERNELS_X86)
MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_BF16_FEATURES)
/// Floating point operations a second of dot products of bfloat16.
inline double brain_rate(std::size_t count) {
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
  return static_cast<double>(count) * 12 * 64 / (seconds() - begin);
}
MORPHKV_TARGET_END
#endif

/// Reads all of the memory once, `Lead` bytes ahead of itself if that is not 0.
template <std::size_t Lead>
std::uint64_t read_with_lead(const char* data, std::size_t bytes) {
#if defined(MORPHKV_KERNELS_X86)
  if (kernels::active_isa() >= kernels::Isa::avx512) return avx512::read_through<Lead>(data, bytes);
  if (kernels::active_isa() == kernels::Isa::avx2) return avx2::read_through<Lead>(data, bytes);
#elif defined(MORPHKV_KERNELS_NEON)
  return neon::read_through<Lead>(data, bytes);
#endif
  std::uint64_t some = 0;
  for (std::size_t i = 0; i + 8 <= bytes; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, data + i, sizeof word);
    some |= word;
  }
  return some;
}

inline double read_rate(std::uint64_t (*read)(const char*, std::size_t), const char* data,
                        std::size_t bytes) {
  std::vector<double> rates;
  const std::size_t repeats = (std::max<std::size_t>)(1, (std::size_t{32} << 20U) / bytes);
  for (int round = 0; round < 9; ++round) {
    const double begin = seconds();
    for (std::size_t r = 0; r < repeats; ++r) sink = read(data, bytes);
    rates.push_back(static_cast<double>(bytes * repeats) / (seconds() - begin));
  }
  return median(rates);
}

/// Reads all of the memory once, as fast as this machine can: some like to be told what comes, and
/// some have prefetchers that do better alone.
inline std::uint64_t read_all(const void* data, std::size_t bytes) {
  static const auto fastest = [] {
    const HugeBuffer<char> memory(std::size_t{128} << 20U);
    const auto rate = [&](auto* read) { return read_rate(read, memory.data(), memory.size()); };
    return rate(&read_with_lead<0>) > rate(&read_with_lead<4096>) ? &read_with_lead<0>
                                                                  : &read_with_lead<4096>;
  }();
  return fastest(static_cast<const char*>(data), bytes);
}

/// Reads pieces of memory, multiples of 64 bytes, in the order of a list. Does nothing where there
/// are no vectors.
inline std::uint64_t read_pieces([[maybe_unused]] const std::vector<const char*>& pieces,
                                 [[maybe_unused]] std::size_t bytes) {
#if defined(MORPHKV_KERNELS_X86)
  if (kernels::active_isa() >= kernels::Isa::avx512) return avx512::read_pieces(pieces, bytes);
  if (kernels::active_isa() == kernels::Isa::avx2) return avx2::read_pieces(pieces, bytes);
#elif defined(MORPHKV_KERNELS_NEON)
  return neon::read_pieces(pieces, bytes);
#endif
  return 0;
}

/// Bytes a second that one thread reads from a working set of this size.
inline double read_bandwidth(const HugeBuffer<char>& memory, std::size_t bytes) {
  return (std::max)(read_rate(&read_with_lead<0>, memory.data(), bytes),
                    read_rate(&read_with_lead<4096>, memory.data(), bytes));
}

/// Floating point operations a second of one thread on floats, or on what the kernels compute with
/// where they are given bfloat16; 0 where nobody has measured it.
inline double peak_flops([[maybe_unused]] bool brains) {
  std::vector<double> rates;
  for (int round = 0; round < 7; ++round) {
    [[maybe_unused]] constexpr std::size_t count = 2'000'000;
#if defined(MORPHKV_KERNELS_X86)
    const kernels::Isa isa = kernels::active_isa();
    if (brains && isa >= kernels::Isa::avx512_bf16) {
      rates.push_back(brain_rate(count));
    } else if (isa >= kernels::Isa::avx512) {
      rates.push_back(avx512::float_rate(count));
    } else if (isa == kernels::Isa::avx2) {
      rates.push_back(avx2::float_rate(count));
    }
#elif defined(MORPHKV_KERNELS_NEON)
    rates.push_back(neon::float_rate(count));
#endif
  }
  return rates.empty() ? 0 : median(rates);
}

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_KERNELS_MACHINE_HPP
