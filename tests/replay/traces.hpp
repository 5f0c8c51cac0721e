// SPDX-License-Identifier: Apache-2.0
/// \file
/// Random traces, and files for them.
#ifndef MORPHKV_TESTS_REPLAY_TRACES_HPP
#define MORPHKV_TESTS_REPLAY_TRACES_HPP

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

#include "replay/trace.hpp"
#include "support/random.hpp"
#include "support/safetensors.hpp"

namespace morphkv::testing {

/// Queries are scaled up, so that attention is uneven and ties are rare.
inline replay::Trace random_trace(std::size_t tokens, std::size_t prompt, std::size_t group,
                                  std::uint64_t seed = 1) {
  constexpr std::size_t kv_heads = 2;
  constexpr std::size_t head_dim = 8;
  Random random(seed);
  replay::Trace trace;
  trace.shape = {
      .layers = 1, .query_heads = kv_heads * group, .kv_heads = kv_heads, .head_dim = head_dim};
  trace.tokens = tokens;
  trace.prompt_length = prompt;
  trace.queries = random.normals(tokens * kv_heads * group * head_dim, 2.0F);
  trace.keys = random.normals(tokens * kv_heads * head_dim);
  trace.values = random.normals(tokens * kv_heads * head_dim);
  return trace;
}

/// As a file holds it.
inline support::Tensors tensors_of(const replay::Trace& trace) {
  const std::vector<std::size_t> kv_shape = {trace.tokens, trace.shape.kv_heads,
                                             trace.shape.head_dim};
  return {{"q", {{trace.tokens, trace.shape.query_heads, trace.shape.head_dim}, trace.queries}},
          {"k", {kv_shape, trace.keys}},
          {"v", {kv_shape, trace.values}}};
}

/// A folder of its own for each test, gone with it.
class TraceFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(::testing::TempDir()) /
              (std::string("morphkv_") + test->test_suite_name() + "_" + test->name());
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  [[nodiscard]] std::filesystem::path path(const std::string& name) const { return folder_ / name; }
  [[nodiscard]] std::filesystem::path write(const support::Tensors& tensors,
                                            const support::Metadata& metadata) const {
    support::write_safetensors(path("trace"), tensors, metadata);
    return path("trace");
  }
  [[nodiscard]] std::filesystem::path write(const replay::Trace& trace) const {
    return write(tensors_of(trace), {{"prompt_length", std::to_string(trace.prompt_length)}});
  }
  [[nodiscard]] std::filesystem::path write_bytes(const std::string& bytes) const {
    std::ofstream(path("trace"), std::ios::binary) << bytes;
    return path("trace");
  }
  [[nodiscard]] static std::string read_bytes(const std::filesystem::path& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

 private:
  std::filesystem::path folder_;
};

/// What a call complains of; empty if it does not.
inline std::string complaint(const auto& call) {
  try {
    call();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

/// Every one of these has to be in the text.
inline void expect_words(const std::string& text, const std::vector<std::string>& words) {
  for (const std::string& word : words) {
    EXPECT_NE(text.find(word), std::string::npos) << "'" << word << "' is not in: " << text;
  }
}

}  // namespace morphkv::testing

#endif  // MORPHKV_TESTS_REPLAY_TRACES_HPP
