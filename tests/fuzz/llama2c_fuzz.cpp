// SPDX-License-Identifier: Apache-2.0
// A checkpoint of llama2.c and its tokenizer: loaded, or refused by name; and texts in its tokens.
#include <cstdint>
#include <string>

#include "fuzz/fuzz_input.hpp"
#include "llama/load.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace morphkv;
  static const testing::TemporaryFolder folder;
  testing::FuzzBytes bytes(data, size);
  const std::size_t vocabulary = 1 + bytes.below(512);
  const std::size_t split = bytes.below(4096);
  const std::string_view rest = bytes.rest();
  const auto model = folder.write("model.bin", std::string(rest.substr(0, split)));
  const auto words =
      folder.write("tokenizer.bin", std::string(rest.substr((std::min)(split, rest.size()))));
  testing::reads_or_refuses(folder.path(), [&] { (void)llama::ModelFiles(model).load(); });
  testing::reads_or_refuses(folder.path(), [&] {
    const llama::BytePairTokenizer tokenizer(words, vocabulary);
    const std::vector<int> tokens = tokenizer.encode(std::string(rest.substr(0, 64)));
    for (const int token : tokens) {
      testing::fuzz_check(token >= 0 && static_cast<std::size_t>(token) < vocabulary,
                          "a token is not in the vocabulary");
    }
    (void)tokenizer.decode(tokens);
  });
  return 0;
}
