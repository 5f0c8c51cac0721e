// SPDX-License-Identifier: Apache-2.0
//
// What a kernel cannot exceed on this machine. Compiled in limits.cpp, which alone reads the
// vectors of the kernels.
#ifndef MORPHKV_BENCH_KERNELS_LIMITS_HPP
#define MORPHKV_BENCH_KERNELS_LIMITS_HPP

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/machine.hpp"

namespace morphkv::bench {

/// Reads all of the memory once, as fast as this machine can: some like to be told what comes, and
/// some have prefetchers that do better alone.
std::uint64_t read_all(const void* data, std::size_t bytes);

/// Reads pieces of memory, multiples of 64 bytes, in the order of a list. Does nothing where there
/// are no vectors.
std::uint64_t read_pieces(const std::vector<const char*>& pieces, std::size_t bytes);

/// Bytes a second that one thread reads from a working set of this size.
double read_bandwidth(const HugeBuffer<char>& memory, std::size_t bytes);

/// Floating point operations a second of one thread on floats, or on what the kernels compute with
/// where they are given bfloat16; 0 where nobody has measured it.
double peak_flops(bool brains);

}  // namespace morphkv::bench

#endif  // MORPHKV_BENCH_KERNELS_LIMITS_HPP
