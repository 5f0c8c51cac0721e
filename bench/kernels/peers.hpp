// SPDX-License-Identifier: Apache-2.0
//
// Attention by the matrix products of other libraries: what a program would do that has one of them
// and not this. On floats, which they all have; one thread.
#ifndef MORPHKV_BENCH_KERNELS_PEERS_HPP
#define MORPHKV_BENCH_KERNELS_PEERS_HPP

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace morphkv::bench {

/// Some query heads' rows over the keys and values of one KV head, all in one piece.
struct PeerProblem {
  const float* queries = nullptr;  ///< [rows][head_dim]
  const float* keys = nullptr;     ///< [tokens][head_dim]
  const float* values = nullptr;   ///< [tokens][head_dim]
  std::size_t rows = 0;
  std::size_t tokens = 0;
  std::size_t head_dim = 0;
  float* weights = nullptr;  ///< [rows][tokens], working space
  float* outputs = nullptr;  ///< [rows][head_dim]
};

/// A library and its way.
struct Peer {
  std::string name;  ///< with its version
  /// outputs = softmax(queries . keys / sqrt(head_dim)) . values
  std::function<void(const PeerProblem&)> attend;
};

/// Those that the benchmark was built with; a line to the standard output for each of the others.
std::vector<Peer> peers();

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_KERNELS_PEERS_HPP
