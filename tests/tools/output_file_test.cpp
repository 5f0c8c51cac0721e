// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <string>

#include "support/output_file.hpp"
#include "tools/temporary_folder.hpp"

namespace morphkv::testing::output_file_test { namespace {

using support::OutputFile;

std::size_t files_in(const TemporaryFolder& folder) {
  using Iterator = std::filesystem::directory_iterator;
  return static_cast<std::size_t>(std::distance(Iterator(folder.path()), Iterator()));
}

TEST(OutputFile, AppearsWhenItIsFinished) {
  const TemporaryFolder folder;
  const auto path = folder.write("result", "old");
  {
    OutputFile file(path);
    file.stream() << "new";
    EXPECT_EQ(bytes_of(path), "old");
    file.finish();
  }
  EXPECT_EQ(bytes_of(path), "new");
  EXPECT_EQ(files_in(folder), 1U);
}

TEST(OutputFile, AnUnfinishedFileLeavesTheOldOne) {
  const TemporaryFolder folder;
  const auto path = folder.write("result", "old");
  { OutputFile(path).stream() << "new"; }
  EXPECT_EQ(bytes_of(path), "old");
  EXPECT_EQ(files_in(folder), 1U);
}

TEST(OutputFile, ASignalThatEndsTheProcessLeavesNoFile) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    const TemporaryFolder folder;
    const pid_t child = fork();
    if (child == 0) {
      OutputFile first(folder.file("first"));
      OutputFile second(folder.file("second"));
      first.stream() << "half" << std::flush;
      std::raise(signal);
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal);
    EXPECT_EQ(files_in(folder), 0U);
  }
}

TEST(OutputFile, FailuresNameTheFile) {
  const TemporaryFolder folder;
  EXPECT_NE(complaint([&] { OutputFile(folder.file("no/such/folder")); }).find("no/such/folder"),
            std::string::npos);
  std::filesystem::create_directory(folder.file("folder"));
  EXPECT_NE(complaint([&] { support::write_file(folder.file("folder"), "x"); }), "");
  if (std::filesystem::exists("/dev/full")) {
    EXPECT_EQ(complaint([] { support::write_file("/dev/full", "x"); }),
              "/dev/full: the file cannot be written");
  }
}

}  // namespace
}  // namespace morphkv::testing::output_file_test
