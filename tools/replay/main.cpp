// SPDX-License-Identifier: Apache-2.0
// replay: one KV-cache policy over a trace of attention. See docs/replay.md.
#include <cstdio>
#include <exception>
#include <new>

#include "replay/command_line.hpp"
#include "replay/program.hpp"
#include "replay/sessions.hpp"
#include "support/program.hpp"

namespace {

int complain(const char* message, int code) {
  std::fprintf(stderr, "replay: %s\n", message);
  return code;
}

}  // namespace

int main(int count, char** words) {
  using namespace morphkv;
  try {
    const auto line = replay::parse_command_line(count, words);
    if (line) replay::run_program(*line, replay::make_session_of_scalar);
    support::flush_standard_output();
    return 0;
  } catch (const support::OutputError& error) {
    return complain(error.what(), support::exit_machine);
  } catch (const std::bad_alloc&) {
    return complain("there is not enough memory for this trace and this capacity",
                    support::exit_machine);
  } catch (const std::exception& error) {
    return complain(error.what(), support::exit_input);
  }
}
