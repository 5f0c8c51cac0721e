// SPDX-License-Identifier: Apache-2.0
// States as files: what is read is what was written, and a file that was cut off or changed is
// refused.
#include "llama_cpp/state_file.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <functional>
#include <span>
#include <string>

#include "tools/temporary_folder.hpp"

namespace morphkv::testing::state_file_test { namespace {

using llama_cpp::StateFile;

StateFile some_state() {
  return {.llama_cpp = "1.2 abc",
          .model = "model.gguf",
          .model_bytes = 12345678901ULL,
          .scope = "layer",
          .cache_type = "bf16",
          .flash_attention = true,
          .policy = {"morphkv", {{"capacity", "4"}, {"window", "2"}}},
          .unread = {7},
          .cells = {.next = 9, .positions = {8, 0, 5}, .slots = {{2, -1, 0, 1}, {0, 1, 2, -1}}},
          .policies = {std::byte{1}, std::byte{2}},
          .memory = {3, 4, 5}};
}

class LlamaCppState : public ::testing::Test {
 protected:
  /// What reading the file complains about; empty if nothing.
  [[nodiscard]] std::string complaint() const {
    try {
      (void)StateFile::read(path_);
      return "";
    } catch (const std::runtime_error& error) {
      return error.what();
    }
  }
  void write_bytes(const std::string& bytes) const {
    std::ofstream(path_, std::ios::binary) << bytes;
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_.file("state");
};

TEST_F(LlamaCppState, IsReadAsItWasWritten) {
  const StateFile written = some_state();
  written.write(path_);
  const StateFile read = StateFile::read(path_);
  EXPECT_EQ(read.llama_cpp, written.llama_cpp);
  EXPECT_EQ(read.model, written.model);
  EXPECT_EQ(read.model_bytes, written.model_bytes);
  EXPECT_EQ(read.scope, written.scope);
  EXPECT_EQ(read.cache_type, written.cache_type);
  EXPECT_EQ(read.flash_attention, written.flash_attention);
  EXPECT_EQ(read.policy.policy, written.policy.policy);
  EXPECT_EQ(read.policy.options, written.policy.options);
  EXPECT_EQ(read.unread, written.unread);
  EXPECT_EQ(read.cells.next, written.cells.next);
  EXPECT_EQ(read.cells.positions, written.cells.positions);
  EXPECT_EQ(read.cells.slots, written.cells.slots);
  EXPECT_EQ(read.policies, written.policies);
  EXPECT_EQ(read.memory, written.memory);
}

TEST_F(LlamaCppState, AFileThatWasCutOffIsRefused) {
  some_state().write(path_);
  const std::string whole = bytes_of(path_);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    write_bytes(whole.substr(0, size));
    EXPECT_NE(complaint().find("state"), std::string::npos) << size;
  }
  write_bytes(whole + "x");
  EXPECT_NE(complaint().find("checksum = "), std::string::npos) << complaint();
}

TEST_F(LlamaCppState, AFileThatWasChangedIsRefused) {
  some_state().write(path_);
  const std::string whole = bytes_of(path_);
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    write_bytes(changed);
    EXPECT_NE(complaint(), "") << at;
  }
  std::string newer = whole;
  newer[8] = 3;
  write_bytes(newer);
  EXPECT_NE(complaint().find("version = 3: must be 2"), std::string::npos) << complaint();
}

TEST_F(LlamaCppState, ContentThatCannotBeIsRefused) {
  const auto expect = [&](const std::function<void(StateFile&)>& change, const std::string& part) {
    StateFile state = some_state();
    change(state);
    state.write(path_);
    EXPECT_NE(complaint().find(part), std::string::npos) << part << ": " << complaint();
  };
  expect([](StateFile& s) { s.scope = "heads"; }, "scope = heads: must be one of");
  expect([](StateFile& s) { s.cache_type = "q8_0"; }, "cache_type = q8_0: must be one of");
  expect([](StateFile& s) { s.cells.positions[1] = 5; }, "positions: must be different");
  expect([](StateFile& s) { s.cells.positions[1] = 9; }, "below next = 9");
  expect([](StateFile& s) { s.cells.slots[1][0] = 3; },
         "slots: must name each of the 3 cells once");
  expect([](StateFile& s) { s.cells.slots[1][0] = -1; }, "slots: must name");
  expect([](StateFile& s) { s.cells.slots[0][1] = 2; }, "slots: must name");
}

}  // namespace
}  // namespace morphkv::testing::state_file_test
