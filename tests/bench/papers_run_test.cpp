// SPDX-License-Identifier: Apache-2.0
// The benchmarks of the papers, run: prompts as tokens, responses, reports, and the program.
#include <gtest/gtest.h>

#if defined(MORPHKV_TOKENIZER_JSON)  // Unicode's properties come from utf8proc

#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "llama/chat.hpp"
#include "papers/caches.hpp"
#include "papers/page.hpp"
#include "papers/prompts.hpp"
#include "papers/report.hpp"
#include "papers/run.hpp"
#include "tools/random_model.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::papers_run_test { namespace {

using papers::ChatUse;
using papers::Json;
using papers::Outcome;
using papers::PromptEncoder;
using papers::Task;

/// A token per byte; encode() begins with a token of its own, which has no text.
class Bytes final : public llama::Tokenizer {
 public:
  static constexpr int begin = 256;
  [[nodiscard]] std::vector<int> encode(const std::string& text) const override {
    std::vector<int> tokens = encode_rendered(text);
    tokens.insert(tokens.begin(), begin);
    return tokens;
  }
  [[nodiscard]] std::vector<int> encode_rendered(const std::string& text) const override {
    std::vector<int> tokens;
    for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
    return tokens;
  }
  [[nodiscard]] std::string piece(int, int token) const override {
    return token == begin ? std::string() : std::string(1, static_cast<char>(token));
  }
};

[[nodiscard]] Task some_task() {
  Task task;
  task.place = "file.jsonl:3";
  task.benchmark = "RULER";
  task.group = "niah";
  task.measure = "strings that match";
  task.output = "niah.jsonl";
  task.prompt = "0123456789";
  task.max_tokens = 4;
  task.score = [](const std::string& response) {
    return response.find('x') != std::string::npos ? 1.0 : 0.0;
  };
  task.prediction = [](const std::string& response) { return Json{{"pred", response}}; };
  return task;
}

class PapersPrompts : public ::testing::Test {
 protected:
  [[nodiscard]] std::string encoded(const Task& task, std::size_t context,
                                    std::optional<std::size_t> max_prompt = {},
                                    ChatUse use = ChatUse::as_the_authors) {
    prompt_ = PromptEncoder(tokenizer_, &chat_, use, {context, max_prompt})(task);
    return tokenizer_.decode(prompt_.tokens);
  }

  Bytes tokenizer_;
  llama::Chat chat_{"<|im_start|>user\n<|im_end|>"};
  papers::EncodedPrompt prompt_;
};

TEST_F(PapersPrompts, AreInTheChatFormatWhereTheAuthorsUseIt) {
  Task task = some_task();
  EXPECT_EQ(encoded(task, 100), "0123456789");
  EXPECT_EQ(prompt_.tokens.front(), Bytes::begin);
  EXPECT_FALSE(prompt_.chat);
  const std::string rendered = "<|im_start|>user\n0123456789<|im_end|>\n<|im_start|>assistant\n";
  EXPECT_EQ(encoded(task, 100, {}, ChatUse::always), rendered);
  task.chat = true;
  EXPECT_EQ(encoded(task, 100), rendered);
  EXPECT_TRUE(prompt_.chat);
  EXPECT_EQ(encoded(task, 100, {}, ChatUse::never), "0123456789");
  const PromptEncoder without(tokenizer_, nullptr, ChatUse::as_the_authors, {100, {}});
  EXPECT_FALSE(without(task).chat) << "the model has no chat format";
}

TEST_F(PapersPrompts, LeaveTheResponseWhatTheContextHas) {
  const Task task = some_task();  // 11 tokens
  (void)encoded(task, 20);
  EXPECT_EQ(prompt_.max_tokens, 4U);
  (void)encoded(task, 12);
  EXPECT_EQ(prompt_.max_tokens, 1U);
  EXPECT_EQ(testing::complaint([&] { (void)encoded(task, 11); }),
            "file.jsonl:3: the prompt has 11 tokens: must be below 11, the model's context");
}

