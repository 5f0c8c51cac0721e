// SPDX-License-Identifier: Apache-2.0
//
// Linked into a test program, writes to the file MORPHKV_MUTANTS_REACHED a line per test: its name,
// its milliseconds, and the mutants whose operators it has run. The first line is of what runs
// before the tests, the last one has the mutants that cannot be.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "mutation/mutant.hpp"

namespace {

class Recorder : public testing::EmptyTestEventListener {
 public:
  explicit Recorder(const char* path) : file_(std::fopen(path, "w")) {}
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
  ~Recorder() override { std::fclose(file_); }

 private:
  void OnTestProgramStart(const testing::UnitTest&) override { write("", "", 0); }
  void OnTestProgramEnd(const testing::UnitTest&) override {
    write("", "", 0, morphkv_mutation::impossible);
  }
  void OnTestEnd(const testing::TestInfo& test) override {
    write(test.test_suite_name(), test.name(), static_cast<long>(test.result()->elapsed_time()));
  }
  void write(const char* suite, const char* name, long milliseconds,
             std::atomic<bool>* mutants = morphkv_mutation::reached) {
    std::fprintf(file_, "%s.%s %ld", suite, name, milliseconds);
    for (int number = 0; number < morphkv_mutation::most; ++number) {
      if (mutants[number].exchange(false)) std::fprintf(file_, " %d", number);
    }
    std::fputc('\n', file_);
  }

  std::FILE* file_;
};

const bool records = [] {
  const char* path = std::getenv("MORPHKV_MUTANTS_REACHED");
  if (path != nullptr) testing::UnitTest::GetInstance()->listeners().Append(new Recorder(path));
  return path != nullptr;
}();

}  // namespace
