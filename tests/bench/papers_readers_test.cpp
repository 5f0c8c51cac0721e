// SPDX-License-Identifier: Apache-2.0
// The readers of the papers' benchmarks: prompts, predictions, and what is refused.
#include <gtest/gtest.h>

#if defined(MORPHKV_TOKENIZER_JSON)  // Unicode's properties come from utf8proc

#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "papers/benchmarks.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::papers_readers_test { namespace {

using papers::Json;
using papers::Task;
using papers::TaskOptions;

const Json some_longgenbench = {{"prompt", "Write 3 days.\n#*# Day 1:"},
                                {"checks_once", {{"2", "rain"}}},
                                {"checks_range", Json::object()},
                                {"checks_periodic", {{"1", "tea"}, {"3", "tea"}}},
                                {"type", "Day"},
                                {"prefix", "#*# Day 1:"},
                                {"number", 3}};
const Json some_longwriter = {{"prompt", "Write 100 words."}, {"type", "Letter"}, {"length", 100}};
const Json some_longbench = {{"input", "Who?"},        {"context", "It was Ann {x}."},
                             {"answers", {"Ann"}},     {"length", 4},
                             {"dataset", "hotpotqa"},  {"language", "en"},
                             {"all_classes", nullptr}, {"_id", "1"}};
const Json some_ruler = {
    {"index", 7}, {"input", "The key is 42."}, {"outputs", {"42", "43"}}, {"length", 5}};

[[nodiscard]] Json changed(Json object, const std::string& field, Json value) {
  object[field] = std::move(value);
  return object;
}

class PapersReaders : public ::testing::Test {
 protected:
  [[nodiscard]] std::vector<Task> read(const std::string& name, const std::string& text,
                                       const TaskOptions& options = {}) const {
    return papers::read_tasks(folder_.write(name, text), options);
  }
  [[nodiscard]] Task read_one(const std::string& name, const Json& object,
                              const TaskOptions& options = {}) const {
    return read(name, object.dump() + "\n", options).at(0);
  }
  void expect_refused(const std::string& name, const std::string& text, const std::string& said,
                      const TaskOptions& options = {}) const {
    const std::string message = testing::complaint([&] { (void)read(name, text, options); });
    EXPECT_NE(message.find(said), std::string::npos) << message;
    EXPECT_EQ(message.rfind(folder_.path().string(), 0), 0U) << "names the file: " << message;
  }

  testing::TemporaryFolder folder_;
};

TEST_F(PapersReaders, LongGenBench) {
  const auto tasks = read("short.json", Json{some_longgenbench, some_longgenbench}.dump());
  ASSERT_EQ(tasks.size(), 2U);
  const Task& task = tasks[1];
  EXPECT_EQ(task.place, folder_.file("short.json").string() + ", entry 2");
  EXPECT_EQ(task.benchmark + "/" + task.group, "LongGenBench/Day");
  EXPECT_EQ(task.output, "short.json");
  EXPECT_EQ(task.prompt, "Write 3 days.\n#*# Day 1:");
  EXPECT_FALSE(task.chat);
  EXPECT_FALSE(task.truncate);
  EXPECT_EQ(task.max_tokens, 16000U);
  EXPECT_EQ(papers::end_of_response(" sun *** finished ***", task.stop), 5U);
  const std::string response = " sun #*# Day 3: fog";
  EXPECT_DOUBLE_EQ(task.score(response), 2.0 / 3);
  EXPECT_EQ(task.prediction(response), (Json{{"input", "Write 3 days.\n#*# Day 1:"},
                                             {"checks_once", {{"2", "rain"}}},
                                             {"checks_range", Json::object()},
                                             {"checks_periodic", {{"1", "tea"}, {"3", "tea"}}},
                                             {"type", "Day"},
                                             {"number", 3},
                                             {"output_blocks", {"", " Day 1: sun ", " Day 3: fog"}},
                                             {"word_count", 8}}));
}

