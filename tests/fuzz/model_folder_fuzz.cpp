// SPDX-License-Identifier: Apache-2.0
// A Hugging Face folder of config.json, an index and one shard: loaded, or refused by name.
#include <cstdint>

#include "fuzz/fuzz_input.hpp"
#include "llama/load.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace morphkv;
  static const testing::TemporaryFolder folder;
  testing::FuzzBytes bytes(data, size);
  (void)folder.write("config.json", bytes.text());
  (void)folder.write("tokenizer_config.json", bytes.text());
  const auto index = folder.file("model.safetensors.index.json");
  std::filesystem::remove(index);
  if (bytes.byte() % 2 == 1) (void)folder.write(index.filename(), bytes.text());
  (void)folder.write("model.safetensors", testing::safetensors_bytes(bytes));
  testing::reads_or_refuses(folder.path(), [&] {
    const llama::ModelFiles files(folder.path());
    (void)files.chat_template();
    const llama::Model model = files.load();
    testing::fuzz_check(model.layers.size() == model.config.layers, "layers are missing");
    (void)files.load_tokenizer(model.config);
  });
  return 0;
}
