// SPDX-License-Identifier: Apache-2.0
// A trace for replay is finite and of one shape, or refused.
#include "replay/trace.hpp"

#include <cstdint>

#include "fuzz/fuzz_input.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace morphkv;
  static const testing::TemporaryFolder folder;
  testing::FuzzBytes bytes(data, size);
  const auto path = folder.write("trace.safetensors", testing::safetensors_bytes(bytes));
  testing::reads_or_refuses(folder.path(), [&] {
    const replay::Trace trace = replay::read_trace(path);
    testing::fuzz_check(trace.keys.size() == trace.values.size(), "keys and values differ in size");
    testing::fuzz_check(trace.prompt_length <= trace.tokens, "the prompt is longer than the trace");
  });
  return 0;
}