TEST_F(PapersPrompts, LoseTheirMiddleWhereTheAuthorsTruncate) {
  Task task = some_task();
  task.truncate = true;
  EXPECT_EQ(encoded(task, 15), "0123456789");
  EXPECT_FALSE(prompt_.truncated);
  EXPECT_EQ(encoded(task, 14), "012356789") << "5 tokens of each half; the first has no text";
  EXPECT_TRUE(prompt_.truncated);
  EXPECT_LE(prompt_.tokens.size() + prompt_.max_tokens, 14U);
  EXPECT_EQ(prompt_.max_tokens, 4U);
  EXPECT_EQ(encoded(task, 100, 6), "01789");
  for (std::size_t context = 7; context < 15; ++context) {
    (void)encoded(task, context);
    EXPECT_LE(prompt_.tokens.size() + 4, context);
  }
  EXPECT_NE(testing::complaint([&] { (void)encoded(task, 4); }).find("leaves none for the prompt"),
            std::string::npos);

  task.chat = true;
  const std::string text = encoded(task, 60);
  EXPECT_TRUE(prompt_.truncated);
  EXPECT_EQ(text.rfind("<|im_start|>user\n0", 0), 0U) << text;
  EXPECT_TRUE(text.ends_with("9<|im_end|>\n<|im_start|>assistant\n")) << text;
  EXPECT_LE(prompt_.tokens.size() + 4, 60U);

  task.chat = false;
  task.prompt = "aaa\u00e9bbbb\u00e9ccc";
  for (std::size_t context = 10; context < 20; ++context) {
    const std::string cut = encoded(task, context);
    EXPECT_EQ(papers::valid_utf8(cut), cut) << "half a character becomes U+FFFD";
  }
}

TEST(PapersChoices, TakeTheOptionsThatEachPolicyHas) {
  const auto all = papers::choices(
      {"morphkv,h2o", {{"capacity", "64"}, {"window", "8"}, {"recent", "16"}, {"seed", "3"}}});
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[0].policy, "full");
  EXPECT_TRUE(all[0].options.empty());
  EXPECT_EQ(all[1].options, (policies::OptionTexts{{"capacity", "64"}, {"window", "8"}}));
  EXPECT_EQ(all[2].options, (policies::OptionTexts{{"capacity", "64"}, {"recent", "16"}}));
  EXPECT_EQ(papers::settings(all[1])["window"], 8);
  EXPECT_EQ(papers::settings(all[2])["recent"], 16);
  EXPECT_EQ(papers::choices({"full", {}}).size(), 1U);

  const auto refused = [](const policies::PolicyChoice& choice) {
    return testing::complaint([&] { (void)papers::choices(choice); });
  };
  EXPECT_EQ(refused({"h2o,tova", {{"window", "8"}}}),
            "--window: --policy h2o,tova has no such option");
  EXPECT_EQ(refused({"h2o,tova,h2o", {}}), "--policy = h2o,tova,h2o: must name h2o once");
  EXPECT_NE(refused({"h2o,lru", {}}).find("lru"), std::string::npos);
  EXPECT_NE(refused({"", {}}), "");
  EXPECT_NE(refused({"h2o", {{"capacity", "x"}}}).find("--capacity = x"), std::string::npos);
}

class PapersRun : public ::testing::Test {
 protected:
  PapersRun() {
    llama::Config config = testing::small_config(true);
    config.vocabulary = 300;
    model_ = testing::random_model(config, 5);
  }
  [[nodiscard]] std::vector<Outcome> run(const std::vector<Task>& tasks,
                                         const policies::PolicyChoice& choice,
                                         const llama::SamplingOptions& sampling = {},
                                         std::size_t threads = 1) const {
    const PromptEncoder encoder(tokenizer_, nullptr, ChatUse::never, {1000, {}});
    std::vector<Outcome> outcomes;
    std::size_t work = 0;
    for (const Task& task : tasks) {
      outcomes.push_back({task, encoder(task), {}});
      work += papers::max_work(outcomes.back(), 2);
    }
    comparison::Progress progress(work, "tokens");
    const papers::Runner runner{model_, tokenizer_, papers::choices(choice), sampling, threads};
    runner.answer(outcomes, progress);
    return outcomes;
  }
  [[nodiscard]] static Task long_task() {
    Task task = some_task();
    task.max_tokens = 60;
    return task;
  }

  Bytes tokenizer_;
  llama::Model model_;
};

TEST_F(PapersRun, AnswersUnderEachPolicy) {
  const Task task = long_task();
  const auto same = run({task}, {"h2o", {{"capacity", "200"}}});
  ASSERT_EQ(same.at(0).answers.size(), 2U);
  const auto& answers = same[0].answers;
  EXPECT_EQ(answers[0].text, answers[1].text) << "nothing is evicted from 200 slots";
  EXPECT_EQ(answers[0].tokens, 60U);
  EXPECT_EQ(answers[0].score, task.score(answers[0].text));
  EXPECT_NE(answers[0].bytes, answers[1].bytes);

  const auto few = run({task}, {"streaming_llm", {{"capacity", "16"}}});
  EXPECT_EQ(few[0].answers[0].text, answers[0].text) << "the full cache is the same";
  EXPECT_NE(few[0].answers[1].text, answers[0].text) << "16 slots are not enough";
  EXPECT_LT(few[0].answers[1].bytes, answers[0].bytes);

  // A session of one cache writes the same.
  llama::Session<Full, comparison::Stored> session(model_, {.max_tokens = 100});
  std::vector<int> written;
  std::span<const float> logits = session.prefill(same[0].prompt.tokens);
  for (std::size_t i = 0; i < 60; ++i) {
    written.push_back(llama::most_likely(logits));
    logits = session.step(written.back());
  }
  EXPECT_EQ(papers::valid_utf8(tokenizer_.decode(written)), answers[0].text);
}

