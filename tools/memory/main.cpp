// SPDX-License-Identifier: Apache-2.0
// Prints the tables of docs/memory.md; a test compares them with the page.

#include <CLI/CLI.hpp>
#include <cstdio>

#include "memory/tables.hpp"
#include "support/program.hpp"

int main(int argc, char** argv) {
  CLI::App app("The memory of full and of constant caches: the tables of docs/memory.md.");
  return morphkv::support::run_program("memory", app, argc, argv, [] {
    std::printf("%s\n%s\n%s", morphkv::memory::full_cache_table().c_str(),
                morphkv::memory::constant_cache_table().c_str(),
                morphkv::memory::kinds_table().c_str());
  });
}