TEST_F(PapersReaders, LongWriter) {
  const Task task = read_one("longbench_write.jsonl", some_longwriter);
  EXPECT_EQ(task.place, folder_.file("longbench_write.jsonl").string() + ":1");
  EXPECT_EQ(task.group, "below 500");
  EXPECT_EQ(read_one("a.jsonl", changed(some_longwriter, "length", 500)).group, "500-2000");
  EXPECT_EQ(read_one("a.jsonl", changed(some_longwriter, "length", 4000)).group, "from 4000");
  EXPECT_TRUE(task.chat);
  EXPECT_EQ(task.max_tokens, 32768U);
  std::string response;
  for (int i = 0; i < 50; ++i) response += "word ";
  EXPECT_DOUBLE_EQ(task.score(response), 0.5);
  const Json prediction = task.prediction(response);
  EXPECT_EQ(prediction["response"], response);
  EXPECT_EQ(prediction["response_length"], 50);
  for (const auto& [field, value] : some_longwriter.items()) EXPECT_EQ(prediction[field], value);
}

TEST_F(PapersReaders, LongBench) {
  const Task task = read_one("x.jsonl", some_longbench);
  EXPECT_EQ(task.group, "hotpotqa");
  EXPECT_EQ(task.output, "hotpotqa.jsonl");
  EXPECT_EQ(task.measure, "F1");
  EXPECT_NE(task.prompt.find("It was Ann {x}."), std::string::npos) << task.prompt;
  EXPECT_NE(task.prompt.find("Who?"), std::string::npos);
  EXPECT_TRUE(task.chat);
  EXPECT_TRUE(task.truncate);
  EXPECT_EQ(task.score("The Ann"), 1);
  EXPECT_EQ(task.prediction("Ann").dump(),
            R"({"pred":"Ann","answers":["Ann"],"all_classes":null,"length":4})");

  const auto of = [&](const std::string& dataset, const std::string& answer,
                      Json classes = nullptr) {
    Json object = changed(some_longbench, "dataset", dataset);
    object["answers"] = {"none of 0, Paragraph 0, 段落0", answer};
    object["all_classes"] = std::move(classes);
    return read_one("x.jsonl", object);
  };
  EXPECT_NEAR(of("multi_news", "a b").score("a b. "), 0.8, 1e-7) << "the best of the answers";
  EXPECT_EQ(of("multi_news", "a").max_tokens, 512U);
  EXPECT_EQ(of("trec", "City", {"City", "State"}).score("\nCity\nState"), 1) << "the first line";
  EXPECT_FALSE(of("trec", "City", {"City", "State"}).chat);
  EXPECT_EQ(of("triviaqa", "Ann").score("Ann\nPassage: more"), 1);
  const Task samsum = of("samsum", "a b");
  EXPECT_EQ(papers::end_of_response("\nAnn\nDialogue", samsum.stop), 4U);
  EXPECT_EQ(papers::end_of_response("\n\n", samsum.stop), std::string::npos);
  EXPECT_EQ(of("passage_count", "5").score("5"), 1);
  EXPECT_EQ(of("passage_retrieval_en", "Paragraph 5").score("Paragraph 5 or 6"), 0.5);
  EXPECT_EQ(of("passage_retrieval_zh", "段落27").score("段落27"), 1);
  EXPECT_EQ(of("lcc", "x = 1").score("# x\nx = 1"), 1);
  const Task chinese = of("multifieldqa_zh", "厦门");
  EXPECT_FALSE(chinese.score) << "words of Chinese need the authors' segmentation";
  EXPECT_EQ(chinese.not_scored, "F1 of multifieldqa_zh: eval.py segments Chinese words with jieba");
}