TEST_F(PapersRun, EndsAtTheStopsOfTheTaskAndOfTheModel) {
  Task task = long_task();
  const std::string text = run({task}, {"full", {}})[0].answers[0].text;
  std::size_t at = 5;  // of an ASCII character that is not before it
  while (at < text.size() && (text[at] < '!' || text.find(text[at]) < at)) ++at;
  ASSERT_LT(at, text.size());
  task.stop = text.substr(at, 1);
  const auto stopped = run({task}, {"full", {}})[0].answers[0];
  EXPECT_EQ(stopped.text, text.substr(0, at));
  EXPECT_LT(stopped.tokens, 60U) << "no token after it is written";

  task.stop.clear();
  const std::vector<int> prompt = tokenizer_.encode(task.prompt);
  llama::Session<Full, comparison::Stored> session(model_, {.max_tokens = 100});
  model_.config.stop_tokens = {llama::most_likely(session.prefill(prompt))};
  const auto none = run({task}, {"full", {}})[0].answers[0];
  EXPECT_EQ(none.tokens, 0U) << "a stop of the model is no token of the response";
  EXPECT_EQ(none.text, "");
}

TEST_F(PapersRun, DoesNotDependOnThreadsAndDrawsBySeed) {
  const std::vector<Task> tasks(3, long_task());
  const policies::PolicyChoice choice{"tova", {{"capacity", "24"}}};
  const llama::SamplingOptions sampling{.temperature = 2, .seed = 7};
  const auto texts = [](const std::vector<Outcome>& outcomes) {
    std::vector<std::string> result;
    for (const Outcome& outcome : outcomes) {
      for (const papers::Answer& answer : outcome.answers) result.push_back(answer.text);
    }
    return result;
  };
  const auto once = texts(run(tasks, choice, sampling, 1));
  EXPECT_EQ(texts(run(tasks, choice, sampling, 3)), once);
  EXPECT_NE(once[0], once[2]) << "each prompt has its own seed";
  EXPECT_NE(texts(run(tasks, choice, {.temperature = 2, .seed = 70}, 1)), once);
}

[[nodiscard]] std::vector<Outcome> some_outcomes() {
  const auto outcome = [](const std::string& group, std::vector<std::string> texts) {
    Outcome result{some_task(), {}, {}};
    result.task.group = group;
    for (std::string& text : texts) {
      papers::Answer answer{std::move(text), 2, 1024, {}};
      answer.score = result.task.score(answer.text);
      result.answers.push_back(std::move(answer));
    }
    return result;
  };
  return {outcome("niah", {"x", "x"}), outcome("niah", {"x", ""}), outcome("vt", {"", "x"})};
}

TEST(PapersReport, HasTheMeanOfEachGroupAndOfAll) {
  auto outcomes = some_outcomes();
  const auto policies = papers::choices({"h2o", {}});
  const Json report = papers::report_json(outcomes, policies);
  ASSERT_EQ(report["groups"].size(), 3U);
  const Json& niah = report["groups"][0];
  EXPECT_EQ(niah["group"], "niah");
  EXPECT_EQ(niah["prompts"], 2);
  EXPECT_EQ(niah["caches"][0]["score"]["mean"], 100.0);
  EXPECT_EQ(niah["caches"][0]["minus_full"]["high"], 0.0);
  EXPECT_EQ(niah["caches"][1]["score"]["mean"], 50.0);
  EXPECT_EQ(niah["caches"][1]["score"]["low"], 0.0);
  EXPECT_EQ(niah["caches"][1]["minus_full"]["mean"], -50.0);
  EXPECT_EQ(niah["caches"][1]["of_full"], 0.5);
  EXPECT_EQ(niah["title"], "RULER, niah: strings that match, 2 prompts");
  EXPECT_EQ(report["groups"][1]["title"], "RULER, vt: strings that match, 1 prompt");
  EXPECT_TRUE(report["groups"][1]["caches"][1]["score"]["low"].is_null()) << "one prompt";
  EXPECT_TRUE(report["groups"][1]["caches"][1]["of_full"].is_null()) << "the full cache scores 0";
  EXPECT_EQ(report["groups"][2]["group"], "all");
  EXPECT_NEAR(report["groups"][2]["caches"][1]["score"]["mean"].get<double>(), 200.0 / 3, 1e-9);
  EXPECT_EQ(report["prompts"].size(), 3U);
  EXPECT_EQ(report["not_scored"].size(), 0U);

  for (Outcome& outcome : outcomes) {
    outcome.task.score = nullptr;
    outcome.task.not_scored = "what a model judges";
    for (papers::Answer& answer : outcome.answers) answer.score.reset();
  }
  const Json unscored = papers::report_json(outcomes, policies);
  ASSERT_EQ(unscored["groups"].size(), 2U);
  EXPECT_EQ(unscored["groups"][1]["title"],
            "RULER, vt: strings that match, not scored here, 1 prompt");
  EXPECT_TRUE(unscored["groups"][0]["caches"][1]["score"].is_null());
  EXPECT_EQ(unscored["not_scored"], (Json{"RULER, what a model judges"}));
}

