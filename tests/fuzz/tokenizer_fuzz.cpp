// SPDX-License-Identifier: Apache-2.0
// tokenizer.json and a text: read, encoded and decoded, or refused by name.
#include <cstdint>
#include <stdexcept>
#include <string>

#include "fuzz/fuzz_input.hpp"
#include "llama/chat.hpp"
#include "llama/hub_tokenizer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace morphkv;
  static const testing::TemporaryFolder folder;
  testing::FuzzBytes bytes(data, size);
  const std::size_t vocabulary = 1 + bytes.below(512);
  const auto path = folder.write("tokenizer.json", bytes.text());
  const std::string text(bytes.rest());
  testing::reads_or_refuses(folder.path(), [&] {
    const llama::HubTokenizer tokenizer(path, vocabulary);
    try {
      const std::vector<int> tokens = tokenizer.encode(text);
      for (const int token : tokens) {
        testing::fuzz_check(token >= 0 && static_cast<std::size_t>(token) < vocabulary,
                            "a token is not in the vocabulary");
      }
      (void)tokenizer.decode(tokens);
    } catch (const std::invalid_argument&) {  // the text is not UTF-8
    }
  });
  try {
    (void)llama::Chat(text).render("question");
  } catch (const std::invalid_argument&) {  // no template that is known
  }
  return 0;
}
