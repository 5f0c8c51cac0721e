// SPDX-License-Identifier: Apache-2.0
// The products of multiply.hpp for one instruction set. It is included inside a namespace that has
// Vector, lanes, tile_rows, tile_tokens, zero, load, load_weights, multiply_add and sum.

/// out[t][r] = x[t] . w[r]. Each product is summed in the same order for every tile size.
template <TensorType type, std::size_t Rows, std::size_t Tokens>
void multiply_tile(const float* x, const std::byte* w, std::size_t columns, float* out,
                   std::size_t out_stride) {
  constexpr std::size_t bytes = support::element_bytes(type);
  Vector sums[Rows][Tokens];
  MORPHKV_UNROLL
  for (std::size_t r = 0; r < Rows; ++r) {
    MORPHKV_UNROLL
    for (std::size_t t = 0; t < Tokens; ++t) sums[r][t] = zero();
  }
  std::size_t k = 0;
  for (; k + lanes <= columns; k += lanes) {
    Vector weights[Rows];
    MORPHKV_UNROLL
    for (std::size_t r = 0; r < Rows; ++r) {
      weights[r] = load_weights<type>(w + (r * columns + k) * bytes);
    }
    if constexpr (Tokens == 1) {
      // The weights of one token come from memory. Rows are streams too short for the hardware to
      // foresee, so the next tile is fetched in the order of its addresses.
      const std::byte* next = w + Rows * (columns + k) * bytes;
      MORPHKV_UNROLL
      for (std::size_t line = 0; line < Rows * lanes * bytes; line += 64) {
        __builtin_prefetch(next + line);
      }
    }
    MORPHKV_UNROLL
    for (std::size_t t = 0; t < Tokens; ++t) {
      const Vector inputs = load(x + t * columns + k);
      MORPHKV_UNROLL
      for (std::size_t r = 0; r < Rows; ++r) {
        sums[r][t] = multiply_add(weights[r], inputs, sums[r][t]);
      }
    }
  }
  MORPHKV_UNROLL
  for (std::size_t r = 0; r < Rows; ++r) {
    MORPHKV_UNROLL
    for (std::size_t t = 0; t < Tokens; ++t) {
      float total = sum(sums[r][t]);
      for (std::size_t i = k; i < columns; ++i) {
        float weight = 0;
        support::to_float(type, w + (r * columns + i) * bytes, 1, &weight);
        total += weight * x[t * columns + i];
      }
      out[t * out_stride + r] = total;
    }
  }
}

template <TensorType type, std::size_t Rows>
void multiply_rows_of(const float* x, std::size_t tokens, const std::byte* w, std::size_t columns,
                      float* out, std::size_t out_stride) {
  std::size_t t = 0;
  for (; t + tile_tokens <= tokens; t += tile_tokens) {
    multiply_tile<type, Rows, tile_tokens>(x + t * columns, w, columns, out + t * out_stride,
                                           out_stride);
  }
  for (; t < tokens; ++t) {
    multiply_tile<type, Rows, 1>(x + t * columns, w, columns, out + t * out_stride, out_stride);
  }
}

template <TensorType type, std::size_t Rows>
void multiply_tiles(const float* x, std::size_t tokens, const std::byte* w, std::size_t rows,
                    std::size_t columns, float* out, std::size_t out_stride) {
  constexpr std::size_t bytes = support::element_bytes(type);
  std::size_t r = 0;
  for (; r + Rows <= rows; r += Rows) {
    multiply_rows_of<type, Rows>(x, tokens, w + r * columns * bytes, columns, out + r, out_stride);
  }
  for (; r < rows; ++r) {
    multiply_rows_of<type, 1>(x, tokens, w + r * columns * bytes, columns, out + r, out_stride);
  }
}

/// out[t][r] for r < rows; x [tokens][columns], w [rows][columns].
template <TensorType type>
void multiply_rows(const float* x, std::size_t tokens, const std::byte* w, std::size_t rows,
                   std::size_t columns, float* out, std::size_t out_stride) {
  // With one token nothing is reused, and fewer rows at a time read memory faster.
  if (tokens == 1) return multiply_tiles<type, 2>(x, 1, w, rows, columns, out, out_stride);
  multiply_tiles<type, tile_rows>(x, tokens, w, rows, columns, out, out_stride);
}
