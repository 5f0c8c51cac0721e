// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "support/safetensors.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::safetensors_test { namespace {

using support::SafetensorsFile;
using support::TensorType;

/// A file with this header, and `data` bytes after it.
std::string file_with(const std::string& header, std::size_t data) {
  const std::uint64_t length = header.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof(length));
  return bytes + header + std::string(data, '\0');
}

std::string complaint_about(const std::string& bytes) {
  const TemporaryFolder folder;
  const auto path = folder.write("t.safetensors", bytes);
  return complaint([&] {
    SafetensorsFile file(path);
    for (const auto& [name, entry] : file.entries()) (void)file.read(name);
  });
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(Safetensors, WhatIsWrittenIsRead) {
  const TemporaryFolder folder;
  const auto path = folder.file("t.safetensors");
  const support::Tensors tensors = {
      {"a", {{2, 3}, {1, -2, 0.5F, 4, 0, 1e-3F}}}, {"none", {{0, 4}, {}}}, {"one", {{}, {7}}}};
  support::write_safetensors(path, tensors, {{"prompt_length", "12"}});
  SafetensorsFile file(path);
  EXPECT_EQ(file.metadata(), (support::Metadata{{"prompt_length", "12"}}));
  ASSERT_EQ(file.entries().size(), 3U);
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(file.read(name).shape, tensor.shape);
    EXPECT_EQ(file.read(name).data, tensor.data);
  }
}

TEST(Safetensors, SixteenBitsAreReadAsFloats) {
  const std::vector<float> numbers = {1, -2.5F, 0.15625F, 65504, -0.0F};
  for (const TensorType type : {TensorType::f16, TensorType::bf16}) {
    const TemporaryFolder folder;
    support::write_safetensors(folder.file("t"), {{"x", {{5}, numbers}}}, {}, type);
    const std::vector<float> read = SafetensorsFile(folder.file("t")).read("x").data;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      EXPECT_NEAR(read[i], numbers[i], std::abs(numbers[i]) / 256);
    }
  }
}

TEST(Safetensors, NoTensorsIsAFileToo) {
  const TemporaryFolder folder;
  support::write_safetensors(folder.file("t"), {});
  EXPECT_TRUE(SafetensorsFile(folder.file("t")).entries().empty());
}

TEST(Safetensors, MissingFilesAndTensorsAreNamed) {
  const TemporaryFolder folder;
  EXPECT_TRUE(contains(complaint([&] { SafetensorsFile{folder.file("gone")}; }), "gone: there is"));
  support::write_safetensors(folder.file("t"), {});
  SafetensorsFile file(folder.file("t"));
  EXPECT_TRUE(contains(complaint([&] { (void)file.read("q"); }), "there is no tensor q"));
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const TemporaryFolder folder;
  support::write_safetensors(folder.file("t"), {{"x", {{3}, {1, 2, 3}}}});
  const std::string bytes = bytes_of(folder.file("t"));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(complaint_about(bytes.substr(0, size)).empty()) << size;
  }
}

TEST(Safetensors, HostileHeadersAreRefused) {
  const std::string entry = R"({"x":{"dtype":"F32","shape":[2],"data_offsets":)";
  const std::vector<std::string> headers = {
      "",
      "[]",
      "{",
      "nonsense",
      R"({"x":3})",
      R"({"x":{}})",
      R"({"__metadata__":{"a":1}})",
      R"({"__metadata__":[]})",
      entry + "[0,9]}}",
      entry + "[4,0]}}",
      entry + "[0]}}",
      entry + "[0,4,8]}}",
      entry + "[-8,0]}}",
      entry + "\"0,8\"}}",
      entry + "[0,18446744073709551615]}}",
      entry + "[0,4]}}",
      entry + "[8,8.5]}}",
      R"({"x":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})",
      R"({"x":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}})",
      R"({"x":{"dtype":"F32","shape":[9223372036854775807,9223372036854775807],"data_offsets":[0,8]}})",
      R"({"x":{"dtype":3,"shape":[2],"data_offsets":[0,8]}})",
      R"({"x":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})"};
  for (const std::string& header : headers) {
    const std::string message = complaint_about(file_with(header, 8));
    EXPECT_TRUE(contains(message, "t.safetensors: ")) << header << "\n" << message;
  }
  EXPECT_EQ(complaint_about(file_with(entry + "[0,8]}}", 8)), "");
}

TEST(Safetensors, TensorsCoverTheDataOnce) {
  const auto two = [](const std::string& a, const std::string& b, std::size_t bytes) {
    return complaint_about(file_with(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":)" + a +
                                         R"(},"b":{"dtype":"F32","shape":[1],"data_offsets":)" + b +
                                         "}}",
                                     bytes));
  };
  EXPECT_EQ(two("[0,8]", "[8,12]", 12), "");
  EXPECT_EQ(two("[4,12]", "[0,4]", 12), "");
  EXPECT_TRUE(contains(two("[0,8]", "[4,8]", 8), "b.data_offsets begin = 4: must be 8"));
  EXPECT_TRUE(contains(two("[0,8]", "[12,16]", 16), "b.data_offsets begin = 12: must be 8"));
  EXPECT_TRUE(contains(two("[4,12]", "[12,16]", 16), "a.data_offsets begin = 4: must be 0"));
  EXPECT_TRUE(contains(two("[0,8]", "[8,12]", 13), "bytes after the last tensor = 1: must be 0"));
}

TEST(Safetensors, AViewOutlivesItsFile) {
  const TemporaryFolder folder;
  support::write_safetensors(folder.file("t"), {{"x", {{2}, {1, -2.5F}}}}, {}, TensorType::bf16);
  std::shared_ptr<const std::byte> bytes;
  {
    SafetensorsFile file(folder.file("t"));
    bytes = file.view("x");
  }
  std::vector<float> numbers(2);
  support::to_float(TensorType::bf16, bytes.get(), 2, numbers.data());
  EXPECT_EQ(numbers, (std::vector<float>{1, -2.5F}));
}

TEST(Safetensors, ComplaintsAboutATypeNameTheTensor) {
  const auto complaint_about_type = [](const std::string& dtype) {
    return complaint_about(
        file_with("{\"layers.3.weight\":{" + dtype + R"("shape":[2],"data_offsets":[0,8]}})", 8));
  };
  EXPECT_TRUE(contains(complaint_about_type(""), ": layers.3.weight.dtype is missing"));
  EXPECT_TRUE(contains(complaint_about_type(R"("dtype":3,)"), ": layers.3.weight.dtype = 3: must"));
  EXPECT_TRUE(contains(complaint_about_type(R"("dtype":null,)"), "weight.dtype = null: must"));
  EXPECT_TRUE(contains(complaint_about_type(R"("dtype":"I64",)"), "weight.dtype = I64: must"));
}

TEST(Safetensors, ADeeplyNestedHeaderIsRefused) {
  EXPECT_TRUE(contains(complaint_about(file_with(std::string(100000, '['), 0)), "nesting"));
}

TEST(Safetensors, AHugeHeaderLengthTakesNoMemory) {
  std::string bytes = file_with("{}", 0);
  bytes.replace(0, 8, std::string(8, '\xFF'));
  EXPECT_TRUE(contains(complaint_about(bytes), "header length = 18446744073709551615"));
}

}  // namespace
}  // namespace morphkv::testing::safetensors_test
