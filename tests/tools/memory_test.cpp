// SPDX-License-Identifier: Apache-2.0
// The arithmetic of docs/memory.md and of the demo's calculator is the library's own.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "demo/page_memory.hpp"
#include "memory/answer.hpp"
#include "memory/expected_memory.hpp"
#include "memory/model_config.hpp"
#include "memory/tables.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::memory_test { namespace {

using nlohmann::ordered_json;

const std::vector<CacheShape> odd_shapes = {
    {.layers = 1, .query_heads = 1, .kv_heads = 1, .head_dim = 1},
    {.layers = 3, .query_heads = 6, .kv_heads = 3, .head_dim = 7},
    {.layers = 2, .query_heads = 8, .kv_heads = 1, .head_dim = 80},
    {.layers = 5, .query_heads = 4, .kv_heads = 4, .head_dim = 64}};

constexpr std::size_t odd_windows[] = {0, 7, 0, 500, 7};
const std::vector<CacheShape> odder_shapes = {
    {.layers = 2, .query_heads = 4, .kv_heads = 2, .head_dim = 24, .value_dim = 16},
    {.layers = 3,
     .query_heads = 6,
     .kv_heads = 1,
     .head_dim = 40,
     .value_dim = 32,
     .values_in_keys = true},
    {.layers = 5, .query_heads = 4, .kv_heads = 2, .head_dim = 16, .windows = odd_windows}};

template <class T, class Policy>
void expect_weighs_what_it_is(const typename Policy::Options& options) {
  for (const std::vector<CacheShape>& shapes : {odd_shapes, odder_shapes}) {
    for (const CacheShape& shape : shapes) {
      EXPECT_EQ((memory::expected_memory<T, Policy>(shape, options)),
                (KVCache<T, Policy>(shape, options).memory()));
    }
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

memory::ModelConfig config_of(const std::string& json) {
  return memory::read_model_config({"config.json", nlohmann::json::parse(json)});
}

const std::string small_model =
    R"("num_hidden_layers": 3, "num_attention_heads": 6, "num_key_value_heads": 2, "hidden_size": 48)";

TEST(ModelConfig, HasTheShapeOfAnyModelType) {
  const CacheShape small{.layers = 3, .query_heads = 6, .kv_heads = 2, .head_dim = 8};
  EXPECT_EQ(config_of("{" + small_model + "}").shape, small);
  const memory::ModelConfig named =
      config_of(R"({"model_type": "new", "head_dim": 96, "max_position_embeddings": 512,)" +
                small_model + "}");
  EXPECT_EQ(named.type, "new");
  EXPECT_EQ(named.trained, 512U);
  EXPECT_EQ(named.shape.head_dim, 96U);
  EXPECT_EQ(config_of(R"({"model_type": "images", "text_config": {)" + small_model + "}}").shape,
            small);
  EXPECT_EQ(
      config_of(
          R"({"num_hidden_layers": 1, "num_attention_heads": 4, "hidden_size": 8, "head_dim": null})")
          .shape,
      (CacheShape{.layers = 1, .query_heads = 4, .kv_heads = 4, .head_dim = 2}));
}

TEST(ModelConfig, TakesFeaturesThatAreOff) {
  for (const std::string field :
       {R"("sliding_window": null)", R"("use_sliding_window": false, "sliding_window": 4096)",
        R"("sliding_window": 512, "max_position_embeddings": 512)",
        R"("layer_types": ["sliding_attention", "full_attention", "full_attention"],
           "sliding_window": 512, "max_position_embeddings": 512)",
        R"("model_type": "qwen2", "sliding_window": 4096)", R"("kv_lora_rank": null)",
        R"("num_kv_shared_layers": 0)", R"("is_encoder_decoder": false)",
        R"("layer_types": ["full_attention", "attention", "full_attention"])"}) {
    const memory::ModelConfig config = config_of("{" + field + "," + small_model + "}");
    EXPECT_EQ(config.shape.layers, 3U) << field;
    EXPECT_TRUE(config.windows.empty()) << field;
    EXPECT_EQ(config.cache_shape(), config.shape) << field;
  }
}

TEST(ModelConfig, RefusesCachesThatItCannotCount) {
  const auto expect_refused = [](const std::string& field, const std::string& json) {
    const std::string said = complaint([&] { config_of("{" + json + "," + small_model + "}"); });
    EXPECT_NE(said.find(field), std::string::npos) << json << ": " << said;
    EXPECT_NE(said.find("this program "), std::string::npos) << json << ": " << said;
  };
  for (const auto& [field, reason] : memory::detail::other_caches) {
    expect_refused(field, "\"" + std::string(field) + "\": 4");
  }
  expect_refused("is_encoder_decoder = true", R"("is_encoder_decoder": true)");
  for (const std::string type : {"new", "smollm3", "qwen2"}) {
    expect_refused(
        "sliding_window = 511: this program does not know which layers of a \"" + type,
        R"("sliding_window": 511, "use_sliding_window": true, "model_type": ")" + type + "\"");
  }
  expect_refused("sliding_window = 511: this program",
                 R"("sliding_window": 511, "max_position_embeddings": 512)");
  expect_refused("layer_types has \"linear_attention\"",
                 R"("layer_types": ["linear_attention", "attention", "attention"])");
}

