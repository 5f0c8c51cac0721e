// SPDX-License-Identifier: Apache-2.0
// A fuzzer's calls with random bytes, optimised and without sanitizers, for as long as one likes:
//
//   soak_<fuzzer> [operations] [seed]
//
// An operation is one call of what is tested, compared with its models. The first difference ends
// the program, with the seed that repeats it.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <random>
#include <vector>

#include "fuzz/fuzz_input.hpp"

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv);
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int main(int argc, char** argv) {
  using morphkv::testing::operations;
  LLVMFuzzerInitialize(&argc, &argv);
  const std::uint64_t wanted = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 1'000'000;
  const std::uint64_t first = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  std::uint64_t seed = first;
  for (std::uint64_t part = 1; operations < wanted; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<std::uint8_t> bytes(64 + random() % 448);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
    try {
      LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    } catch (const std::exception& error) {
      std::printf("%s: seed %llu: %s\n", argv[0], static_cast<unsigned long long>(seed),
                  error.what());
      return 1;
    }
    if (operations * 10 >= part * wanted) {
      part = operations * 10 / wanted + 1;
      std::printf("%s: %llu operations, seeds %llu to %llu\n", argv[0],
                  static_cast<unsigned long long>(operations),
                  static_cast<unsigned long long>(first), static_cast<unsigned long long>(seed));
      std::fflush(stdout);
    }
  }
  return 0;
}
