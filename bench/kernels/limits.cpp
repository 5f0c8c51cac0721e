// SPDX-License-Identifier: Apache-2.0
#include "kernels/limits.hpp"

#include <algorithm>
#include <cstring>

#include "morphkv/kernels/dispatch.hpp"
#include "morphkv/kernels/isa/avx2.hpp"
#include "morphkv/kernels/isa/avx512.hpp"
#include "morphkv/kernels/isa/neon.hpp"

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
namespace {

#if defined(MORPHKV_KERNELS_X86)
MORPHKV_TARGET_BEGIN(MORPHKV_AVX512_BF16_FEATURES)
/// Floating point operations a second of dot products of bfloat16.
double brain_rate(std::size_t count) {
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

double read_rate(std::uint64_t (*read)(const char*, std::size_t), const char* data,
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

}  // namespace

std::uint64_t read_all(const void* data, std::size_t bytes) {
  static const auto fastest = [] {
    const HugeBuffer<char> memory(std::size_t{128} << 20U);
    const auto rate = [&](auto* read) { return read_rate(read, memory.data(), memory.size()); };
    return rate(&read_with_lead<0>) > rate(&read_with_lead<4096>) ? &read_with_lead<0>
                                                                  : &read_with_lead<4096>;
  }();
  return fastest(static_cast<const char*>(data), bytes);
}

std::uint64_t read_pieces([[maybe_unused]] const std::vector<const char*>& pieces,
                          [[maybe_unused]] std::size_t bytes) {
#if defined(MORPHKV_KERNELS_X86)
  if (kernels::active_isa() >= kernels::Isa::avx512) return avx512::read_pieces(pieces, bytes);
  if (kernels::active_isa() == kernels::Isa::avx2) return avx2::read_pieces(pieces, bytes);
#elif defined(MORPHKV_KERNELS_NEON)
  return neon::read_pieces(pieces, bytes);
#endif
  return 0;
}

double read_bandwidth(const HugeBuffer<char>& memory, std::size_t bytes) {
  return (std::max)(read_rate(&read_with_lead<0>, memory.data(), bytes),
                    read_rate(&read_with_lead<4096>, memory.data(), bytes));
}

double peak_flops([[maybe_unused]] bool brains) {
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