TEST(ModelConfig, KnowsWhichLayersSlide) {
  using Windows = std::vector<std::size_t>;
  const auto windows = [](const std::string& fields) {
    return config_of(R"({"num_attention_heads": 2, "hidden_size": 8, "num_hidden_layers": 5,
                         "sliding_window": 9,)" +
                     fields + "}")
        .windows;
  };
  EXPECT_EQ(windows(R"("layer_types": ["sliding_attention", "full_attention", "full_attention",
                                       "sliding_attention", "attention"])"),
            (Windows{9, 0, 0, 9, 0}));
  EXPECT_EQ(windows(R"("sliding_window_pattern": 3)"), (Windows{9, 9, 0, 9, 9}));
  EXPECT_EQ(windows(R"("sliding_window_pattern": 1)"), Windows{});
  EXPECT_EQ(windows(R"("model_type": "mistral")"), (Windows{9, 9, 9, 9, 9}));
  EXPECT_EQ(windows(R"("model_type": "gemma2")"), (Windows{9, 0, 9, 0, 9}));
  EXPECT_EQ(windows(R"("model_type": "qwen2", "use_sliding_window": true, "max_window_layers": 3)"),
            (Windows{0, 0, 0, 9, 9}));
  EXPECT_EQ(windows(R"("model_type": "gemma2", "max_position_embeddings": 10)"),
            (Windows{9, 0, 9, 0, 9}));
  EXPECT_EQ(windows(R"("model_type": "gemma2", "max_position_embeddings": 9)"), Windows{});
}

TEST(ModelConfig, CountsLatents) {
  const memory::ModelConfig config = config_of(
      R"({"num_attention_heads": 16, "num_key_value_heads": 16, "hidden_size": 2048,
          "num_hidden_layers": 27, "kv_lora_rank": 512, "qk_rope_head_dim": 64})");
  EXPECT_EQ(config.shape, (CacheShape{.layers = 27,
                                      .query_heads = 16,
                                      .kv_heads = 1,
                                      .head_dim = 576,
                                      .value_dim = 512,
                                      .values_in_keys = true}));
  EXPECT_EQ(memory::full_bytes<Eigen::half>(config.shape, 10), 10U * 27 * 576 * 2);
}

TEST(ModelConfig, NamesTheFieldThatIsWrong) {
  const auto expect_said = [](const std::string& text, const std::string& json) {
    const std::string said = complaint([&] { config_of(json); });
    EXPECT_NE(said.find(text), std::string::npos) << json << ": " << said;
  };
  expect_said("num_hidden_layers is missing", "{}");
  expect_said("num_attention_heads",
              R"({"num_hidden_layers": 1, "num_attention_heads": 0, "hidden_size": 8})");
  expect_said("hidden_size = 9: must be a multiple of num_attention_heads = 4",
              R"({"num_hidden_layers": 1, "num_attention_heads": 4, "hidden_size": 9})");
  expect_said("query_heads = 4: must be a multiple of kv_heads = 3",
              R"({"num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 3,
                  "hidden_size": 8})");
  expect_said("layers", R"({"num_hidden_layers": 1073741824, "num_attention_heads": 4,
                            "hidden_size": 8})");
}

