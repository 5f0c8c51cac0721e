// SPDX-License-Identifier: Apache-2.0
//
// The loops that find a machine's limits, over a kernel's vector vocabulary. Included once an ISA,
// between its MORPHKV_TARGET_BEGIN and MORPHKV_TARGET_END and with MORPHKV_ISA defined: no include
// guard, on purpose.
#ifdef MORPHKV_ISA
namespace morphkv::bench::MORPHKV_ISA {

using namespace kernels::MORPHKV_ISA;  // NOLINT(google-build-using-namespace)

/// Reads memory once, vector by vector; with `Lead`, asks for what comes so many bytes later.
template <std::size_t Lead>
std::uint64_t read_through(const char* data, std::size_t bytes) {
  constexpr std::size_t width = lanes * sizeof(std::uint32_t);
  constexpr std::size_t step = 8 * width;
  U32s some[8];
  MORPHKV_UNROLL for (U32s& each : some) each = broadcast(0U);
  for (std::size_t b = 0; b + step <= bytes; b += step) {
    if constexpr (Lead > 0) {
      MORPHKV_UNROLL for (std::size_t line = 0; line < step; line += 64) {
        __builtin_prefetch(data + b + Lead + line);
      }
    }
    MORPHKV_UNROLL for (std::size_t i = 0; i < 8; ++i) {
      const auto* from = reinterpret_cast<const std::uint32_t*>(data + b + i * width);
      some[i] |= load(from);
    }
  }
  MORPHKV_UNROLL for (std::size_t i = 1; i < 8; ++i) some[0] |= some[i];
  return reduce_max(some[0]);
}

/// Reads pieces of memory in the order of a list, and asks for those that come 8 KB later.
inline std::uint64_t read_pieces(const std::vector<const char*>& pieces, std::size_t bytes) {
  const std::size_t lead = (std::max<std::size_t>)(1, 8192 / bytes);
  U32s some = broadcast(0U);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const char* soon = pieces[(std::min)(i + lead, pieces.size() - 1)];
    for (std::size_t b = 0; b < bytes; b += 64) __builtin_prefetch(soon + b);
    for (std::size_t b = 0; b < bytes; b += lanes * sizeof(std::uint32_t)) {
      some |= load(reinterpret_cast<const std::uint32_t*>(pieces[i] + b));
    }
  }
  return reduce_max(some);
}

/// Floating point operations a second of `count` rounds of twelve independent fused multiply-adds.
inline double float_rate(std::size_t count) {
  Floats sums[12];
  MORPHKV_UNROLL for (int i = 0; i < 12; ++i) sums[i] =
      broadcast(static_cast<float>(i));  // not all one
  const float near_one = 1.0F + 1e-7F * static_cast<float>(count % 2);
  const Floats factor = broadcast(near_one);
  const double begin = seconds();
  for (std::size_t r = 0; r < count; ++r) {
    MORPHKV_UNROLL for (int i = 0; i < 12; ++i) sums[i] = fma(sums[i], factor, factor);
  }
  MORPHKV_UNROLL for (int i = 1; i < 12; ++i) sums[0] += sums[i];
  sink = static_cast<std::uint64_t>(reduce_max(sums[0]) > 0);
  return static_cast<double>(count * 12 * 2 * lanes) / (seconds() - begin);
}

}  // namespace morphkv::bench::MORPHKV_ISA
#endif  // MORPHKV_ISA
