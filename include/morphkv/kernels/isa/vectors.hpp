// SPDX-License-Identifier: Apache-2.0
/// \file
/// What the vocabularies of vectors share, on the vector types of GCC and Clang: arithmetic, shifts
/// and bits are operators. A vocabulary includes it with MORPHKV_ISA defined, after its types and
/// its own instructions. Where a set has one instruction for what is a template here, its function
/// is the better match.
#ifdef MORPHKV_ISA
namespace morphkv { inline namespace MORPHKV_ABI {
namespace kernels::inline MORPHKV_BUILD::MORPHKV_ISA {

using HalfBits [[gnu::vector_size(2 * lanes)]] = std::uint16_t;

/// As many 64-bit elements as floats: in two registers.
template <class Vector>
struct Pair {
  Vector low, high;

  MORPHKV_VECTOR_WORD friend Pair operator+(Pair a, Pair b) noexcept {
    return {a.low + b.low, a.high + b.high};
  }
  MORPHKV_VECTOR_WORD friend Pair operator/(Pair a, Pair b) noexcept {
    return {a.low / b.low, a.high / b.high};
  }
};
using U64s = Pair<HalfU64s>;
using F64s = Pair<HalfF64s>;

// --- Memory

MORPHKV_VECTOR_WORD Floats broadcast(float x) noexcept { return x - Floats{}; }
MORPHKV_VECTOR_WORD U32s broadcast(std::uint32_t x) noexcept { return x - U32s{}; }
MORPHKV_VECTOR_WORD U16s broadcast(std::uint16_t x) noexcept { return x - U16s{}; }
MORPHKV_VECTOR_WORD U64s broadcast(std::uint64_t x) noexcept {
  return {x - HalfU64s{}, x - HalfU64s{}};
}
MORPHKV_VECTOR_WORD F64s broadcast(double x) noexcept { return {x - HalfF64s{}, x - HalfF64s{}}; }

/// A vector in memory, at any address.
template <class Vector>
struct [[gnu::packed, gnu::may_alias]] Unaligned {
  Vector a;
};
template <class Vector>
MORPHKV_VECTOR_WORD Vector load_as(const void* p) noexcept {
  return static_cast<const Unaligned<Vector>*>(p)->a;
}
MORPHKV_VECTOR_WORD Floats load(const float* p) noexcept { return load_as<Floats>(p); }
MORPHKV_VECTOR_WORD U32s load(const std::uint32_t* p) noexcept { return load_as<U32s>(p); }
MORPHKV_VECTOR_WORD U16s load(const std::uint16_t* p) noexcept { return load_as<U16s>(p); }
MORPHKV_VECTOR_WORD F16s load_f16(const std::uint16_t* p) noexcept { return load_as<F16s>(p); }
MORPHKV_VECTOR_WORD U64s load(const std::uint64_t* p) noexcept {
  return {load_as<HalfU64s>(p), load_as<HalfU64s>(p + lanes / 2)};
}
template <class T, class Vector>
MORPHKV_VECTOR_WORD void store(T* p, Vector a) noexcept {
  reinterpret_cast<Unaligned<Vector>*>(p)->a = a;
}

template <class Vector>
MORPHKV_VECTOR_WORD void store(std::uint64_t* p, Pair<Vector> a) noexcept {
  store(p, a.low);
  store(p + lanes / 2, a.high);
}

// --- Floats and 32-bit unsigned integers

MORPHKV_VECTOR_WORD U32s as_u32(Floats a) noexcept { return reinterpret_cast<U32s>(a); }
MORPHKV_VECTOR_WORD Floats as_f32(U32s a) noexcept { return reinterpret_cast<Floats>(a); }
/// The number whose exponent are the lowest bits of a pattern, those of its mantissa zero.
MORPHKV_VECTOR_WORD Floats exponent_of(Floats a) noexcept { return as_f32(as_u32(a) << 23); }
/// Keeps the compiler from loading a number anew for every use of it.
template <class Vector>
MORPHKV_VECTOR_WORD Vector in_register(Vector a) noexcept {
  return a;
}
template <class Vector>
MORPHKV_VECTOR_WORD Vector min(Vector a, Vector b) noexcept {
  return a < b ? a : b;
}
template <class Vector>
MORPHKV_VECTOR_WORD Vector max(Vector a, Vector b) noexcept {
  return a > b ? a : b;
}

// --- Parts of vectors

/// The lower half of a vector, or the upper one.
template <bool Upper, class Vector>
MORPHKV_VECTOR_WORD auto half_of(Vector a) noexcept {
  constexpr std::size_t size = sizeof a / sizeof a[0] / 2;
  return [&]<std::size_t... I>(std::index_sequence<I...>) noexcept {
    return __builtin_shufflevector(a, a, (I + Upper * size)...);
  }
  (std::make_index_sequence<size>());
}
/// Two vectors in one of twice the size.
template <class Vector>
MORPHKV_VECTOR_WORD auto concat(Vector low, Vector high) noexcept {
  return [&]<std::size_t... I>(std::index_sequence<I...>) noexcept {
    return __builtin_shufflevector(low, high, I...);
  }
  (std::make_index_sequence<2 * sizeof low / sizeof low[0]>());
}
/// All lanes in one number.
template <class Vector, class Op>
MORPHKV_VECTOR_WORD auto reduce(Vector a, const Op& op) noexcept {
  if constexpr (sizeof a == 2 * sizeof a[0]) {
    return op(a[0], a[1]);
  } else {
    return reduce(op(half_of<false>(a), half_of<true>(a)), op);
  }
}
/// Of sixteen bytes each the first eight of a and b, or the last eight, in turns of `Run` lanes.
template <bool Last, std::size_t Run, class Vector>
MORPHKV_VECTOR_WORD Vector zip(Vector a, Vector b) noexcept {
  constexpr std::size_t size = sizeof a / sizeof a[0];
  constexpr std::size_t part = 16 / sizeof a[0];
  return [&]<std::size_t... I>(std::index_sequence<I...>) noexcept {
    return __builtin_shufflevector(a, b,
                                   (I / part * part + Last * (part / 2) +
                                    I % part / (2 * Run) * Run + I % Run + I / Run % 2 * size)...);
  }
  (std::make_index_sequence<size>());
}
/// Lanes i, i + 4, i + 8 ... in lane i.
template <class Vector, class Op>
MORPHKV_VECTOR_WORD auto halve_to_four(Vector a, const Op& op) noexcept {
  if constexpr (sizeof a == 4 * sizeof a[0]) {
    return a;
  } else {
    return halve_to_four(op(half_of<false>(a), half_of<true>(a)), op);
  }
}
/// All lanes of a, b, c and d, each in one number of a vector.
template <class Vector, class Op>
MORPHKV_VECTOR_WORD auto reduce_four(Vector a, Vector b, Vector c, Vector d,
                                     const Op& op) noexcept {
  const Vector ab = op(zip<false, 1>(a, b), zip<true, 1>(a, b));
  const Vector cd = op(zip<false, 1>(c, d), zip<true, 1>(c, d));
  return halve_to_four(op(zip<false, 2>(ab, cd), zip<true, 2>(ab, cd)), op);
}
template <class Vector>
MORPHKV_VECTOR_WORD auto reduce_add(Vector a) noexcept {
  return reduce(a, [](auto x, auto y) noexcept { return x + y; });
}
template <class Vector>
MORPHKV_VECTOR_WORD auto reduce_min(Vector a) noexcept {
  return reduce(a, [](auto x, auto y) noexcept { return x < y ? x : y; });
}
template <class Vector>
MORPHKV_VECTOR_WORD auto reduce_max(Vector a) noexcept {
  return reduce(a, [](auto x, auto y) noexcept { return x > y ? x : y; });
}

// --- Exponentials

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
  const Floats n = rounded - rounder;
  Floats f = fma(n, broadcast(-0.693145752F), x);
  f = fma(n, broadcast(-1.42860677e-6F), f);
  Floats series = fma(f, broadcast(0x1.0fa7d8p-7F), broadcast(0x1.573ad0p-5F));
  series = fma(series, f, broadcast(0x1.555a6ep-3F));
  series = fma(series, f, broadcast(0x1.fffdc4p-2F));
  series = fma(series, f, broadcast(0x1.fffff6p-1F));
  series = fma(series, f, broadcast(1.0F));
  return series * exponent_of(rounded);
}

/// cap * tanh(x / cap), for cap > 0, within a few units of 2^-24 cap: tanh is (w - u) / (w + u)
/// with w = exp(2 min(x, 0)) and u = exp(-2 max(x, 0)), one of which is 1. NaN if x is.
MORPHKV_VECTOR_WORD Floats capped(Floats x, float cap) noexcept {
  const Floats twice = x * (2 / cap);
  const Floats w = exp_of_negative(min(Floats{}, twice));
  const Floats u = exp_of_negative(-max(Floats{}, twice));
  return (w - u) / (w + u) * cap;
}

// --- Lanes

template <class Vector>
MORPHKV_VECTOR_WORD auto equal(Vector a, Vector b) noexcept {
  return a == b;
}
template <class Some>
MORPHKV_VECTOR_WORD Some bit_or(Some a, Some b) noexcept {
  return static_cast<Some>(a | b);
}
template <class Some>
MORPHKV_VECTOR_WORD bool any(Some some) noexcept {
  return bits(some) != 0;
}
template <class Some>
MORPHKV_VECTOR_WORD std::size_t popcount(Some some) noexcept {
  return static_cast<std::size_t>(std::popcount(bits(some)));
}
template <class Some, class Vector>
MORPHKV_VECTOR_WORD Vector masked_min(Some at, Vector a, Vector b) noexcept {
  return select(at, min(a, b), a);
}

// --- 16-bit patterns, as many as floats

MORPHKV_VECTOR_WORD Floats load(const Eigen::half* p) noexcept { return to_f32(load_as<F16s>(p)); }
MORPHKV_VECTOR_WORD Floats load(const Eigen::bfloat16* p) noexcept {
  return as_f32(widen(load_as<F16s>(p)) << 16);
}
/// The patterns of bfloat16, rounded to nearest, ties to even. Unlike the conversion of CPUs it
/// keeps denormals.
MORPHKV_VECTOR_WORD F16s to_bf16(Floats a) noexcept {
  const U32s pattern = as_u32(a);
  const U32s rounded = pattern + 0x7fffU + ((pattern >> 16) & 1U);
  return high_halves(a != a ? pattern | 0x00400000U : rounded);
}
MORPHKV_VECTOR_WORD void store(Eigen::half* p, Floats a) noexcept { store(p, to_f16(a)); }
MORPHKV_VECTOR_WORD void store(Eigen::bfloat16* p, Floats a) noexcept { store(p, to_bf16(a)); }

// --- E4M3

/// The patterns of binary16 numbers that are 2^-8 as great as those of sign-extended bytes: the
/// exponent of both lies before the mantissa, so a magnitude moves by seven bits, denormals
/// included. NaN alone carries into the next bit when 1 is added, and becomes NaN by that bit.
template <class Words>
MORPHKV_VECTOR_WORD Words e4m3_to_f16(Words bytes) noexcept {
  const Words word = bytes << 7;  // the sign in two bits
  return word ^ ((word + 0x80) & 0x4000);
}
MORPHKV_VECTOR_WORD Floats load(const E4M3* p) noexcept {
  const auto bytes = reinterpret_cast<HalfBits>(load_signed_bytes(p));
  return to_f32(reinterpret_cast<F16s>(e4m3_to_f16(bytes)));
}
/// What loaded numbers are to be multiplied by: products of many take it once.
template <class T>
inline constexpr float load_factor = std::same_as<T, E4M3> ? 0x1p8F : 1;

/// Vectors that load_all loads best at once.
template <class T>
inline constexpr std::size_t load_vectors = std::same_as<T, E4M3> ? 2 : 1;
/// `Count` vectors in a row.
template <std::size_t Count, class T>
MORPHKV_VECTOR_WORD void load_all(const T* p, Floats (&out)[Count]) noexcept {
  MORPHKV_UNROLL for (std::size_t i = 0; i < Count; ++i) out[i] = load(p + i * lanes);
}
template <std::size_t Count>
MORPHKV_VECTOR_WORD void load_all(const E4M3* p, Floats (&out)[Count]) noexcept {
  MORPHKV_UNROLL for (std::size_t i = 0; i + 2 <= Count; i += 2) {
    const U16s halves = e4m3_to_f16(load_more_signed_bytes(p + i * lanes));
    out[i] = to_f32(reinterpret_cast<F16s>(half_of<false>(halves)));
    out[i + 1] = to_f32(reinterpret_cast<F16s>(half_of<true>(halves)));
  }
  if constexpr (Count % 2 == 1) out[Count - 1] = load(p + (Count - 1) * lanes);
}
/// As the constructor of E4M3 rounds.
MORPHKV_VECTOR_WORD void store(E4M3* p, Floats a) noexcept {
  using Bytes [[gnu::vector_size(lanes)]] = std::uint8_t;
  const U32s magnitude = as_u32(a) & 0x7fffffffU;
  const U32s size = min(magnitude, broadcast(std::bit_cast<std::uint32_t>(E4M3::greatest)));
  const U32s normal = ((size + 0x7ffffU + ((size >> 20) & 1U)) >> 20) - (120U << 3U);
  const U32s denormal = as_u32(as_f32(size) + 0x1p14F) & 0xfU;
  const U32s number = size < std::bit_cast<std::uint32_t>(E4M3::least_normal) ? denormal : normal;
  const U32s code = a != a ? broadcast(0x7fU) : number;
  store(&p->bits, __builtin_convertvector(code | ((as_u32(a) >> 24) & 0x80U), Bytes));
}

// --- Binary16

/// Finite non-negative numbers in units of 2^-24: exact.
MORPHKV_VECTOR_WORD U32s half_units(F16s a) noexcept {
  return reinterpret_cast<U32s>(__builtin_convertvector(to_f32(a) * 0x1p24F, I32s));
}
/// Weights rounded to binary16, twice as many.
MORPHKV_VECTOR_WORD U16s load_rounded(const float* p) noexcept {
  const F16s low = to_f16(load(p));
  const F16s high = to_f16(load(p + lanes));
  return reinterpret_cast<U16s>(concat(low, high));
}

// --- The first `count` elements, and zeros

template <class T>
MORPHKV_VECTOR_WORD Floats load_first(const T* p, std::size_t count) noexcept {
  alignas(sizeof(Floats)) std::uint8_t elements[lanes * sizeof(T)] = {};
  std::memcpy(elements, p, count * sizeof(T));
  return load(reinterpret_cast<const T*>(elements));
}
template <class Vector>
MORPHKV_VECTOR_WORD void store_first(float* p, Vector a, std::size_t count) noexcept {
  std::memcpy(p, &a, count * sizeof(float));
}

// --- 64-bit unsigned integers and doubles

template <class Vector>
MORPHKV_VECTOR_WORD Lanes equal(Pair<Vector> a, Pair<Vector> b) noexcept {
  return join(equal(a.low, b.low), equal(a.high, b.high));
}
template <class Vector>
MORPHKV_VECTOR_WORD Pair<Vector> min(Pair<Vector> a, Pair<Vector> b) noexcept {
  return {min(a.low, b.low), min(a.high, b.high)};
}
template <class Vector>
MORPHKV_VECTOR_WORD Pair<Vector> masked_min(Lanes at, Pair<Vector> a, Pair<Vector> b) noexcept {
  return {masked_min(low_half(at), a.low, b.low), masked_min(high_half(at), a.high, b.high)};
}
template <class Vector>
MORPHKV_VECTOR_WORD auto reduce_min(Pair<Vector> a) noexcept {
  return reduce_min(min(a.low, a.high));
}
/// Weights in units of 2^-40, rounded half up.
MORPHKV_VECTOR_WORD U64s fine_units(Floats a) noexcept {
  return {to_u64(low_f64(a) * 0x1p40 + 0.5), to_u64(high_f64(a) * 0x1p40 + 0.5)};
}
/// The nearest doubles.
MORPHKV_VECTOR_WORD F64s to_f64(U64s a) noexcept { return {to_f64(a.low), to_f64(a.high)}; }
MORPHKV_VECTOR_WORD F64s to_f64(U32s a) noexcept {
  return {to_f64(low_u64(a)), to_f64(high_u64(a))};
}

}}}     // namespace morphkv::v0::kernels::MORPHKV_BUILD::MORPHKV_ISA
#endif  // MORPHKV_ISA
