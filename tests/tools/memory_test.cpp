// SPDX-License-Identifier: Apache-2.0
// The arithmetic of docs/memory.md and of the demo's calculator is the library's own.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "demo/page_memory.hpp"
#include "memory/expected_memory.hpp"
#include "memory/tables.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::test::memory_test { namespace {

using nlohmann::ordered_json;

const std::vector<CacheShape> odd_shapes = {
    {.layers = 1, .query_heads = 1, .kv_heads = 1, .head_dim = 1},
    {.layers = 3, .query_heads = 6, .kv_heads = 3, .head_dim = 7},
    {.layers = 2, .query_heads = 8, .kv_heads = 1, .head_dim = 80},
    {.layers = 5, .query_heads = 4, .kv_heads = 4, .head_dim = 64}};

template <class T, class Policy>
void expect_weighs_what_it_is(const typename Policy::Options& options) {
  for (const CacheShape& shape : odd_shapes) {
    EXPECT_EQ((memory::expected_memory<T, Policy>(shape, options)),
              (KVCache<T, Policy>(shape, options).memory()));
  }
}

TEST(ExpectedMemory, IsWhatACacheWeighs) {
  for (const std::size_t capacity : {37U, 64U, 200U}) {
    expect_weighs_what_it_is<float, MorphKV>({.capacity = capacity, .window = 8, .history = 3});
    expect_weighs_what_it_is<Eigen::half, MorphKV>(
        {.capacity = capacity, .window = 8, .fusion = Fusion::max, .panes = 2});
    expect_weighs_what_it_is<Eigen::bfloat16, Full>({.max_tokens = capacity});
    expect_weighs_what_it_is<Eigen::bfloat16, H2O>({.heavy = capacity, .recent = 5});
    expect_weighs_what_it_is<Eigen::bfloat16, SnapKV>({.capacity = capacity, .max_tokens = 300});
  }
}

TEST(MemoryPage, HasTheTablesOfTheProgram) {
  const std::string page = bytes_of(MORPHKV_SOURCE_DIR "/docs/memory.md");
  for (const std::string& table :
       {memory::full_cache_table(), memory::constant_cache_table(), memory::kinds_table()}) {
    EXPECT_NE(page.find("\n" + table), std::string::npos)
        << "docs/memory.md is out of date; the program memory prints:\n"
        << table;
  }
}

struct Setting {
  CacheShape shape;
  MorphKV::Options options;
  std::size_t element_bytes;

  [[nodiscard]] ordered_json json() const {
    return {{"layers", shape.layers},
            {"queryHeads", shape.query_heads},
            {"kvHeads", shape.kv_heads},
            {"headDim", shape.head_dim},
            {"elementBytes", element_bytes},
            {"capacity", options.capacity},
            {"window", options.window},
            {"panes", options.panes},
            {"fusion", options.fusion == Fusion::sum ? "sum" : "max"}};
  }
  [[nodiscard]] MemoryUsage memory() const {
    return element_bytes == 2 ? memory::expected_memory<Eigen::half, MorphKV>(shape, options)
                              : memory::expected_memory<float, MorphKV>(shape, options);
  }
};

std::vector<Setting> settings() {
  std::vector<CacheShape> shapes = odd_shapes;
  for (const memory::KnownModel& model : memory::known_models) shapes.push_back(model.shape);
  std::vector<Setting> all;
  for (const CacheShape& shape : shapes) {
    for (const Fusion fusion : {Fusion::sum, Fusion::max}) {
      for (const std::size_t capacity : {205U, 1024U, 2047U}) {
        for (const std::size_t panes : {0U, 1U, 8U, 200U}) {
          const MorphKV::Options options{
              .capacity = capacity, .window = 200, .fusion = fusion, .panes = panes};
          all.push_back({shape, options, 2});
        }
        all.push_back({shape, {.capacity = capacity, .window = 1, .fusion = fusion}, 4});
      }
    }
  }
  return all;
}

TEST(Calculator, CountsAsTheLibraryDoes) {
  if (std::system("node --version > /dev/null 2>&1") != 0) GTEST_SKIP() << "no node here";
  const TemporaryFolder folder;
  const std::vector<Setting> all = settings();
  ordered_json asked;
  for (const Setting& setting : all) asked.push_back(setting.json());
  const std::string script = std::string(demo::memory_formula_script) +
                             "console.log(JSON.stringify(" + asked.dump() +
                             ".map(cacheMemory)));\n";
  const std::string command = "node " + folder.write("formula.js", script).string() + " > " +
                              folder.file("answers.json").string();
  ASSERT_EQ(std::system(command.c_str()), 0);
  const ordered_json answers = ordered_json::parse(bytes_of(folder.file("answers.json")));
  ASSERT_EQ(answers.size(), all.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    const MemoryUsage usage = all[i].memory();
    const ordered_json expected = {{"keys", usage.keys},           {"values", usage.values},
                                   {"window", usage.window},       {"scores", usage.scores},
                                   {"positions", usage.positions}, {"history", usage.history},
                                   {"scratch", usage.scratch}};
    EXPECT_EQ(answers[i], expected) << asked[i];
  }
}

}  // namespace
}  // namespace morphkv::test::memory_test