TEST_F(PapersReaders, LongBenchTakesTheAuthorsTemplatesAndLengths) {
  TaskOptions options;
  options.templates.emplace(
      folder_.write("prompts.json", R"({"hotpotqa": "{{C}}: {context} Q: {input}"})"));
  options.max_lengths.emplace(folder_.write("lengths.json", R"({"hotpotqa": 32})"));
  const Task task = read_one("x.jsonl", some_longbench, options);
  EXPECT_EQ(task.prompt, "{C}: It was Ann {x}. Q: Who?");
  EXPECT_EQ(task.max_tokens, 32U);
  options.max_tokens = 5;
  EXPECT_EQ(read_one("x.jsonl", some_longbench, options).max_tokens, 5U);

  const auto refuse = [&](const std::string& name, const std::string& pattern,
                          const std::string& said) {
    TaskOptions other;
    other.templates.emplace(folder_.write(name, pattern));
    expect_refused("x.jsonl", some_longbench.dump(), said, other);
  };
  refuse("p.json", R"({"qasper": "{context}"})", "p.json: the field hotpotqa is missing");
  refuse("p.json", R"({"hotpotqa": "{context"})", "p.json, hotpotqa: the template has a single");
  refuse("p.json", R"({"hotpotqa": "a } b"})", "p.json, hotpotqa: the template has a single");
  refuse("p.json", R"({"hotpotqa": "{question}"})", "x.jsonl:1: the field question is missing");
  TaskOptions short_lengths;
  short_lengths.max_lengths.emplace(folder_.write("l.json", R"({"hotpotqa": 0})"));
  expect_refused("x.jsonl", some_longbench.dump(), "l.json: hotpotqa = 0: must be an integer",
                 short_lengths);
}

TEST_F(PapersReaders, Ruler) {
  const Task task = read_one("niah_multikey_3.jsonl", some_ruler);
  EXPECT_EQ(task.benchmark + "/" + task.group, "RULER/niah_multikey_3");
  EXPECT_EQ(task.max_tokens, 128U);
  EXPECT_FALSE(task.chat);
  EXPECT_FALSE(task.truncate);
  EXPECT_EQ(task.score("42"), 0.5);
  EXPECT_EQ(task.prediction("42"), (Json{{"index", 7},
                                         {"pred", "42"},
                                         {"input", "The key is 42."},
                                         {"outputs", {"42", "43"}},
                                         {"others", Json::object()},
                                         {"truncation", -1},
                                         {"length", 5}}));
  EXPECT_EQ(read_one("niah.jsonl", changed(some_ruler, "answer_prefix", " So:")).prompt,
            "The key is 42. So:");
  EXPECT_EQ(read_one("ruler-4096_vt.jsonl", some_ruler).group, "vt");
  std::filesystem::create_directory(folder_.file("qa_1"));
  const Task qa = read_one("qa_1/validation.jsonl", some_ruler);
  EXPECT_EQ(qa.group, "qa_1");
  EXPECT_EQ(qa.score("42"), 1) << "one of the strings is enough";
  EXPECT_EQ(qa.max_tokens, 32U);
  expect_refused("qanda.jsonl", some_ruler.dump(), "must have niah, vt, cwe, fwe or qa");
}

TEST_F(PapersReaders, LimitCountsPerGroup) {
  std::string text;
  for (const std::size_t length : {100U, 100U, 600U, 100U, 600U, 600U}) {
    text += changed(some_longwriter, "length", length).dump() + "\r\n\n";
  }
  const auto tasks = papers::read_tasks(folder_.write("w.jsonl", text), {}, 2);
  ASSERT_EQ(tasks.size(), 4U);
  EXPECT_EQ(tasks[2].group, "500-2000");
  EXPECT_EQ(tasks[3].place, folder_.file("w.jsonl").string() + ":9") << "the line in the file";
}

TEST_F(PapersReaders, RefuseFilesThatAreNotWhole) {
  expect_refused("e.jsonl", "", "the file is empty");
  expect_refused("e.jsonl", " \n\n", "the file is empty");
  expect_refused("e.json", "[]", "the list has no entries");
  const std::string list = Json{some_longgenbench}.dump();
  const std::string line = some_longwriter.dump();
  for (std::size_t size = 1; size < list.size(); size += 7) {
    expect_refused("t.json", list.substr(0, size), "it may be truncated");
  }
  for (std::size_t size = 1; size < line.size(); size += 7) {
    expect_refused("t.jsonl", line + "\n" + line.substr(0, size), "t.jsonl:2: the line must be");
  }
  expect_refused("t.jsonl", "7\n", "t.jsonl:1: the line must be a JSON object");
  expect_refused("t.json", "[{}, 7]", "entry 2: the entry must be a JSON object");
  expect_refused("t.jsonl", "{\"prompt\": \"\xFF\", \"length\": 5}", "t.jsonl:1: the line must be");
  expect_refused("t.json", std::string(100000, '['), "nesting of the JSON text");
  expect_refused("t.jsonl", line + "\n" + some_ruler.dump(), "must have niah, vt, cwe, fwe or qa");
  expect_refused(
      "niah.jsonl", some_ruler.dump() + "\n" + line,
      "niah.jsonl:2: the fields are those of LongWriter, but the first object's those of");
  EXPECT_NE(testing::complaint([&] {
              (void)papers::read_tasks(folder_.file("none"), {});
            }).find("there is no such file"),
            std::string::npos);
}

