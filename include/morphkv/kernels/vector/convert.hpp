// SPDX-License-Identifier: Apache-2.0
/// \file
/// Conversion between floats and the 16-bit types over a vector vocabulary. Included once an ISA,
/// between its MORPHKV_TARGET_BEGIN and MORPHKV_TARGET_END and with MORPHKV_ISA defined: no include
/// guard, on purpose.
#ifdef MORPHKV_ISA
namespace morphkv {
  inline namespace v0 {
    namespace kernels {
      inline namespace MORPHKV_KERNELS_BUILD {
namespace MORPHKV_ISA {

MORPHKV_VECTOR_WORD void store_as(float* p, Floats a) noexcept { store(p, a); }
MORPHKV_VECTOR_WORD void store_as(Eigen::half* p, Floats a) noexcept {
  store_halves(reinterpret_cast<std::uint16_t*>(p), narrow(a));
}
MORPHKV_VECTOR_WORD void store_as(Eigen::bfloat16* p, Floats a) noexcept {
  store_halves(reinterpret_cast<std::uint16_t*>(p), to_brains(a));
}

template <Scalar From, Scalar To>
void convert(const From* from, std::size_t count, To* to) noexcept {
  std::size_t i = 0;
  for (; i + lanes <= count; i += lanes) store_as(to + i, load(from + i));
  portable::convert(from + i, count - i, to + i);
}

}}}}}   // namespace morphkv::v0::kernels::MORPHKV_KERNELS_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
