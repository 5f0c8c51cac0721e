// SPDX-License-Identifier: Apache-2.0
// A safetensors file is read whole and written again with the same content, or refused.
#include "support/safetensors.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>

#include "fuzz/fuzz_input.hpp"

namespace {

using namespace morphkv;

support::Tensors read_all(support::SafetensorsFile& file) {
  support::Tensors tensors;
  for (const auto& [name, entry] : file.entries()) {
    if (entry.type) tensors.emplace(name, file.read(name));
  }
  return tensors;
}

bool same(const support::Tensors& a, const support::Tensors& b) {
  if (a.size() != b.size()) return false;
  for (const auto& [name, tensor] : a) {
    const auto found = b.find(name);
    if (found == b.end() || found->second.shape != tensor.shape) return false;
    const auto& data = found->second.data;
    if (data.size() != tensor.data.size()) return false;
    if (!data.empty() &&
        std::memcmp(data.data(), tensor.data.data(), data.size() * sizeof(float)) != 0) {
      return false;
    }
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const testing::TemporaryFolder folder;
  testing::FuzzBytes bytes(data, size);
  const auto path = folder.write("file.safetensors", testing::safetensors_bytes(bytes));
  testing::reads_or_refuses(folder.path(), [&] {
    support::SafetensorsFile file(path);
    const support::Tensors tensors = read_all(file);
    const auto copy = folder.file("copy.safetensors");
    support::write_safetensors(copy, tensors, file.metadata());
    support::SafetensorsFile again(copy);
    testing::fuzz_check(same(read_all(again), tensors), "the copy has other tensors");
    testing::fuzz_check(again.metadata() == file.metadata(), "the copy has other metadata");
  });
  return 0;
}
