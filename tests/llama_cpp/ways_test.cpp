// SPDX-License-Identifier: Apache-2.0
// The ways into llama_cpp that need a real llama.cpp and a trained model: servers, traces, several
// sequences, saved states, measures and chat. Where no llama.cpp was found there is nothing to
// test.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "replay/trace.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::ways_test { namespace {

using nlohmann::json;

constexpr const char* program = MORPHKV_PROGRAM_DIR "/llama_cpp";
constexpr const char* converter = MORPHKV_PROGRAM_DIR "/to_gguf";
constexpr const char* server = MORPHKV_PROGRAM_DIR "/rpc_server";
constexpr const char* engine = MORPHKV_PROGRAM_DIR "/generate";
constexpr const char* model_folder = MORPHKV_SOURCE_DIR "/bench/models/three-tasks";
constexpr const char* policy = " --policy morphkv --window 16 --capacity 32 ";

class LlamaCppWaysTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (!std::filesystem::exists(program)) return;
    folder = std::make_unique<TemporaryFolder>();
    (void)run(std::string("'") + converter + "' --model '" + model_folder + "' --output '" +
              gguf() + "'");
  }
  static void TearDownTestSuite() { folder.reset(); }
  void SetUp() override {
    if (folder == nullptr) GTEST_SKIP() << "no llama.cpp was found when this was configured";
    ASSERT_TRUE(std::filesystem::exists(gguf())) << said();
  }

  static int run(const std::string& command, const std::string& input = "/dev/null") {
    const int status = std::system(
        (command + " > '" + file("out") + "' 2> '" + file("err") + "' < '" + input + "'").c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  static int exit_code(const std::string& options, const std::string& input = "/dev/null") {
    return run(std::string("'") + program + "' --model '" + gguf() + "' --threads 1 " +
                   (options.find("--cache-type") == std::string::npos ? "--cache-type f32 " : "") +
                   options,
               input);
  }
  /// What the program writes down of a run.
  static json result_of(const std::string& options, const std::string& input = "/dev/null") {
    EXPECT_EQ(exit_code(options + " --json '" + file("result.json") + "'", input), 0)
        << options << '\n'
        << said();
    json result = json::parse(bytes_of(file("result.json")), nullptr, false);
    EXPECT_FALSE(result.is_discarded()) << options;
    return result;
  }
  /// Options that are refused. \param part of the message
  static void expect_refused(const std::string& options, const std::string& part) {
    EXPECT_EQ(exit_code(options), 2) << options;
    EXPECT_NE(said().find(part), std::string::npos) << options << '\n' << said();
  }
  static std::string saving() { return " --save-state '" + file("state") + "' "; }
  static std::string loading() { return " --load-state '" + file("state") + "' "; }
  static std::string said() { return bytes_of(file("err")); }
  static std::string file(const std::string& name) { return folder->file(name).string(); }
  static std::string gguf() { return file("model.gguf"); }

  inline static std::unique_ptr<TemporaryFolder> folder;
};

/// A server on the loopback interface, until its end.
class Server {
 public:
  Server() : port_(free_port()), process_(fork()) {
    if (process_ != 0) return;
    const std::string port = std::to_string(port_);
    execl(server, server, "--port", port.c_str(), "--threads", "1", nullptr);
    _exit(127);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }

  [[nodiscard]] std::string endpoint() const { return "127.0.0.1:" + std::to_string(port_); }
  /// Waits until it answers. \return false if it has ended instead
  [[nodiscard]] bool answers() const {
    for (int i = 0; i < 300; ++i) {
      const int handle = socket(AF_INET, SOCK_STREAM, 0);
      const sockaddr_in address = loopback(port_);
      const bool connected =
          connect(handle, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
      close(handle);
      if (connected) return true;
      if (waitpid(process_, nullptr, WNOHANG) != 0) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return false;
  }

  /// One that nothing listens to.
  [[nodiscard]] static int free_port() {
    const int handle = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = loopback(0);
    (void)bind(handle, reinterpret_cast<const sockaddr*>(&address), sizeof(address));
    socklen_t size = sizeof(address);
    (void)getsockname(handle, reinterpret_cast<sockaddr*>(&address), &size);
    close(handle);
    return ntohs(address.sin_port);
  }

 private:
  [[nodiscard]] static sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }
  int port_;
  pid_t process_;
};

TEST_F(LlamaCppWaysTest, TwoServersWriteWhatThisMachineWrites) {
  const Server first;
  const Server second;
  if (!first.answers() || !second.answers()) {
    GTEST_SKIP() << "this llama.cpp has no RPC backend: ./run build llama gets one that has";
  }
  const std::string both = "--rpc " + first.endpoint() + "," + second.endpoint();
  for (const std::string scope : {"head", "layer", "sequence"}) {
    const std::string options =
        "--prompt 'rules begin' --tokens 80 --ignore-end --scope " + scope + policy;
    const json here = result_of(options);
    const json there = result_of(options + both);
    EXPECT_EQ(there.at("tokens"), here.at("tokens")) << scope;
    EXPECT_EQ(there.at("cells").at("in_use"), 32) << scope;
    EXPECT_EQ(there.at("cells").at("places").size(), 2U) << "one for each server";
    for (const json& place : there.at("cells").at("places")) {
      EXPECT_NE(place.get<std::string>().find("RPC"), std::string::npos) << place;
    }
  }
}

TEST_F(LlamaCppWaysTest, AServerThatIsNotThereIsNamed) {
  expect_refused("--rpc nonsense", "--rpc = nonsense: must be host:port");
  const std::string endpoint = "127.0.0.1:" + std::to_string(Server::free_port());
  expect_refused("--rpc " + endpoint, "--rpc = " + endpoint + ": there is no server");
}

/// Scores of attention, which do not depend on how the elements of a head are ordered.
double score(const replay::Trace& trace, std::size_t query, std::size_t key, std::size_t head) {
  const std::size_t dim = trace.shape.head_dim;
  const float* q = trace.queries_of(query, 1).data() + head * dim;
  const float* k = trace.keys_of(key, 1).data() + head / trace.shape.group() * dim;
  double sum = 0;
  for (std::size_t d = 0; d < dim; ++d)
    sum += static_cast<double>(q[d]) * static_cast<double>(k[d]);
  return sum;
}

TEST_F(LlamaCppWaysTest, ATraceIsThatOfOurEngine) {
  const std::string text = "--prompt 'rules begin' --policy full --tokens 12 ";
  ASSERT_EQ(exit_code(text + "--layers 1,3 --trace '" + file("theirs.safetensors") + "'"), 0)
      << said();
  for (const std::string layer : {"1", "3"}) {
    ASSERT_EQ(run(std::string("'") + engine + "' --model '" + model_folder + "' " + text +
                  "--trace '" + file("ours.safetensors") + "' --trace-layer " + layer),
              0)
        << said();
    const replay::Trace theirs = replay::read_trace(file("theirs." + layer + ".safetensors"));
    const replay::Trace ours = replay::read_trace(file("ours.safetensors"));
    ASSERT_EQ(theirs.shape.kv_heads, ours.shape.kv_heads);
    ASSERT_EQ(theirs.tokens, ours.tokens);
    EXPECT_EQ(theirs.prompt_length, ours.prompt_length);
    for (std::size_t i = 0; i < ours.values.size(); ++i) {
      ASSERT_NEAR(theirs.values[i], ours.values[i], 1e-3) << i;
    }
    for (std::size_t query = 0; query < ours.tokens; ++query) {
      for (std::size_t key = 0; key <= query; ++key) {
        for (std::size_t head = 0; head < ours.shape.query_heads; ++head) {
          const double own = score(ours, query, key, head);
          ASSERT_NEAR(score(theirs, query, key, head), own, 1e-2 + 1e-3 * std::abs(own));
        }
      }
    }
  }
  EXPECT_EQ(exit_code(text + "--layers 4 --trace '" + file("x.safetensors") + "'"), 2);
  EXPECT_NE(said().find("--layers = 4: must be below 4"), std::string::npos) << said();
}

TEST_F(LlamaCppWaysTest, SeveralSequencesWriteWhatEachWritesAlone) {
  const std::vector<std::string> prompts = {"rules begin", "day one", "rules"};
  std::string options = std::string("--tokens 60 --ignore-end") + policy;
  std::vector<json> alone;
  for (const std::string& prompt : prompts) {
    alone.push_back(result_of(options + "--prompt '" + prompt + "'"));
  }
  for (const std::string& prompt : prompts) options += "--prompt '" + prompt + "' ";
  const json together = result_of(options);
  ASSERT_EQ(together.at("sequences").size(), prompts.size());
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(together.at("sequences")[i].at("tokens"), alone[i].at("tokens")) << prompts[i];
  }
  EXPECT_EQ(together.at("cells").at("in_use"), 3 * 32);
}

TEST_F(LlamaCppWaysTest, ASavedSequenceGoesOnAsIfItHadNotStopped) {
  for (const std::string how :
       {"--scope head", "--scope layer", "--scope sequence", "--flash-attention"}) {
    const std::string options = "--prompt 'rules begin' --ignore-end " + how + policy;
    const json whole = result_of(options + "--tokens 110");
    const json first = result_of(options + "--tokens 70" + saving());
    const json second = result_of("--ignore-end --tokens 40" + loading());
    EXPECT_EQ(second.at("policy"), "morphkv") << how;
    EXPECT_EQ(second.at("scope"), whole.at("scope")) << how;
    EXPECT_EQ(second.at("cells").at("in_use"), 32) << how;
    json tokens = first.at("tokens");
    for (const json& token : second.at("tokens")) tokens.push_back(token);
    EXPECT_EQ(tokens, whole.at("tokens")) << how;
  }
}

TEST_F(LlamaCppWaysTest, AChatGoesOnAsIfItHadNotStopped) {
  const std::string options =
      std::string("--chat --chat-template chatml --ignore-end --tokens 30 ");
  const json whole =
      result_of(options + policy, folder->write("both", "day one\nrules\n").string());
  const json first =
      result_of(options + policy + saving(), folder->write("one", "day one\n").string());
  const json second = result_of(options + loading(), folder->write("two", "rules\n").string());
  EXPECT_EQ(whole.at("tokens").size(), 60U);
  for (const char* key : {"prompt_tokens", "tokens"}) {
    json both = first.at(key);
    for (const json& token : second.at(key)) both.push_back(token);
    EXPECT_EQ(both, whole.at(key)) << key;
  }
}

TEST_F(LlamaCppWaysTest, AChatEndsWhereItsCacheIsFull) {
  std::string lines;
  for (int i = 0; i < 40; ++i) lines += "we crossed an old bridge near the town and went on\n";
  const std::string input = folder->write("lines", lines).string();
  const std::string options = "--chat --chat-template chatml --ignore-end --tokens 30 ";
  const json full = result_of(options + "--policy full --max-tokens 400" + saving(), input);
  EXPECT_NE(said().find("The message has"), std::string::npos) << said();
  const std::size_t in_use = full.at("cells").at("in_use").get<std::size_t>();
  EXPECT_GT(in_use, 300U);
  EXPECT_LE(in_use, 400U);
  // What it saved has the little room that is left.
  const json rest = result_of("--ignore-end --tokens 500" + loading());
  EXPECT_EQ(rest.at("cells").at("in_use"), 400);
  EXPECT_NE(said().find("the cache is full"), std::string::npos) << said();
  const json evicting = result_of(options + policy, input);
  EXPECT_EQ(evicting.at("tokens").size(), 40U * 30U);
}

TEST_F(LlamaCppWaysTest, ALaterPromptHasCellsForItsBlock) {
  std::string text;
  for (int i = 0; i < 180; ++i) text += " rules day one";
  const std::string prompt = "--tokens 5 --ignore-end --prompt '" + text + "' ";
  const json first = result_of(prompt + "--policy morphkv --capacity 600" + saving());
  ASSERT_GT(first.at("prompt_tokens").size(), 512U);
  EXPECT_EQ(result_of(prompt + loading()).at("tokens").size(), 5U);
  ASSERT_EQ(exit_code(prompt + "--policy full --max-tokens 800" + saving()), 0) << said();
  expect_refused(prompt + loading(), "--prompt: has ");
  expect_refused(prompt + "--policy morphkv --protect-prompt" + saving(), "--protect-prompt");
}

TEST_F(LlamaCppWaysTest, AStateOfOtherSettingsIsRefusedByName) {
  ASSERT_EQ(
      exit_code(std::string("--prompt 'rules begin' --tokens 40 --ignore-end") + policy + saving()),
      0)
      << said();
  for (const auto& [options, message] : std::vector<std::pair<std::string, std::string>>{
           {"--scope layer", "--scope = layer: must be head"},
           {"--cache-type f16", "--cache-type = f16: must be f32"},
           {"--flash-attention", "--flash-attention = on: must be off"},
           {"--policy tova", "--policy = tova: must be morphkv"},
           {"--capacity 64", "--capacity = 64: must be 32"},
           {"--chat --chat-template chatml --system x",
            "--system: must be without --load-state"}}) {
    expect_refused("--prompt x" + loading() + options, message);
  }
  EXPECT_EQ(exit_code("--prompt x --scope head --capacity 32" + loading()), 0) << said();
  std::filesystem::copy(gguf(), file("other.gguf"));
  EXPECT_EQ(run(std::string("'") + program + "' --model '" + file("other.gguf") + "' --prompt x" +
                loading()),
            2);
  EXPECT_NE(said().find("--model = other.gguf: must be model.gguf"), std::string::npos) << said();
  (void)folder->write("state", "no state");
  expect_refused("--prompt x" + loading(), "state: the file is not a state of llama_cpp");
}

TEST_F(LlamaCppWaysTest, TheSameRunSavesTheSameBytes) {
  const std::string options =
      std::string("--prompt 'rules begin' --ignore-end --tokens 50") + policy;
  ASSERT_EQ(exit_code(options + "--save-state '" + file("a") + "'"), 0) << said();
  ASSERT_EQ(exit_code(options + "--save-state '" + file("b") + "'"), 0) << said();
  EXPECT_EQ(bytes_of(file("a")), bytes_of(file("b")));
}

TEST_F(LlamaCppWaysTest, WithFlashAttentionThePoliciesKeepTheirCapacity) {
  const std::string options = "--prompt 'rules begin' --tokens 80 --ignore-end --flash-attention ";
  EXPECT_EQ(result_of(options + "--policy full").at("tokens"),
            result_of(options + "--scope none").at("tokens"));
  for (const std::string& evicting :
       {std::string("--policy recommended --capacity 32 "), std::string(policy),
        std::string("--policy tova --capacity 32 ")}) {
    for (const std::string type : {"f32", "f16", "bf16"}) {
      const json result = result_of(options + evicting + "--cache-type " + type);
      EXPECT_EQ(result.at("cells").at("in_use"), 32) << evicting << type;
      EXPECT_EQ(result.at("tokens").size(), 80U) << evicting << type;
    }
  }
  EXPECT_EQ(exit_code(options + "--scope sequence"), 2);
}

TEST_F(LlamaCppWaysTest, WithFlashAttentionSeveralSequencesWriteWhatEachWritesAlone) {
  std::string options = std::string("--tokens 60 --ignore-end --flash-attention") + policy;
  const json first = result_of(options + "--prompt 'rules begin'");
  const json second = result_of(options + "--prompt 'day one'");
  const json together = result_of(options + "--prompt 'rules begin' --prompt 'day one'");
  EXPECT_EQ(together.at("sequences")[0].at("tokens"), first.at("tokens"));
  EXPECT_EQ(together.at("sequences")[1].at("tokens"), second.at("tokens"));
}

TEST_F(LlamaCppWaysTest, MeasuresATextAndPasskeys) {
  std::string words;
  for (int i = 0; i < 20; ++i) words += "we crossed an old bridge . ";
  std::ofstream(file("text")) << words;
  const std::string text = "--evaluate '" + file("text") + "' --prompt-length 20 ";
  const json full = result_of(text + "--policy full");
  const json none = result_of(text + "--scope none");
  EXPECT_GT(full.at("nll").get<double>(), 0);
  EXPECT_NEAR(full.at("nll").get<double>(), none.at("nll").get<double>(), 1e-4);
  EXPECT_EQ(exit_code("--evaluate '" + file("text") + "' --prompt-length 5000"), 2);
  EXPECT_NE(said().find("--prompt-length = 5000"), std::string::npos) << said();
  EXPECT_EQ(exit_code("--evaluate '" + file("nothing") + "'"), 2);
  const json keys = result_of("--passkeys 2 --max-tokens-read 100 --capacity 64");
  EXPECT_EQ(keys.at("passkeys").size(), 2U);
  const json more = result_of("--passkeys 3 --max-tokens-read 100 --policy full");
  std::size_t longest = 0;
  for (const json& key : more.at("passkeys")) {
    longest = std::max(longest, key.at("prompt_tokens").get<std::size_t>());
  }
  EXPECT_EQ(more.at("cells").at("most_reading"), longest) << "of all texts";
  EXPECT_GT(more.at("seconds").at("policy").get<double>(), 0);
  EXPECT_EQ(exit_code("--passkeys 2 --prompt x"), 2);
}

TEST_F(LlamaCppWaysTest, ChatNeedsATemplate) {
  EXPECT_EQ(exit_code("--chat --prompt x"), 2);
  EXPECT_NE(said().find("the model has no chat template"), std::string::npos) << said();
  EXPECT_EQ(exit_code("--system x --prompt x"), 2);
  EXPECT_NE(said().find("--system: needs --chat"), std::string::npos) << said();
}

}  // namespace
}  // namespace morphkv::testing::ways_test
