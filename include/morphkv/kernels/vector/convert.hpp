// SPDX-License-Identifier: Apache-2.0
/// \file
/// Conversion between floats, the 16-bit types and E4M3. Included once per vocabulary with
/// MORPHKV_ISA defined; see isa/for_each.hpp.
#ifdef MORPHKV_ISA
namespace morphkv { inline namespace MORPHKV_ABI {
namespace kernels::inline MORPHKV_BUILD::MORPHKV_ISA {

template <Scalar From, Scalar To>
void convert(const From* from, std::size_t count, To* to) noexcept {
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) store(to + i, load(from + i) * load_factor<From>);
  if (i < count) portable::convert(from + i, count - i, to + i);
}

inline void divide(const float* from, std::size_t count, float divisor, E4M3* to) noexcept {
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) store(to + i, load(from + i) / divisor);
  if (i < count) portable::divide(from + i, count - i, divisor, to + i);
}

}}}     // namespace morphkv::v0::kernels::MORPHKV_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
