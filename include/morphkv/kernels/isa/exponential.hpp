// SPDX-License-Identifier: Apache-2.0
/// \file
/// exp() over a vocabulary of vectors, which includes it with MORPHKV_ISA defined.
#ifdef MORPHKV_ISA
namespace morphkv { inline namespace v0 { namespace kernels::inline MORPHKV_BUILD::MORPHKV_ISA {

/// exp(x) for x <= 0, with a relative error of 2e-7; 0 below 2^-126.5, so minus infinity gives 0,
/// and NaN stays NaN.
///
/// x = n ln 2 + f, where ln 2 is split in two so that f is exact to the last bits. e^f, |f| <= ln 2
/// / 2, is the polynomial of degree 5 that is 1 at 0 and whose greatest relative error is the
/// least, 1e-7 (Remez). In a number from 2^23 to 2^24 the last bit weighs 1: added to x / ln 2 it
/// rounds to n, and leaves n + 127, the exponent of 2^n, in the lowest bits. At n = -127 that
/// exponent makes a zero.
MORPHKV_VECTOR_WORD Floats exp_of_negative(Floats x) noexcept {
  x = max(broadcast(-88.0F), x);  // a NaN in second place survives
  const Floats rounder = broadcast(0x1.8p23F + 127);
  const Floats rounded = fma(x, broadcast(1.44269504F), rounder);
  const Floats n = sub(rounded, rounder);
  Floats f = fma(n, broadcast(-0.693145752F), x);
  f = fma(n, broadcast(-1.42860677e-6F), f);
  Floats series = fma(f, broadcast(0x1.0fa7d8p-7F), broadcast(0x1.573ad0p-5F));
  series = fma(series, f, broadcast(0x1.555a6ep-3F));
  series = fma(series, f, broadcast(0x1.fffdc4p-2F));
  series = fma(series, f, broadcast(0x1.fffff6p-1F));
  series = fma(series, f, broadcast(1.0F));
  return mul(series, exponent_of(rounded));
}

}}}     // namespace morphkv::v0::kernels::MORPHKV_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
