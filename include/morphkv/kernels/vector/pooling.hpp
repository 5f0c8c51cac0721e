// SPDX-License-Identifier: Apache-2.0
/// \file
/// Pooling along a row over a vector vocabulary. Included once an ISA, between its
/// MORPHKV_TARGET_BEGIN and MORPHKV_TARGET_END and with MORPHKV_ISA defined: no include guard, on
/// purpose. Neighbours are added in the order of the portable version: the same bits.
#ifdef MORPHKV_ISA
namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace MORPHKV_ISA {

/// Where whole vectors of outputs with all their neighbours end.
[[nodiscard]] inline std::size_t inner_end(std::size_t count, std::size_t reach) noexcept {
  if (count < 2 * reach + lanes) return reach;
  return reach + (count - 2 * reach) / lanes * lanes;
}

inline void pool_average(const float* row, std::size_t count, std::size_t width,
                         float* out) noexcept {
  const std::size_t reach = width / 2;
  const std::size_t end = inner_end(count, reach);
  for (std::size_t j = reach; j < end; j += lanes) {
    Floats sum = zero();
    for (std::size_t i = 0; i < width; ++i) sum = add(sum, load(row + j - reach + i));
    store(out + j, divide(sum, all(static_cast<float>(width))));
  }
  portable::pool_average(row, count, width, out, 0, (std::min)(reach, count));
  portable::pool_average(row, count, width, out, end, count);
}

inline void pool_max(const float* row, std::size_t count, std::size_t width, float* out) noexcept {
  const std::size_t reach = width / 2;
  const std::size_t end = inner_end(count, reach);
  for (std::size_t j = reach; j < end; j += lanes) {
    Floats highest = load(row + j - reach);
    for (std::size_t i = 1; i < width; ++i) highest = greater(highest, load(row + j - reach + i));
    store(out + j, highest);
  }
  portable::pool_max(row, count, width, out, 0, (std::min)(reach, count));
  portable::pool_max(row, count, width, out, end, count);
}

}}}}}   // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