TEST(PapersReport, WritesPredictionsAsTheAuthorsReadThem) {
  auto outcomes = some_outcomes();
  outcomes.pop_back();
  EXPECT_EQ(papers::predictions_text(outcomes, 1), "{\"pred\":\"x\"}\n{\"pred\":\"\"}\n");
  for (Outcome& outcome : outcomes) outcome.task.benchmark = "LongGenBench";
  EXPECT_EQ(Json::parse(papers::predictions_text(outcomes, 1)),
            (Json{Json{{"pred", "x"}}, Json{{"pred", ""}}}));
}

TEST(PapersPage, HoldsTheResultsAndLoadsNothing) {
  auto outcomes = some_outcomes();
  outcomes[0].answers[1].text = "</script><script>alert(1)</script>";
  const std::string page =
      papers::make_page(papers::report_json(outcomes, papers::choices({"h2o", {}})));
  EXPECT_EQ(page.find("alert(1)</script>"), std::string::npos);
  EXPECT_NE(page.find("alert(1)"), std::string::npos);
  for (const char* loads : {"src=", "@import", "url(", "fetch(", "<link"}) {
    EXPECT_EQ(page.find(loads), std::string::npos) << loads;
  }
}

class PapersProgram : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(program)) GTEST_SKIP() << program << " is not built";
    llama::Config config = testing::family_config("qwen2");
    config.vocabulary = 600;
    config.context = 400;
    std::filesystem::create_directory(folder_.file("model"));
    testing::write_hugging_face(testing::random_model(config, 3), folder_.file("model"),
                                support::TensorType::bf16);
    std::filesystem::copy(MORPHKV_SOURCE_DIR "/tests/tools/tokenizers/digits.json",
                          folder_.file("model/tokenizer.json"));
    (void)folder_.write("model/tokenizer_config.json",
                        R"({"chat_template": "<|im_start|>user\n<|im_end|>"})");
    const Json writing = {{"prompt", "Write."}, {"length", 10}};
    (void)folder_.write("writing.jsonl", writing.dump() + "\n" + writing.dump() + "\n");
    (void)folder_.write("short.json", Json{{{"prompt", "#*# Day 1:"},
                                            {"checks_once", Json::object()},
                                            {"checks_range", Json::object()},
                                            {"checks_periodic", Json::object()},
                                            {"type", "Day"},
                                            {"prefix", "#*# Day 1:"},
                                            {"number", 3}}}
                                          .dump());
    (void)folder_.write("niah.jsonl",
                        Json{{"index", 0}, {"input", "42 is"}, {"outputs", {"42"}}}.dump());
    question_ = {{"input", "Who?"},      {"context", std::string(2000, '7')},
                 {"answers", {"Ann"}},   {"length", 1},
                 {"dataset", "qasper"},  {"language", "en"},
                 {"all_classes", Json()}};
    (void)folder_.write("any.jsonl", question_.dump());
  }

  /// \return the exit code
  int run(const std::string& arguments) const {
    const auto quoted = [&](const std::string& name) {
      return " '" + folder_.file(name).string() + "'";
    };
    std::string command = std::string("cd") + quoted("") + " && '" + program + "' --model model" +
                          " --json papers.json --html papers.html --predictions predictions " +
                          arguments + " >" + quoted("out") + " 2>" + quoted("err");
    const int status = std::system(command.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  [[nodiscard]] std::string text(const std::string& name) const {
    return testing::bytes_of(folder_.file(name));
  }
  void expect_refused(const std::string& arguments, const std::string& said) const {
    EXPECT_EQ(run(arguments), 2) << arguments;
    EXPECT_NE(text("err").find(said), std::string::npos) << text("err");
    EXPECT_FALSE(std::filesystem::exists(folder_.file("papers.json"))) << arguments;
    EXPECT_FALSE(std::filesystem::exists(folder_.file("predictions"))) << arguments;
  }

  static constexpr const char* program = MORPHKV_PROGRAM_DIR "/papers";
  testing::TemporaryFolder folder_;
  Json question_;
};

TEST_F(PapersProgram, RunsAllBenchmarks) {
  ASSERT_EQ(run("writing.jsonl short.json niah.jsonl any.jsonl --policy h2o,morphkv --capacity 64 "
                "--window 8 --tokens 20"),
            0)
      << text("err");
  const Json report = Json::parse(text("papers.json"));
  EXPECT_EQ(report["groups"].size(), 4U);
  for (const Json& group : report["groups"]) EXPECT_EQ(group["caches"].size(), 3U);
  EXPECT_EQ(report["prompts"].size(), 5U);
  for (const Json& prompt : report["prompts"]) {
    EXPECT_EQ(prompt["truncated"], prompt["benchmark"] == "LongBench");
    EXPECT_EQ(prompt["chat"],
              prompt["benchmark"] == "LongBench" || prompt["benchmark"] == "LongWriter");
  }
  for (const std::string policy : {"full", "h2o", "morphkv"}) {
    const std::string folder = "predictions/" + policy + "/";
    const std::string writing = text(folder + "writing.jsonl");
    EXPECT_EQ(std::count(writing.begin(), writing.end(), '\n'), 2);
    EXPECT_EQ(Json::parse(text(folder + "short.json"))[0]["number"], 3);
    EXPECT_EQ(Json::parse(text(folder + "niah.jsonl"))["index"], 0);
    EXPECT_EQ(Json::parse(text(folder + "qasper.jsonl"))["answers"], question_["answers"]);
  }
  EXPECT_NE(text("out").find("LongGenBench, Day: completion rate, 1 prompt\n"), std::string::npos);
  EXPECT_NE(text("out").find("Not scored here: LongWriter, the quality"), std::string::npos);
  EXPECT_NE(text("papers.html").find("</html>"), std::string::npos);

  ASSERT_EQ(run("writing.jsonl --limit 1 --chat never --tokens 5"), 0) << text("err");
  EXPECT_EQ(Json::parse(text("papers.json"))["prompts"].size(), 1U);
  EXPECT_EQ(Json::parse(text("papers.json"))["prompts"][0]["chat"], false);
}

TEST_F(PapersProgram, RefusesBeforeAnythingIsWritten) {
  expect_refused("none.jsonl", "none.jsonl: there is no such file");
  expect_refused("writing.jsonl --policy lru", "lru");
  expect_refused("writing.jsonl --policy h2o --window 4", "--window: --policy h2o has no such");
  expect_refused("writing.jsonl --policy morphkv --capacity 8 --window 20", "window");
  expect_refused("writing.jsonl --top-p 2", "--top-p = 2");
  expect_refused("writing.jsonl --tokens 0", "--tokens");
  expect_refused("writing.jsonl --chat maybe", "--chat");
  expect_refused("any.jsonl --tokens 400", "any.jsonl:1: a response of 400 tokens leaves none");
  (void)folder_.write("other.jsonl", question_.dump());
  expect_refused("any.jsonl other.jsonl",
                 "other.jsonl: its predictions would replace those of any.jsonl, qasper.jsonl");
  const Json huge = {{"prompt", std::string(2000, '7')}, {"length", 10}};
  (void)folder_.write("huge.jsonl", huge.dump());
  expect_refused("writing.jsonl huge.jsonl", "huge.jsonl:1: the prompt has");
  (void)folder_.write("prompts.json", R"({"hotpotqa": "{input}"})");
  expect_refused("any.jsonl --prompts prompts.json", "prompts.json: the field qasper is missing");
  expect_refused("", "files");
}

TEST_F(PapersProgram, SaysWhatCannotBeWrittenBeforeTheModelRuns) {
  (void)folder_.write("predictions", "a file, not a folder");
  EXPECT_EQ(run("niah.jsonl --tokens 2"), 1);
  EXPECT_NE(text("err").find("cannot be written"), std::string::npos) << text("err");
}

}  // namespace
}  // namespace morphkv::testing::papers_run_test

#endif
