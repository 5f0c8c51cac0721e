// SPDX-License-Identifier: Apache-2.0
// replay: one KV-cache policy over a trace of attention. See docs/replay.md.
#include <cstdio>
#include <exception>
#include <memory>
#include <new>

#include "replay/command_line.hpp"
#include "replay/program.hpp"
#include "replay/result_writer.hpp"
#include "replay/sessions.hpp"

namespace {

constexpr int exit_machine = 1;  ///< no space on the disk, no memory
constexpr int exit_input = 2;    ///< the command line or the trace

int complain(const char* message, int code) {
  std::fprintf(stderr, "replay: %s\n", message);
  return code;
}

}  // namespace

int main(int count, char** words) {
  try {
    const auto line = morphkv::replay::parse_command_line(count, words);
    if (line) morphkv::replay::run_program(*line, morphkv::replay::make_session_of_scalar);
    return 0;
  } catch (const morphkv::replay::OutputError& error) {
    return complain(error.what(), exit_machine);
  } catch (const std::bad_alloc&) {
    return complain("there is not enough memory for this trace and this capacity", exit_machine);
  } catch (const std::exception& error) {
    return complain(error.what(), exit_input);
  }
}
