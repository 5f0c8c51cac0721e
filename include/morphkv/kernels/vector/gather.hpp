// SPDX-License-Identifier: Apache-2.0
/// \file
/// Row gather and compaction over a vector vocabulary. Included once an ISA, between its
/// MORPHKV_TARGET_BEGIN and MORPHKV_TARGET_END and with MORPHKV_ISA defined: no include guard, on
/// purpose.
#ifdef MORPHKV_ISA
namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace MORPHKV_ISA {

/// Bytes asked of the memory before they are copied: what hides its latency at full speed.
inline constexpr std::size_t gather_ahead = 16384;
/// A result larger than this is written past the caches: whoever reads it finds it in memory, and
/// nothing else is pushed out.
inline constexpr std::size_t gather_cached = std::size_t{1} << 19U;

MORPHKV_VECTOR_WORD void fetch_row(const char* row, std::size_t bytes) noexcept {
  for (std::size_t b = 0; b < bytes; b += 64) __builtin_prefetch(row + b);
}

/// Rows of whole vectors, whole cache lines if Stream.
template <bool Stream>
void copy_rows(const char* from, std::size_t stride, const std::uint32_t* rows, std::size_t count,
               std::size_t row_bytes, char* to, std::size_t to_stride) noexcept {
  const std::size_t ahead = (std::max)(std::size_t{1}, gather_ahead / row_bytes);
  for (std::size_t i = 0; i < (std::min)(ahead, count); ++i) {
    fetch_row(from + rows[i] * stride, row_bytes);
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (i + ahead < count) fetch_row(from + rows[i + ahead] * stride, row_bytes);
    const char* source = from + rows[i] * stride;
    char* target = to + i * to_stride;
    if (source == target) continue;
    for (std::size_t b = 0; b < row_bytes; b += vector_bytes) {
      Stream ? stream_bytes(target + b, source + b) : copy_bytes(target + b, source + b);
    }
  }
  if constexpr (Stream) end_of_stream();
}

inline void gather_rows(const void* from, std::size_t stride, const std::uint32_t* rows,
                        std::size_t count, std::size_t row_bytes, void* to) noexcept {
  if (row_bytes == 0 || row_bytes % vector_bytes != 0) {
    return portable::gather_rows(from, stride, rows, count, row_bytes, to);
  }
  const auto* source = static_cast<const char*>(from);
  auto* target = static_cast<char*>(to);
  const bool lines = row_bytes % 64 == 0 && reinterpret_cast<std::uintptr_t>(to) % 64 == 0;
  if (lines && count * row_bytes > gather_cached) {
    copy_rows<true>(source, stride, rows, count, row_bytes, target, row_bytes);
  } else {
    copy_rows<false>(source, stride, rows, count, row_bytes, target, row_bytes);
  }
}

inline void compact_rows(void* data, std::size_t stride, const std::uint32_t* rows,
                         std::size_t count, std::size_t row_bytes) noexcept {
  if (row_bytes == 0 || row_bytes % vector_bytes != 0) {
    return portable::compact_rows(data, stride, rows, count, row_bytes);
  }
  copy_rows<false>(static_cast<const char*>(data), stride, rows, count, row_bytes,
                   static_cast<char*>(data), stride);
}

}}}}}   // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