TEST_F(PapersReaders, RefuseFilesOfNoBenchmark) {
  expect_refused("o.jsonl", R"({"question": "Who?", "answer": "Ann"})",
                 "o.jsonl:1: the fields are of none of the benchmarks: LongGenBench (prompt,");
  expect_refused("o.jsonl", R"({"hotpotqa": "{context}"})", "the fields are of none");
}

TEST_F(PapersReaders, NameFileLineAndFieldOfWhatIsWrong) {
  struct Case {
    Json whole;
    std::string field;
    Json value;  ///< discarded: the field is left out
    std::string said;
  };
  const Json text = "text";
  const Json left_out(Json::value_t::discarded);
  const std::vector<Case> cases = {
      {some_longgenbench, "prefix", left_out, "the field prefix is missing"},
      {some_longgenbench, "checks_range", left_out, "the field checks_range is missing"},
      {some_longgenbench, "checks_once", text, "checks_once = \"text\": must be an object"},
      {some_longgenbench, "number", 0, "number = 0: must be an integer from 1"},
      {some_longgenbench, "number", text, "number = \"text\": must be an integer from 1"},
      {some_longgenbench, "type", 3, "type = 3: must be a text"},
      {some_longwriter, "length", 0, "length = 0: must be an integer from 1"},
      {some_longwriter, "length", -4, "length = -4: must be an integer from 1"},
      {some_longwriter, "prompt", nullptr, "the field prompt is missing"},
      {some_longbench, "input", left_out, "the field input is missing"},
      {some_longbench, "dataset", left_out, "the field dataset is missing"},
      {some_longbench, "dataset", "squad",
       "dataset = \"squad\": must be one of narrativeqa, qasper"},
      {some_longbench, "answers", Json::array(), "answers = []: must be a list of at least"},
      {some_longbench, "answers", {1}, "answers = [1]: must be a list of at least 1 texts"},
      {some_longbench, "context", 1, "context = 1: must be a text"},
      {some_longbench, "dataset", "trec", "all_classes = null: must be a list"},
      {some_longbench, "dataset", "passage_retrieval_en",
       "answers = Ann: must be \"Paragraph \" and a number"},
      {some_ruler, "outputs", Json::array(), "outputs = []: must be a list of at least 1"},
      {some_ruler, "index", left_out, "the field index is missing"},
      {some_ruler, "input", {"a"}, "input = [\"a\"]: must be a text"},
  };
  for (const Case& one : cases) {
    Json object = changed(one.whole, one.field, one.value);
    if (one.value.is_discarded()) object.erase(one.field);
    expect_refused("niah.jsonl", one.whole.dump() + "\n" + object.dump(),
                   "niah.jsonl:2: " + one.said);
  }
}

// The originals are not part of the project: a folder that has them may be named.
TEST_F(PapersReaders, ReadTheOriginals) {
  const char* folder = std::getenv("MORPHKV_PAPERS_DATA");
  if (folder == nullptr) GTEST_SKIP() << "MORPHKV_PAPERS_DATA names no folder of originals";
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (!entry.path().extension().string().starts_with(".json")) continue;
    ++files;
    for (const Task& task : papers::read_tasks(entry.path(), {})) {
      EXPECT_FALSE(task.prompt.empty()) << task.place;
      EXPECT_TRUE(task.prediction("").is_object()) << task.place;
      EXPECT_GE(task.score ? task.score("The text 1.") : 0, 0) << task.place;
    }
  }
  EXPECT_GT(files, 0U) << folder;
}

}  // namespace
}  // namespace morphkv::testing::papers_readers_test

#endif