memory::Question question_of(const std::string& policy, policies::OptionTexts options) {
  return {.model = config_of("{" + small_model + "}"),
          .tokens = 900,
          .response = 0,
          .batch = 3,
          .bits = 16,
          .policy = {policy, std::move(options)},
          .memory = 0};
}

template <class T, class Policy>
void expect_answer(const memory::Question& question, const typename Policy::Options& options) {
  const memory::Answer answer = memory::answer_of(question);
  EXPECT_EQ(answer.policy, (KVCache<T, Policy>(question.model.shape, options).memory()));
  EXPECT_EQ(answer.full, 900U * 2 * 3 * 2 * 8 * sizeof(T));
}

TEST(Answer, CountsSlidingLayersByTheirWindow) {
  memory::Question question = question_of("recommended", {{"capacity", "300"}});
  question.model.windows = {0, 40, 0};
  const memory::Answer answer = memory::answer_of(question);
  EXPECT_EQ(answer.policy,
            (KVCache<Eigen::bfloat16, DecayedMax>(question.model.cache_shape(), recommended(300))
                 .memory()));
  EXPECT_EQ(answer.full, (2 * 900U + 40) * 2 * 2 * 8 * 2);
  const std::string text = memory::answer_text(question, answer);
  EXPECT_NE(text.find("; 1 of the layers slide over 40 tokens; 16 bits"), std::string::npos)
      << text;
  EXPECT_EQ(text.find("full cache of"), std::string::npos) << text;
  EXPECT_EQ(memory::answer_json(question, answer)["model"]["windows"], ordered_json({0, 40, 0}));
}

TEST(Answer, IsWhatTheCachesOfEachPolicyWeigh) {
  memory::Question question = question_of("recommended", {{"capacity", "300"}});
  expect_answer<Eigen::bfloat16, DecayedMax>(question, recommended(300));
  question.bits = 32;
  expect_answer<float, DecayedMax>(question, recommended(300));
  expect_answer<Eigen::bfloat16, MorphKV>(
      question_of("morphkv", {{"capacity", "300"}, {"window", "20"}}),
      {.capacity = 300, .window = 20});
  expect_answer<Eigen::bfloat16, H2O>(question_of("h2o", {{"capacity", "301"}}),
                                      {.heavy = 150, .recent = 151});
  expect_answer<Eigen::bfloat16, Full>(question_of("full", {}), {.max_tokens = 900});
  // SnapKV selects from the prompt, and keeps the response.
  question = question_of("snapkv", {{"capacity", "300"}});
  question.response = 100;
  expect_answer<Eigen::bfloat16, SnapKV>(question, {.capacity = 300, .max_tokens = 400});
  question = question_of("recommended_for_prompts", {{"capacity", "300"}});
  question.response = 100;
  expect_answer<Eigen::bfloat16, DecayedMax>(question, recommended_for_prompts(300, 100));
  EXPECT_EQ(memory::answer_of(question).slots, 400U);
}

TEST(Answer, CountsTheBatchAndWhatFits) {
  memory::Question question = question_of("recommended", {{"capacity", "300"}});
  const memory::Answer answer = memory::answer_of(question);
  const std::size_t bytes = answer.policy.total();
  question.memory = 5 * bytes - 1;
  const ordered_json json = memory::answer_json(question, answer);
  EXPECT_EQ(json["policy"]["bytes_per_sequence"], bytes);
  EXPECT_EQ(json["policy"]["bytes"], 3 * bytes);
  EXPECT_EQ(json["policy"]["sequences_that_fit"], 4);
  EXPECT_EQ(json["policy"]["slots_per_head"], 300);
  EXPECT_EQ(json["full_cache"]["bytes"], 3 * answer.full);
  EXPECT_EQ(json["full_cache"]["sequences_that_fit"], question.memory / answer.full);
  EXPECT_DOUBLE_EQ(json["factor_saved"],
                   static_cast<double>(answer.full) / static_cast<double>(bytes));
  EXPECT_DOUBLE_EQ(json["share_of_tokens_kept"], 1.0 / 3);
  std::size_t sum = 0;
  for (const auto& kind : json["policy"]["bytes_by_kind"]) sum += kind.get<std::size_t>();
  EXPECT_EQ(sum, bytes);
}

TEST(Answer, HasTheLossOfThePresetOnly) {
  const auto loss = [](const memory::Question& question) {
    const memory::Answer answer = memory::answer_of(question);
    const ordered_json json = memory::answer_json(question, answer);
    const std::string text = memory::answer_text(question, answer);
    const bool shown = text.find("which is not a prediction") != std::string::npos;
    EXPECT_EQ(json.contains("measured_loss"), shown) << text;
    return shown ? json["measured_loss"]["slots"].get<int>() : 0;
  };
  EXPECT_EQ(loss(question_of("recommended", {{"capacity", "300"}})), 512);
  EXPECT_EQ(loss(question_of("recommended", {{"capacity", "20"}})), 256);
  EXPECT_EQ(loss(question_of("recommended", {{"capacity", "899"}})), 1024);
  EXPECT_EQ(loss(question_of("recommended", {{"capacity", "900"}})), 0) << "nothing is evicted";
  EXPECT_EQ(loss(question_of("recommended", {{"capacity", "300"}, {"recent", "64"}})), 0);
  EXPECT_EQ(loss(question_of("morphkv", {{"capacity", "300"}})), 0);
  EXPECT_EQ(loss(question_of("full", {})), 0);
}

TEST(Answer, RefusesWhatDoesNotFit) {
  const auto said = [](const memory::Question& question) {
    return complaint([&] { static_cast<void>(memory::answer_of(question)); });
  };
  memory::Question question = question_of("recommended", {{"capacity", "300"}});
  question.response = 901;
  EXPECT_EQ(said(question), "--response = 901: must be at most --tokens = 900");
  question.response = 0;
  question.batch = 1U << 30U;
  question.tokens = 1U << 30U;
  EXPECT_NE(said(question).find("--batch = 1073741824: must be at most "), std::string::npos);
  question = question_of("lru", {});
  EXPECT_NE(said(question).find("--policy = lru: must be one of recommended, "), std::string::npos);
}

/// The text between the next two lines of the page that begin with ```, after `heading`.
std::string block_after(const std::string& page, const std::string& heading) {
  const std::size_t begin = page.find('\n', page.find("```", page.find(heading))) + 1;
  return page.substr(begin, page.find("```", begin) - begin);
}

TEST(MemoryPage, AnswersTheQuestionOfItsExample) {
  const std::string page = bytes_of(MORPHKV_SOURCE_DIR "/docs/memory.md");
  const memory::Question question{.model = config_of(block_after(page, "## Your model")),
                                  .tokens = 32768,
                                  .response = 0,
                                  .batch = 16,
                                  .bits = 16,
                                  .policy = {"recommended", {{"capacity", "2048"}}},
                                  .memory = std::uint64_t{24} << 30U};
  const std::string text = memory::answer_text(question, memory::answer_of(question));
  EXPECT_NE(page.find(text), std::string::npos)
      << "docs/memory.md is out of date; the program prints:\n"
      << text;
}

TEST(MeasuredLoss, IsThatOfThePageOnPolicies) {
  const std::string page = bytes_of(MORPHKV_SOURCE_DIR "/docs/choose_a_policy.md");
  const auto expect_there = [&](const std::string& text) {
    EXPECT_NE(page.find(text), std::string::npos)
        << text << " is in tools/memory/measured_loss.hpp, not in docs/choose_a_policy.md";
  };
  for (const memory::MeasuredLoss& loss : memory::measured_losses) {
    const std::string kl(loss.kl);
    const std::size_t space = kl.find(' ');
    expect_there("**" + kl.substr(0, space) + "**" + kl.substr(space));
    const std::string passkeys(loss.passkeys);
    if (loss.slots == 512) {
      expect_there("**" + passkeys.substr(0, 4) + "** | **" + passkeys.substr(7) + "**");
    } else {
      expect_there("**" + passkeys + "**");
    }
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
}  // namespace morphkv::testing::memory_test
